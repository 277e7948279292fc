"""The node's cache: one fetch, whole entries, and nothing that runs is evicted."""

import hashlib
import subprocess
import time
from pathlib import Path

import pytest

from app.errors import WeightsUnavailable
from app.weights.cache import Cache, Fetch, Lease, address
from app.weights.manifest import Manifest
from tests.unit.weights.processes import PATIENCE_S, outputs, running

SIZE = 1000


def manifest(letter: str, *names: str) -> Manifest:
    names = names or ("model.safetensors",)
    digest = hashlib.sha256(letter.encode() * SIZE).digest()
    return Manifest("tiny", dict.fromkeys(names, digest), dict.fromkeys(names, SIZE), 1)


class Fetcher:
    """Writes what a manifest of one letter wants."""

    def __init__(self, letter: str, *names: str) -> None:
        self.letter, self.names = letter, names or ("model.safetensors",)
        self.calls = 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        for name in self.names:
            path = folder / "files" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(self.letter.encode() * SIZE)


def hold(cache: Cache, letter: str, fetch: Fetch | None = None) -> Lease:
    return cache.hold(manifest(letter), SIZE, fetch or Fetcher(letter))


def names(cache: Cache) -> set[str]:
    return set(cache.entries())


def name_of(letter: str) -> str:
    return address(manifest(letter), ["model.safetensors"])


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 3 * SIZE)


def test_what_is_there_is_not_fetched_again(cache: Cache) -> None:
    fetch = Fetcher("a", "model.safetensors", "text/more.safetensors")
    wanted = manifest("a", "model.safetensors", "text/more.safetensors")
    for _ in range(3):
        with cache.hold(wanted, 2 * SIZE, fetch) as lease:
            assert (lease.folder / "text/more.safetensors").read_bytes() == b"a" * SIZE
    assert fetch.calls == 1
    assert cache.entries() == {lease.folder.name: 2 * SIZE}


def test_an_entry_is_read_only(cache: Cache) -> None:
    with cache.hold(
        manifest("a", "t/a.safetensors"), SIZE, Fetcher("a", "t/a.safetensors")
    ) as lease:
        paths = [lease.folder, lease.folder / "t", lease.folder / "t/a.safetensors"]
        assert [path.stat().st_mode & 0o777 for path in paths] == [0o555, 0o555, 0o444]
    assert not any((lease.folder.parent / "incoming").iterdir())


def test_names_are_part_of_what_is_kept(cache: Cache) -> None:
    one, other = manifest("a", "one.safetensors"), manifest("a", "other.safetensors")
    assert one.root == other.root
    cache.hold(one, SIZE, Fetcher("a", "one.safetensors")).close()
    with cache.hold(other, SIZE, Fetcher("a", "other.safetensors")) as lease:
        assert [path.name for path in lease.folder.iterdir()] == ["other.safetensors"]
    assert len(cache.entries()) == 2


def test_an_address_can_be_computed_with_other_tools(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"a" * SIZE)
    lines = subprocess.run(
        ["sha256sum", "model.safetensors"], cwd=tmp_path, capture_output=True, check=True
    )
    assert name_of("a") == f"sha256-{hashlib.sha256(lines.stdout).hexdigest()}"


def test_the_least_recently_used_goes_first(cache: Cache) -> None:
    for letter in "abc":
        hold(cache, letter).close()
        time.sleep(0.01)
    hold(cache, "a").close()
    hold(cache, "d").close()
    assert names(cache) == {name_of("a"), name_of("c"), name_of("d")}


def test_what_runs_stays(cache: Cache) -> None:
    leases = [hold(cache, letter) for letter in "abc"]
    with pytest.raises(WeightsUnavailable, match=r"cache_size"):
        hold(cache, "d")
    assert names(cache) == {name_of(letter) for letter in "abc"}
    leases[1].close()
    leases[1].close()
    hold(cache, "d").close()
    assert names(cache) == {name_of("a"), name_of("c"), name_of("d")}
    for lease in leases:
        lease.close()


def test_what_never_fits_evicts_nothing(cache: Cache) -> None:
    hold(cache, "a").close()
    with pytest.raises(WeightsUnavailable, match="3,001 bytes"):
        cache.hold(manifest("b"), 3 * SIZE + 1, Fetcher("b"))
    assert names(cache) == {name_of("a")}


