"""The highest version of each model that this node has verified: older ones are not loaded again.

It outlives the service, so that whoever can put an old, once signed model into the source cannot
have it served, even while nobody else remembers.
"""

import json
from pathlib import Path

from app.errors import WeightsUnavailable
from app.weights import durable
from app.weights.locks import FileLock

MAX_BYTES = 16 * 1024 * 1024


class VersionFloor:
    """What is remembered, in a file that all processes of a node share.

    Args:
        cache_dir: The node's cache; made where there is none.

    Raises:
        OSError: The folder cannot be made.
    """

    def __init__(self, cache_dir: Path) -> None:
        self._file = cache_dir / "versions.json"
        self._lock = cache_dir / "locks" / "versions"
        self._lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def get(self, model: str) -> int:
        """The highest version of a model that was verified here; 0 where there is none.

        Args:
            model: The model's name.

        Raises:
            WeightsUnavailable: The file does not hold what was written there.
        """
        return self._read().get(model, 0)

    def raise_to(self, model: str, version: int) -> None:
        """Remember that a version was verified; one that is lower changes nothing.

        Args:
            model: The model's name.
            version: The version.

        Raises:
            WeightsUnavailable: The file does not hold what was written there.
            OSError: It cannot be written.
        """
        with FileLock(self._lock).exclusive():
            versions = self._read()
            if versions.get(model, 0) < version:
                versions[model] = version
                durable.write(self._file, json.dumps(versions, sort_keys=True).encode())

    def _read(self) -> dict[str, int]:
        try:
            versions = json.loads(durable.read(self._file, MAX_BYTES))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise self._broken(str(error)) from error
        if not isinstance(versions, dict) or not all(
            type(version) is int and version >= 0 for version in versions.values()
        ):
            raise self._broken("it is not an object of versions by model")
        return versions

    def _broken(self, why: str) -> WeightsUnavailable:
        # Taken for empty, it would let a model be served that is older than one served before.
        return WeightsUnavailable(
            f"{self._file}, which holds the highest versions that this node has verified, cannot "
            f"be read: {why}. Restore it, or remove it once you are sure that every model's source "
            "holds the version that it should."
        )
