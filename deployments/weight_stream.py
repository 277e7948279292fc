"""Weight files, hashed as they are read, from buffers that nobody else can write to.

What has been hashed is what is handed on: each byte is read once, into private memory, and both the
hash and the tensors are made of that memory. So nothing that happens to a file before, during or
after it was read can come between the check and the use.
"""

import contextlib
import errno
import hashlib
import mmap
import os
import queue
import stat
import threading
import time
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.errors import WeightsRefused, WeightsUnavailable
from app.weights.refusal import Reason, refuse
from app.weights.safetensors_header import LENGTH_BYTES, Header, header_length

SEGMENT = 16 * 1024**2
"""Bytes that are read, hashed and handed on together; a larger tensor is one segment."""
PIECE = 4 * 1024**2
"""Bytes that are read while as many before them are hashed."""
MOST_LANES = 4
"""Most files that are read at the same time."""
_POLL_S = 0.2

_DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}


@dataclass(slots=True)
class Counts:
    """What has been read so far."""

    bytes: int = 0
    tensors: int = 0
    files: int = 0
    waited_s: float = 0.0
    """How long whoever took the tensors waited for the next one."""


class _Buffers:
    """Memory that is used again once no tensor looks into it any more.

    Fresh memory costs more than what is done with it. A model may keep tensors for longer, as some
    quantizations do: what it keeps is not used again, whatever the number of buffers.
    """

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> np.ndarray[Any, Any]:
        """An array of at least so many bytes; its memory comes back when its last view is gone."""
        with self._lock:
            fitting = [memory for memory in self._free if len(memory) >= size]
            if fitting:
                memory = min(fitting, key=len)
                self._free.remove(memory)
            else:
                # What was too small makes room, so that no more is kept than was in use at once.
                del self._free[:1]
                memory = mmap.mmap(-1, max(size, SEGMENT))
        array = np.frombuffer(memory, dtype=np.uint8)
        weakref.finalize(array, self._give_back, memory).atexit = False
        return array

    def _give_back(self, memory: mmap.mmap) -> None:
        # Without the lock, which the thread that drops the last view may hold.
        self._free.append(memory)


@dataclass(frozen=True, slots=True)
class _Segment:
    data: np.ndarray[Any, Any]
    begin: int
    """Where in the file's data the first of its tensors begins."""
    entries: Sequence[Any]

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        whole = torch.from_numpy(self.data)
        for entry in self.entries:
            dtype = _dtype(entry.name, entry.dtype)
            if entry.begin == entry.end:
                yield entry.name, torch.empty(entry.shape, dtype=dtype, device="cpu")
                continue
            begin, end = entry.begin - self.begin, entry.end - self.begin
            flat = whole[begin:end]
            if begin % dtype.itemsize:
                flat = flat.clone()
            yield entry.name, flat.view(dtype).view(entry.shape)


@dataclass(frozen=True, slots=True)
class _Done:
    name: str
    digest: bytes


