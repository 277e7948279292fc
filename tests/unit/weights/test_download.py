"""Ranges side by side, in order, resumed, and never anything but what was signed."""

import hashlib
import random
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import WeightsUnavailable
from app.weights import download
from app.weights.download import Download, Wanted
from app.weights.refusal import Reason
from tests.unit.weights.signed import refused

NAME = "text/model.safetensors"


class Origin:
    """Serves ranges of some bytes, and notes which."""

    def __init__(self, data: bytes, breaks_at: int | None = None) -> None:
        self.data, self.breaks_at = data, breaks_at
        self.asked: list[tuple[int, int]] = []
        self.running = self.most = 0
        self.lock = threading.Lock()
        self.slow = 0.0

    def __call__(self, begin: int, end: int, stop: threading.Event) -> bytes:
        with self.lock:
            self.asked.append((begin, end))
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(self.slow * random.random())
        with self.lock:
            self.running -= 1
        if self.breaks_at is not None and end > self.breaks_at:
            raise WeightsUnavailable("the line is cut")
        return self.data[begin:end]

    @property
    def bytes(self) -> int:
        return sum(end - begin for begin, end in self.asked)


class Into:
    """A folder to download into."""

    def __init__(self, folder: Path, connections: int = 3, part: int = 10) -> None:
        self.folder, self.done = folder, 0
        for name in ("files", "parts"):
            (folder / name).mkdir(exist_ok=True)
        self.download = Download(folder, connections, part, self.count)

    def count(self, size: int) -> None:
        self.done += size

    def bring(self, data: bytes, origin: Origin, tag: str = "1") -> None:
        wanted = Wanted(NAME, len(data), hashlib.sha256(data).digest(), tag)
        self.download.bring(wanted, origin)

    @property
    def file(self) -> Path:
        return self.folder / "files" / NAME

    @property
    def parts(self) -> list[Path]:
        return sorted((self.folder / "parts").iterdir())


@pytest.fixture
def into(tmp_path: Path) -> Into:
    return Into(tmp_path)


@pytest.fixture(params=["saved often", "saved at the end"])
def _saving(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "saved often":
        monkeypatch.setattr(download, "SAVE_EVERY", 20)


@given(
    size=st.integers(0, 300),
    part=st.integers(1, 400),
    connections=st.integers(1, 6),
    breaks=st.lists(st.integers(0, 300), max_size=2),
)
def test_whatever_breaks_the_bytes_are_right(
    size: int, part: int, connections: int, breaks: list[int]
) -> None:
    data = random.Random(size).randbytes(size)
    with TemporaryDirectory() as folder:
        for at in breaks:
            try:
                Into(Path(folder), connections, part).bring(data, Origin(data, breaks_at=at))
            except WeightsUnavailable:
                assert at < size
        last = Into(Path(folder), connections, part)
        last.bring(data, Origin(data))
        assert last.file.read_bytes() == data
        assert last.done == size
        assert last.parts == []


@pytest.mark.usefixtures("_saving")
def test_nothing_is_fetched_twice(tmp_path: Path) -> None:
    data = random.randbytes(100)
    with pytest.raises(WeightsUnavailable):
        Into(tmp_path).bring(data, Origin(data, breaks_at=55))
    origin = Origin(data)
    into = Into(tmp_path)
    into.bring(data, origin)
    assert min(origin.asked) == (50, 60)
    assert origin.bytes == 50
    assert into.done == 100


def test_what_is_whole_is_hashed_again_and_not_fetched(into: Into) -> None:
    data = random.randbytes(100)
    into.bring(data, Origin(data))
    origin = Origin(data)
    into.bring(data, origin)
    assert origin.asked == []
    into.file.write_bytes(b"?" * 100)
    into.bring(data, origin)
    assert origin.bytes == 100
    assert into.file.read_bytes() == data


def test_no_more_ranges_than_connections(into: Into) -> None:
    data = random.randbytes(500)
    origin = Origin(data)
    origin.slow = 0.003
    into.bring(data, origin)
    assert into.file.read_bytes() == data
    assert 1 < origin.most <= 3


def test_other_bytes_are_refused_and_not_kept(into: Into) -> None:
    data = random.randbytes(100)
    with refused(Reason.CHANGED_FILE, NAME):
        into.bring(data, Origin(data[:50] + bytes([data[50] ^ 1]) + data[51:]))
    assert not into.file.exists()
    assert into.parts == []


def test_damage_to_what_was_there_is_no_reason_to_refuse(into: Into) -> None:
    data = random.randbytes(100)
    with pytest.raises(WeightsUnavailable):
        into.bring(data, Origin(data, breaks_at=55))
    partial = next(path for path in into.parts if path.suffix == ".part")
    partial.write_bytes(b"?" + partial.read_bytes()[1:])
    origin = Origin(data)
    into.bring(data, origin)
    assert into.file.read_bytes() == data
    assert origin.bytes == 50 + 100


@pytest.mark.parametrize("state", [b"", b"{", b"[]", b'{"tag": "1", "size": 100, "bytes": "x"}'])
def test_a_state_that_makes_no_sense_begins_anew(into: Into, state: bytes) -> None:
    data = random.randbytes(100)
    with pytest.raises(WeightsUnavailable):
        into.bring(data, Origin(data, breaks_at=55))
    next(path for path in into.parts if path.suffix == ".json").write_bytes(state)
    origin = Origin(data)
    into.bring(data, origin)
    assert origin.bytes == 100


def test_another_object_begins_anew(into: Into) -> None:
    data = random.randbytes(100)
    with pytest.raises(WeightsUnavailable):
        into.bring(data, Origin(data, breaks_at=55), tag="1")
    origin = Origin(data)
    into.bring(data, origin, tag="2")
    assert origin.bytes == 100


def test_what_was_written_after_the_last_save_is_not_relied_on(into: Into) -> None:
    data = random.randbytes(100)
    with pytest.raises(WeightsUnavailable):
        into.bring(data, Origin(data, breaks_at=55))
    partial = next(path for path in into.parts if path.suffix == ".part")
    partial.write_bytes(partial.read_bytes() + b"torn")
    origin = Origin(data)
    into.bring(data, origin)
    assert into.file.read_bytes() == data
    assert origin.bytes == 50


def test_a_part_that_is_shorter_than_it_is_said_to_be_begins_anew(into: Into) -> None:
    data = random.randbytes(100)
    with pytest.raises(WeightsUnavailable):
        into.bring(data, Origin(data, breaks_at=55))
    partial = next(path for path in into.parts if path.suffix == ".part")
    partial.write_bytes(b"short")
    origin = Origin(data)
    into.bring(data, origin)
    assert origin.bytes == 100
