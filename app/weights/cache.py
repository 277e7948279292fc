"""The models that a node keeps, by what is in them.

::

    <cache_dir>/
    ├── sha256-<address>/           a whole model's weights, read-only; renamed into place
    ├── incoming/sha256-<address>/  one that is being fetched, or was when its process died
    │   ├── files/                  what is there so far
    │   ├── parts/                  files that are not whole, and how much of each is on the disk
    │   └── expected                the bytes that room was made for
    ├── incoming/trash-<...>/       one that is being removed
    └── locks/sha256-<address>      held alone while fetching or removing, shared while in use; its
                                    time is that of the last use

Whatever dies at whatever moment, an entry is whole, or it is not there. An entry that lies is
noticed by whoever loads it: the loader hashes what it hands to the engine, whatever it comes from.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from app.errors import WeightsUnavailable
from app.weights import durable
from app.weights.locks import FileLock
from app.weights.manifest import Manifest
from app.weights.trees import remove_tree, seal, tree_size

Fetch = Callable[[Path], None]
"""Brings a model's weights into `files/` of a folder, and may use `parts/` of it."""

_PREFIX = "sha256-"


def address(manifest: Manifest, names: Iterable[str]) -> str:
    """What files of a model are kept under: `sha256-` and 64 hexadecimal digits.

    The signed root says nothing of names, so that two models with the same root may differ in
    them; this is the digest of what `sha256sum` prints for the files.

    Args:
        manifest: What is signed.
        names: The files, in an order that is always the same.
    """
    lines = "".join(f"{manifest.files[name].hex()}  {name}\n" for name in names)
    return _PREFIX + hashlib.sha256(lines.encode()).hexdigest()


class Lease:
    """The use of an entry, which is not removed meanwhile. A context manager.

    Args:
        folder: Where the weights are.
        lock: What is held of the entry; None where nobody removes them.
    """

    def __init__(self, folder: Path, lock: FileLock | None) -> None:
        self.folder = folder
        self._lock = lock

    def close(self) -> None:
        """Give the entry back; more than once does nothing."""
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Kept(NamedTuple):
    """Something in the cache that may be removed."""

    used_at: float
    bytes: int
    folder: Path


