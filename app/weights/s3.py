"""Models in a bucket, over boto3: small files whole, weights in ranges side by side."""

import contextlib
import random
import threading
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from app.config.weights import S3Config
from app.errors import WeightsUnavailable
from app.weights import contents, s3_errors
from app.weights.bundle import MAX_BUNDLE
from app.weights.download import Download, GetRange, Wanted
from app.weights.hashing import Advance
from app.weights.manifest import MAX_FILES, SIGNATURE_FILE, Manifest, check_name
from app.weights.place import LocalPlace
from app.weights.refusal import Reason, refuse
from app.weights.source import LocalSource, S3Source
from app.weights.statement import IGNORED

CONNECT_S = 10
READ_S = 60
"""Seconds without a byte after which a connection is given up."""
MAX_WAIT_S = 10.0
"""Longest wait before a range is tried again."""


class Stored(NamedTuple):
    """An object, as its bucket lists it."""

    size: int
    tag: str
    """Its ETag, which changes when its bytes do."""


def client(config: S3Config) -> Any:
    """A boto3 client. Credentials come from where boto3 looks for them.

    Args:
        config: Which service, and how patient to be with it.

    Raises:
        WeightsUnavailable: The configuration is none that boto3 can use.
    """
    import boto3
    from botocore.config import Config

    options = Config(
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        max_pool_connections=config.connections + 2,
        retries={"mode": "standard", "total_max_attempts": config.retries + 1},
        # Names of buckets are rarely host names at services other than AWS.
        s3={"addressing_style": "path" if config.endpoint else "auto"},
        # What is fetched is compared with what was signed, and not every service knows the others.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    with s3_errors.named(s3_errors.service(config)):
        return boto3.session.Session().client(
            "s3", endpoint_url=config.endpoint, region_name=config.region, config=options
        )


class S3Place:
    """A prefix in a bucket.

    Args:
        source: The bucket and the prefix.
        config: How it is reached.
    """

    def __init__(self, source: S3Source, config: S3Config) -> None:
        self.source, self._config = source, config
        self.fetched = 0
        self._counting = threading.Lock()

    @cached_property
    def client(self) -> Any:
        """The boto3 client."""
        return client(self._config)

    @cached_property
    def stored(self) -> Mapping[str, Stored]:
        """Every object below the prefix, by its name there. Listed once.

        Raises:
            WeightsRefused: There are more than a model may have.
            WeightsUnavailable: The bucket cannot be listed.
        """
        found: dict[str, Stored] = {}
        start = f"{self.source.prefix}/"
        with s3_errors.named(str(self.source)):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.source.bucket, Prefix=start
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    name = item["Key"].removeprefix(start)
                    # What some tools leave for a folder.
                    if name and not (name.endswith("/") and item["Size"] == 0):
                        found[name] = Stored(item["Size"], item["ETag"])
                if len(found) > MAX_FILES + 1:
                    raise refuse(
                        Reason.EXTRA_FILE,
                        f"{self.source} holds more than {MAX_FILES:,} files: a model may not have "
                        "so many.",
                    )
        return found

    def signature(self) -> bytes:
        """See `Place.signature`."""
        data = self._get(SIGNATURE_FILE, MAX_BUNDLE)
        if len(data) > MAX_BUNDLE:
            raise refuse(
                Reason.MALFORMED,
                f"{self.source.key(SIGNATURE_FILE)!r} is longer than {MAX_BUNDLE:,} bytes: it is "
                "no signature.",
            )
        return data

    def check(self, manifest: Manifest) -> None:
        """See `Place.check`."""
        contents.check_names(manifest.files)
        found = {
            name: stored.size for name, stored in self.stored.items() if _counts(name, manifest)
        }
        for name in found:
            check_name(name)
        for name in sorted(found.keys() - manifest.files):
            raise refuse(
                Reason.EXTRA_FILE,
                f"{self.source} holds {name!r}, which nobody signed: remove what does not belong "
                "to the model, or sign it again.",
            )
        for name in manifest.files:
            if name not in found:
                raise refuse(
                    Reason.MISSING_FILE,
                    f"{self.source} lacks {name!r}, which was signed: push the model again.",
                )
            if manifest.sizes.get(name, found[name]) != found[name]:
                raise refuse(
                    Reason.CHANGED_FILE,
                    f"{name!r} in {self.source} has {found[name]:,} bytes, and "
                    f"{manifest.sizes[name]:,} were signed: push the model again.",
                )

    def read(self, name: str, limit: int) -> bytes:
        """See `Place.read`."""
        return self._get(name, limit, IfMatch=self.stored[name].tag)

    def size_of(self, names: Iterable[str]) -> int:
        """See `Place.size_of`."""
        return sum(self.stored[name].size for name in names)

    def fetch(self, manifest: Manifest, folder: Path, progress: Advance) -> None:
        """See `Place.fetch`."""
        download = Download(folder, self._config.connections, self._config.part, progress)
        for name in manifest.weights:
            size, tag = self.stored[name]
            wanted = Wanted(name, size, manifest.files[name], tag)
            download.bring(wanted, self._ranges_of(name, tag))

    def _ranges_of(self, name: str, tag: str) -> GetRange:
        def get(begin: int, end: int, stop: threading.Event) -> bytes:
            where = f"bytes={begin}-{end - 1}"
            return self._get(name, end - begin, stop, exactly=True, Range=where, IfMatch=tag)

        return get

    def _get(
        self,
        name: str,
        limit: int,
        stop: threading.Event | None = None,
        *,
        exactly: bool = False,
        **conditions: str,
    ) -> bytes:
        """Bytes of an object, one more than the limit at most; broken streams are begun again.

        boto3 repeats requests that fail; what breaks off while it is read is left to its callers.
        """
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        where = f"s3://{self.source.bucket}/{self.source.key(name)}"
        stop = stop or threading.Event()
        attempt = 0
        with s3_errors.named(where, name):
            while True:
                try:
                    return self._read(name, limit, exactly, conditions)
                except (HTTPClientError, IncompleteReadError, OSError):
                    if attempt >= self._config.retries:
                        raise
                wait = min(MAX_WAIT_S, 0.2 * 2**attempt) * random.uniform(0.5, 1)
                if stop.wait(wait):
                    raise WeightsUnavailable(f"{where} was given up: another range failed.")
                attempt += 1

    def _read(self, name: str, limit: int, exactly: bool, conditions: Mapping[str, str]) -> bytes:
        from botocore.exceptions import IncompleteReadError

        answer = self.client.get_object(
            Bucket=self.source.bucket, Key=self.source.key(name), **conditions
        )
        size = int(answer["ContentLength"])
        with contextlib.closing(answer["Body"]) as body:
            if exactly and size != limit:
                raise s3_errors.without_ranges(f"{self.source}", limit, size)
            data: bytes = body.read(min(size, limit + 1))
        if len(data) != min(size, limit + 1):
            raise IncompleteReadError(actual_bytes=len(data), expected_bytes=size)
        with self._counting:
            self.fetched += len(data)
        return data


def place_of(source: LocalSource | S3Source, config: S3Config) -> LocalPlace | S3Place:
    """Where a model's files are.

    Args:
        source: What the configuration says.
        config: How buckets are reached.
    """
    if isinstance(source, LocalSource):
        return LocalPlace(source.path.absolute())
    return S3Place(source, config)


def _counts(name: str, manifest: Manifest) -> bool:
    ignored = name.partition("/")[0] in IGNORED and name not in manifest.files
    return name != SIGNATURE_FILE and not ignored
