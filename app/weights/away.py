"""A start while a model's bucket cannot be reached: with what the node has of it already.

What is remembered is the last signature that was verified here, and it is verified again: keys that
expired or were revoked since, and versions below the least, are refused as always. Who can cut the
node off from the bucket can so delay a new version, and nothing else.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from app.errors import WeightsUnavailable
from app.weights import durable
from app.weights.bundle import MAX_BUNDLE
from app.weights.hashing import Advance
from app.weights.manifest import Manifest


class LastSignature:
    """The last signature of a source that was verified on this node.

    Args:
        cache_dir: The node's cache.
        source: What the model is fetched from, in full.
    """

    def __init__(self, cache_dir: Path, source: str) -> None:
        self._file = cache_dir / "signatures" / hashlib.sha256(source.encode()).hexdigest()

    def keep(self, data: bytes) -> None:
        """Remember a signature that was verified.

        Args:
            data: The signature file.

        Raises:
            OSError: It cannot be written.
        """
        if self.recall() != data:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            durable.write(self._file, data)

    def recall(self) -> bytes | None:
        """What was remembered; None if nothing was."""
        try:
            return durable.read(self._file, MAX_BUNDLE)
        except OSError:
            return None


class AwayPlace:
    """A place of which only the signature is known; see `Place`.

    Args:
        signature: What was remembered of it.
        error: Why nothing else can be had, raised where something else is needed.
    """

    fetched = 0

    def __init__(self, signature: bytes, error: WeightsUnavailable) -> None:
        self._signature, self._error = signature, error

    def signature(self) -> bytes:
        """See `Place.signature`."""
        return self._signature

    def check(self, manifest: Manifest) -> None:
        """See `Place.check`. There is nothing to look at."""

    def read(self, name: str, limit: int) -> bytes:
        """See `Place.read`."""
        raise self._error

    def size_of(self, names: Iterable[str]) -> int:
        """See `Place.size_of`. What needs no room."""
        return 0

    def fetch(self, manifest: Manifest, folder: Path, progress: Advance) -> None:
        """See `Place.fetch`."""
        raise self._error