class Cache:
    """The entries of a node, shared by all its processes.

    Args:
        folder: The cache's folder; made where there is none, for nobody but this user.
        size: Most bytes that are kept in it.

    Raises:
        WeightsUnavailable: The folder cannot be made or written.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folder, self._size = folder, size
        self._incoming, self._locks = folder / "incoming", folder / "locks"
        with writable(folder):
            for path in (folder, self._incoming, self._locks):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def hold(self, manifest: Manifest, total: int, fetch: Fetch) -> Lease:
        """Use a model's weights; they are fetched if they are not there.

        However many processes ask at the same time, one fetches, and the others wait for it.

        Args:
            manifest: What is signed.
            total: The weights' size, in bytes.
            fetch: Called with the folder to fetch into; what an earlier fetch has left is still in
                it.

        Raises:
            WeightsUnavailable: There is no room for them, or the disk does not take them.
        """
        name = address(manifest, manifest.weights)
        while True:
            with contextlib.ExitStack() as stack:
                stack.enter_context(writable(self._folder))
                lock = stack.enter_context(FileLock(self._locks / name))
                lock.shared()
                if self._is_whole(name, manifest):
                    lock.touch()
                    stack.pop_all()
                    return Lease(self._folder / name, lock)
                lock.exclusive()
                # Whoever had the lock meanwhile may have fetched it.
                if not self._is_whole(name, manifest):
                    self._bring(name, manifest, total, fetch)
                lock.touch()
            # An exclusive lock becomes a shared one by being given up for a moment, in which the
            # entry may be evicted: look again.

    def discard(self, manifest: Manifest) -> bool:
        """Remove a model's weights, so that the next use fetches them; says whether they are gone.

        Args:
            manifest: What is signed.
        """
        name = address(manifest, manifest.weights)
        with FileLock(self._locks / name) as lock:
            if not lock.try_exclusive():
                return False
            with self._room():
                self._remove(self._folder / name)
                self._remove(self._incoming / name)
        return True

    def entries(self) -> Mapping[str, int]:
        """The bytes of each entry, by its name."""
        return {path.name: tree_size(path) for path in self._folder.glob(f"{_PREFIX}*")}

    def _room(self) -> FileLock:
        """Held while the bytes in the cache are counted, and while they come and go."""
        return FileLock(self._locks / "room").exclusive()

    def _is_whole(self, name: str, manifest: Manifest) -> bool:
        folder = self._folder / name
        return all(
            (folder / file).is_file()
            and manifest.sizes.get(file) in {None, (folder / file).stat().st_size}
            for file in manifest.weights
        )

    def _bring(self, name: str, manifest: Manifest, total: int, fetch: Fetch) -> None:
        """Fetch an entry, whose lock is held alone, and put it into its place."""
        incoming = self._incoming / name
        with self._room():
            self._sweep()
            self._remove(self._folder / name)
            self._make_room(incoming, total)
        files = incoming / "files"
        for path in (files, incoming / "parts"):
            path.mkdir(mode=0o700, exist_ok=True)
        fetch(incoming)
        missing = [file for file in manifest.weights if not (files / file).is_file()]
        if missing:
            raise WeightsUnavailable(f"{missing[0]!r} was not fetched, and nobody said why.")
        seal(files)
        with self._room():
            files.rename(self._folder / name)
            # Last, for a folder that cannot be written cannot be moved either.
            (self._folder / name).chmod(0o555)
            durable.sync(self._folder)
            self._remove(incoming)

    def _make_room(self, incoming: Path, total: int) -> None:
        """Evict until a model fits, and record that its room is taken. Its lock is held."""
        if total > self._size:
            raise WeightsUnavailable(
                f"The model's weights take {total:,} bytes, but the node's cache "
                f"{str(self._folder)!r} keeps {self._size:,} at most: raise weights.cache_size."
            )
        kept = sorted(entry for entry in self._kept() if entry.folder != incoming)
        used = sum(entry.bytes for entry in kept)
        for entry in kept:
            if used + total <= self._size:
                break
            with FileLock(self._locks / entry.folder.name) as lock:
                if lock.try_exclusive():
                    self._remove(entry.folder)
                    used -= entry.bytes
        if used + total > self._size:
            raise WeightsUnavailable(
                f"The model's weights take {total:,} bytes, but the node's cache "
                f"{str(self._folder)!r} keeps {self._size:,} at most, of which models that run or "
                f"are being fetched take {used:,}: raise weights.cache_size, or run fewer models "
                "on a node."
            )
        incoming.mkdir(mode=0o700, exist_ok=True)
        durable.write(incoming / "expected", str(total).encode())

    def _kept(self) -> Iterable[_Kept]:
        for folder in self._folder.glob(f"{_PREFIX}*"):
            yield _Kept(self._used_at(folder.name), tree_size(folder), folder)
        for folder in self._incoming.glob(f"{_PREFIX}*"):
            try:
                expected = int(durable.read(folder / "expected", 32))
            except (OSError, ValueError):
                expected = tree_size(folder)
            yield _Kept(self._used_at(folder.name), expected, folder)

    def _used_at(self, name: str) -> float:
        try:
            return (self._locks / name).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _remove(self, folder: Path) -> None:
        """Remove an entry in one step, and then what it took. The lock on room is held."""
        if not folder.exists():
            return
        folder.chmod(0o700)
        trash = Path(tempfile.mkdtemp(prefix="trash-", dir=self._incoming))
        folder.rename(trash / "entry")
        remove_tree(trash)

    def _sweep(self) -> None:
        for trash in self._incoming.glob("trash-*"):
            remove_tree(trash)


@contextlib.contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Says of a disk's errors that they are the cache's.

    Args:
        folder: The cache's folder.

    Raises:
        WeightsUnavailable: The disk had one.
    """
    try:
        yield
    except OSError as error:
        raise WeightsUnavailable(
            f"The node's cache {str(folder)!r} cannot be used: {error.strerror or error}. Set "
            "weights.cache_dir to a folder that this user may write, on a disk with room for "
            "weights.cache_size."
        ) from error