def test_a_failed_fetch_leaves_no_entry_and_no_lock(cache: Cache) -> None:
    def broken(folder: Path) -> None:
        (folder / "files" / "model.safetensors").write_bytes(b"half")
        raise WeightsUnavailable("gone")

    with pytest.raises(WeightsUnavailable, match="gone"):
        hold(cache, "a", broken)
    assert names(cache) == set()

    def rest(folder: Path) -> None:
        assert (folder / "files" / "model.safetensors").read_bytes() == b"half"
        Fetcher("a")(folder)

    hold(cache, "a", rest).close()
    assert names(cache) == {name_of("a")}


def test_a_full_disk_is_named(cache: Cache) -> None:
    def full(_folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(WeightsUnavailable, match=r"No space left.*weights\.cache_dir"):
        hold(cache, "a", full)


def test_a_damaged_entry_is_fetched_again(cache: Cache) -> None:
    with hold(cache, "a") as lease:
        folder = lease.folder
    folder.chmod(0o700)
    (folder / "model.safetensors").unlink()
    fetch = Fetcher("a")
    hold(cache, "a", fetch).close()
    assert fetch.calls == 1
    assert (folder / "model.safetensors").read_bytes() == b"a" * SIZE


def test_discarding_spares_what_is_used(cache: Cache) -> None:
    with hold(cache, "a"):
        assert not cache.discard(manifest("a"))
    assert names(cache) == {name_of("a")}
    assert cache.discard(manifest("a"))
    assert names(cache) == set()


def test_what_was_left_half_removed_goes(cache: Cache, tmp_path: Path) -> None:
    trash = tmp_path / "cache" / "incoming" / "trash-x" / "entry"
    trash.mkdir(parents=True)
    (trash / "model.safetensors").write_bytes(b"x")
    trash.chmod(0o555)
    hold(cache, "a").close()
    assert not trash.parent.exists()


def test_an_abandoned_fetch_makes_room(cache: Cache, tmp_path: Path) -> None:
    def broken(_folder: Path) -> None:
        raise WeightsUnavailable("gone")

    with pytest.raises(WeightsUnavailable):
        cache.hold(manifest("z"), 3 * SIZE, broken)
    assert any((tmp_path / "cache" / "incoming").iterdir())
    hold(cache, "a").close()
    assert not any((tmp_path / "cache" / "incoming").iterdir())


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsUnavailable, match=r"weights\.cache_dir"):
        Cache(tmp_path / "file" / "cache", SIZE)


PROCESS = """
import os, sys, time
from pathlib import Path
from app.weights.cache import Cache
from tests.unit.weights.test_cache import SIZE, Fetcher, manifest
cache, letters, log, hang = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])
for letter in letters:
    def fetch(folder):
        with log.open("a") as file:
            file.write(letter)
        (folder / "files" / "model.safetensors").write_bytes(letter.encode() * (SIZE // 2))
        time.sleep(hang)
        Fetcher(letter)(folder)
    with Cache(cache, 3 * SIZE).hold(manifest(letter), SIZE, fetch) as lease:
        data = (lease.folder / "model.safetensors").read_bytes()
        time.sleep(0.005)
        assert data == letter.encode() * SIZE == (lease.folder / "model.safetensors").read_bytes()
"""


def arguments(tmp_path: Path, letters: str, hang: float) -> list[str]:
    return [str(tmp_path / "cache"), letters, str(tmp_path / "log"), str(hang)]


def test_one_fetch_however_many_processes(cache: Cache, tmp_path: Path) -> None:
    with running(PROCESS, *[arguments(tmp_path, "a", hang=0.3)] * 3) as processes:
        outputs(processes)
    assert (tmp_path / "log").read_text() == "a"


def test_processes_that_evict_each_others(cache: Cache, tmp_path: Path) -> None:
    # Three fit at any time, and three processes want five.
    orders = ("abcde", "edcba", "badce")
    with running(PROCESS, *(arguments(tmp_path, order * 3, 0) for order in orders)) as processes:
        outputs(processes)
    assert sum(cache.entries().values()) <= 3 * SIZE
    assert not any((tmp_path / "cache" / "incoming").iterdir())


def test_a_killed_fetch_blocks_nobody(cache: Cache, tmp_path: Path) -> None:
    with running(PROCESS, arguments(tmp_path, "a", hang=60)) as (process,):
        deadline = time.monotonic() + PATIENCE_S
        while not (tmp_path / "log").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
        process.wait()
    assert names(cache) == set()
    with hold(cache, "a") as lease:
        assert (lease.folder / "model.safetensors").read_bytes() == b"a" * SIZE