class WeightStream:
    """The tensors of some files, in their order within each file.

    Iterate to the end, then `check`; `close` in any case.

    Args:
        folder: where the files are.
        digests: the SHA-256 that each of them must have, by its name.
        sizes: how many bytes each must have; those that are not known may be left out.
        headers: a folder with the headers of some files, which must be those of the files.
        lanes: how many files are read at the same time; by default as many as there are cores, up
            to `MOST_LANES`.
    """

    def __init__(
        self,
        folder: Path,
        digests: Mapping[str, bytes],
        sizes: Mapping[str, int],
        headers: Path | None = None,
        lanes: int | None = None,
    ) -> None:
        self.counts = Counts()
        self._headers = headers
        self._folder = folder
        self._digests = dict(digests)
        self._sizes = sizes
        lanes = lanes or min(MOST_LANES, len(os.sched_getaffinity(0)))
        self._lanes = min(lanes, len(digests))
        self._todo = sorted(digests, reverse=True)
        self._found: dict[str, bytes] = {}
        self._buffers = _Buffers()
        self._queue: queue.Queue[_Segment | _Done | BaseException] = queue.Queue(self._lanes)
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(2 * self._lanes, thread_name_prefix="weights")
        self._readers: list[Future[None]] = []
        self._failure: BaseException | None = None

    def __iter__(self) -> Generator[tuple[str, torch.Tensor], None, None]:
        """The tensors; each one's memory is used again once it is gone.

        Raises:
            WeightsRefused: a file cannot be what was signed. That it is, only `check` says.
        """
        for segment in self._taken():
            self.counts.tensors += len(segment.entries)
            yield from segment.tensors()

    def check(self) -> None:
        """Reads what has not been read yet, and compares every file with its digest.

        Raises:
            WeightsRefused: a file is not what was signed.
        """
        for _ in self._taken():
            pass
        wrong = sorted(
            name for name in self._digests if self._found.get(name) != self._digests[name]
        )
        if wrong:
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise refuse(
                Reason.CHANGED_FILE,
                f"{self._folder / wrong[0]}{more}: what was loaded is not what was signed: it was "
                "changed after it had been signed, or while it was loaded; restore the file, or "
                "sign the model again",
            )

    def close(self) -> None:
        """Ends the threads; what was handed out stays valid."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _taken(self) -> Iterator[_Segment]:
        if not self._readers:
            self._readers = [self._pool.submit(self._lane) for _ in range(self._lanes)]
        while len(self._found) < len(self._digests):
            if self._failure is not None:
                raise self._failure
            before = time.perf_counter()
            item = self._queue.get()
            self.counts.waited_s += time.perf_counter() - before
            if isinstance(item, _Segment):
                self.counts.bytes += item.entries[-1].end - item.begin
                yield item
            elif isinstance(item, _Done):
                self._found[item.name] = item.digest
                self.counts.files += 1
            else:
                self._failure = item
            # Nothing here may hold on to the memory while the next item is waited for.
            del item

    # In the lanes' threads.

    def _lane(self) -> None:
        try:
            while name := self._next():
                self._read(name)
        except BaseException as error:  # noqa: BLE001 (raised again by whoever takes the tensors)
            self._put(error)

    def _next(self) -> str | None:
        with contextlib.suppress(IndexError):
            return self._todo.pop()
        return None

    def _read(self, name: str) -> None:
        path = self._folder / name
        try:
            with contextlib.closing(_File(path, self._sizes.get(name))) as file:
                self._same_header(name, file.prefix)
                self._put(_Done(name, self._hash(file)))
        except FileNotFoundError:
            raise refuse(
                Reason.MISSING_FILE, f"{path} was signed and is not there: restore it"
            ) from None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise refuse(Reason.LINK, f"{path} is a link: put the file itself there") from None
            raise WeightsUnavailable(f"{path} cannot be read: {error.strerror}") from error

    def _same_header(self, name: str, header: bytes) -> None:
        """What vLLM was configured by must be what it is loaded from."""
        if self._headers is None or not (seen := self._headers / name).is_file():
            return
        if seen.read_bytes() != header:
            raise refuse(
                Reason.CHANGED_FILE,
                f"{self._folder / name}: its header is no more the one that the engine was "
                "configured by: restore the file, or start the replica again",
            )

    def _hash(self, file: "_File") -> bytes:
        """Hands a file's segments on, each once it was hashed: models may write into tensors."""
        digest = hashlib.sha256(file.prefix)
        hashed: Future[None] | None = None
        ready: list[_Segment] = []
        for entries in _segments(file.header.entries):
            if self._stop.is_set():
                raise CancelledError
            begin, end = entries[0].begin, entries[-1].end
            data = self._buffers.take(end - begin)
            for start in range(0, end - begin, PIECE):
                piece = data.data[start : min(start + PIECE, end - begin)]
                file.read_into(piece, begin + start)
                self._hand_on(ready, hashed)
                hashed = self._pool.submit(digest.update, piece)
                del piece
            ready.append(_Segment(data, begin, entries))
            del data
        self._hand_on(ready, hashed)
        return digest.digest()

    def _hand_on(self, ready: list[_Segment], hashed: Future[None] | None) -> None:
        if hashed is not None:
            hashed.result()
        for segment in ready:
            self._put(segment)
        ready.clear()

    def _put(self, item: _Segment | _Done | BaseException) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
                return
            except queue.Full:
                continue


class _File:
    """An open weight file, whose header has been parsed from the bytes that are hashed."""

    def __init__(self, path: Path, signed_size: int | None) -> None:
        self._path = path
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._descriptor = os.open(path, flags)
        try:
            self.prefix, self.header = self._opened(signed_size)
        except BaseException:
            self.close()
            raise

    def _opened(self, signed_size: int | None) -> tuple[bytes, Header]:
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise refuse(Reason.LINK, f"{self._path} is no file: put the signed file there")
        if signed_size is not None and status.st_size != signed_size:
            raise refuse(
                Reason.CHANGED_FILE,
                f"{self._path} has {status.st_size} bytes, and {signed_size} were signed: restore "
                "the file, or sign the model again",
            )
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        try:
            start = self._exactly(0, min(LENGTH_BYTES, status.st_size))
            rest = self._exactly(LENGTH_BYTES, header_length(start, status.st_size))
            return start + rest, Header.parse(rest, status.st_size)
        except WeightsRefused as error:
            raise WeightsRefused(f"{self._path}: {error.message}", error.reason) from None

    def read_into(self, view: memoryview, begin: int) -> None:
        """Fills a buffer with what stands from `begin` in the data, after the header."""
        self._fill(view, len(self.prefix) + begin)

    def close(self) -> None:
        os.close(self._descriptor)

    def _exactly(self, offset: int, size: int) -> bytes:
        data = bytearray(size)
        self._fill(memoryview(data), offset)
        return bytes(data)

    def _fill(self, view: memoryview, offset: int) -> None:
        filled = 0
        while filled < len(view):
            count = os.preadv(self._descriptor, [view[filled:]], offset + filled)
            if count == 0:
                raise refuse(Reason.CHANGED_FILE, f"{self._path}: became shorter while it was read")
            filled += count


def _segments(entries: Sequence[Any]) -> Iterator[list[Any]]:
    part: list[Any] = []
    for entry in entries:
        if part and entry.end - part[0].begin > SEGMENT:
            yield part
            part = []
        part.append(entry)
    if part:
        yield part


def _dtype(name: str, dtype: str) -> torch.dtype:
    known = getattr(torch, _DTYPES.get(dtype, ""), None)
    if known is None:
        raise refuse(
            Reason.BAD_HEADER,
            f"Tensor {name!r} has the type {dtype}, which cannot be loaded: convert it to one of "
            f"{', '.join(_DTYPES)}",
        )
    return known
