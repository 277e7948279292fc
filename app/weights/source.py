"""Where a model comes from: a directory of this node, or a prefix in an S3 bucket."""

import re
from dataclasses import dataclass
from pathlib import Path

SCHEME = "s3://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_OTHER_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PATH_STARTS = ("/", "./", "../", "~")


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A model on a local or shared disk."""

    path: Path
    """Its directory."""

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class S3Source:
    """A model in a bucket."""

    bucket: str
    prefix: str
    """What its files' keys begin with, without the slash at the end; never empty."""

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}"

    def key(self, name: str) -> str:
        """The key of one of its files.

        Args:
            name: The file's name in the model.
        """
        return f"{self.prefix}/{name}"


def parse_source(text: str) -> LocalSource | S3Source:
    """What a model's `source` means.

    Args:
        text: A directory, or `s3://BUCKET/PREFIX`.

    Raises:
        ValueError: It is neither, such as a model's id on the hub; says what to write instead.
    """
    if text.startswith(SCHEME):
        return _s3(text)
    if _OTHER_SCHEME.match(text):
        raise ValueError(
            f"{text!r} is of a kind that verified models are not fetched from: write a directory "
            "or s3://BUCKET/PREFIX; for other services that speak S3, set weights.s3.endpoint"
        )
    path = Path(text).expanduser()
    if text.startswith(_PATH_STARTS) or path.is_dir():
        return LocalSource(path)
    raise ValueError(
        f"{text!r} is not a directory here, and models of the hub cannot be verified: download it "
        "(`hf download`), sign it (`tidegate model sign`) and write its directory or "
        "s3://BUCKET/PREFIX; or set `unverified: true` for the model"
    )


def _s3(text: str) -> S3Source:
    bucket, _, prefix = text.removeprefix(SCHEME).partition("/")
    prefix = prefix.rstrip("/")
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(
            f"{text!r} names no bucket: write s3://BUCKET/PREFIX, the bucket in 3 to 63 lower-case "
            "letters, digits, dots and hyphens"
        )
    if not prefix or any(part in {"", ".", ".."} for part in prefix.split("/")):
        raise ValueError(
            f"{text!r} names no prefix in the bucket: write s3://BUCKET/PREFIX, such as "
            f"s3://{bucket}/models/demo, without empty parts, '.' or '..'"
        )
    return S3Source(bucket, prefix)
