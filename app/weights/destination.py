"""Where signed models are pushed to: a directory, or a prefix in a bucket."""

import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from app.config.weights import S3Config
from app.errors import WeightsUnavailable
from app.weights import durable, s3, s3_errors
from app.weights.hashing import Advance, open_file
from app.weights.source import LocalSource, S3Source

LEAST_PART = 8 * 1024 * 1024
"""Bytes; services accept no parts below 5 MiB."""


class Destination(Protocol):
    """A place that a model's files are put into.

    All methods raise `WeightsUnavailable` where it cannot be written.
    """

    def names(self) -> Iterable[str]:
        """What is there already, by its name in the model."""

    def put(self, name: str, path: Path, progress: Advance) -> None:
        """Copy a file.

        Args:
            name: Its name in the model.
            path: The file.
            progress: Told of bytes as they are written, possibly from several threads.
        """

    def write(self, name: str, data: bytes) -> None:
        """Put a small file, whole or not at all.

        Args:
            name: Its name in the model.
            data: What it holds.
        """

    def remove(self, name: str) -> None:
        """Remove a file.

        Args:
            name: Its name in the model.
        """


def destination(place: LocalSource | S3Source, config: S3Config) -> Destination:
    """A place to push to.

    Args:
        place: Which one.
        config: How buckets are reached.
    """
    if isinstance(place, LocalSource):
        return _Folder(place.path)
    return _Bucket(place, config)


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> Iterable[str]:
        return [
            path.relative_to(self._root).as_posix()
            for path in self._root.rglob("*")
            if path.is_symlink() or not path.is_dir()
        ]

    def put(self, name: str, path: Path, progress: Advance) -> None:
        target = self._root / name
        draft = target.with_name(f".tmp-{target.name}"[:255])
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with open_file(path) as source, draft.open("wb") as file:
                shutil.copyfileobj(source, file, 4 * 1024 * 1024)
            durable.sync(draft)
            draft.replace(target)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise _unwritable(target, error) from error
        progress(target.stat().st_size)

    def write(self, name: str, data: bytes) -> None:
        try:
            durable.write(self._root / name, data, mode=0o644)
        except OSError as error:
            raise _unwritable(self._root / name, error) from error

    def remove(self, name: str) -> None:
        try:
            (self._root / name).unlink()
        except OSError as error:
            raise _unwritable(self._root / name, error) from error


class _Bucket:
    def __init__(self, source: S3Source, config: S3Config) -> None:
        from boto3.s3.transfer import TransferConfig

        self._source = source
        self._place = s3.S3Place(source, config)
        part = max(LEAST_PART, config.part)
        self._transfer = TransferConfig(
            multipart_threshold=part,
            multipart_chunksize=part,
            max_concurrency=config.connections,
        )

    def names(self) -> Iterable[str]:
        return self._place.stored

    def put(self, name: str, path: Path, progress: Advance) -> None:
        with self._named(name), open_file(path) as file:
            self._place.client.upload_fileobj(
                file,
                self._source.bucket,
                self._source.key(name),
                Callback=progress,
                Config=self._transfer,
            )

    def write(self, name: str, data: bytes) -> None:
        with self._named(name):
            self._place.client.put_object(
                Bucket=self._source.bucket, Key=self._source.key(name), Body=data
            )

    def remove(self, name: str) -> None:
        with self._named(name):
            self._place.client.delete_object(Bucket=self._source.bucket, Key=self._source.key(name))

    def _named(self, name: str) -> AbstractContextManager[None]:
        return s3_errors.named(f"s3://{self._source.bucket}/{self._source.key(name)}", writing=True)


def _unwritable(path: Path, error: OSError) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"{str(path)!r} cannot be written: {error.strerror or error}. Push to a folder that this "
        "user may write, on a disk with room for the model."
    )
