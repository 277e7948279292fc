import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.admission.exchange import Account, Settlement
from app.audit.events import AuditEvent, EventKind
from app.errors import StoreUnavailable
from app.usage.frames import Record, frame, records
from app.usage.journal import Journal
from app.usage.orphans import orphans


def settlement(number: int, user: str = "ada") -> Settlement:
    return Settlement(
        id=f"s{number}",
        request_id=f"req-{number}",
        at=1000.0 + number,
        account=Account("acme", user, "k1"),
        model="demo",
        pool="small",
        zone="public",
        route="chat",
        size_class="small",
        tier="standard",
        prompt_tokens=10,
        output_tokens=number,
        micros=7,
        outcome="finished",
    )


def event(number: int) -> AuditEvent:
    return AuditEvent(id=f"e{number}", at=1.0, kind=EventKind.ADMITTED, detail={"n": number})


def adopt(directory: Path) -> list[Record]:
    found: list[Record] = []
    for orphan in orphans(directory):
        for segment in orphan.segments():
            found += orphan.read(segment)
            orphan.discard(segment)
        orphan.close()
    return found


def abandon(journal: Journal) -> None:
    """What the kernel does when the process dies: descriptors go, files stay."""
    os.close(journal._lock_fd)
    journal._lock_fd = -1
    journal._closing = True
    journal._dirty.set()
    journal._syncer.join()
    for segment in journal._segments:
        os.close(segment.fd)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal", "gw-1", segment_bytes=2000, max_bytes=20_000) as made:
        yield made


def test_records_survive_the_death_of_their_owner(journal: Journal, tmp_path: Path) -> None:
    written: list[Record] = [settlement(1), event(1), settlement(2)]
    for record in written:
        journal.append(record)
    assert adopt(tmp_path / "journal") == [], "the owner lives"
    abandon(journal)
    assert adopt(tmp_path / "journal") == written
    assert list((tmp_path / "journal").iterdir()) == []


def test_only_what_is_delivered_goes(journal: Journal, tmp_path: Path) -> None:
    for number in range(100):
        journal.append(settlement(number))
    assert len(list((tmp_path / "journal/gw-1").glob("*.journal"))) > 3
    journal.acknowledge(settled=[f"s{n}" for n in range(100) if n != 3], recorded=["s3"])
    assert journal.outstanding == 1
    abandon(journal)
    found = adopt(tmp_path / "journal")
    assert settlement(3) in found
    assert len(found) < 25, "whole files have gone"


def test_nothing_is_left_once_all_is_delivered(tmp_path: Path) -> None:
    with Journal(tmp_path, "gw", segment_bytes=4000) as journal:
        for number in range(500):
            journal.append(settlement(number))
            journal.append(event(number))
            journal.acknowledge([f"s{number}"], [f"e{number}"])
            assert journal.size <= 4000
        assert journal.outstanding == 0
    assert list(tmp_path.iterdir()) == []


def test_a_settlement_and_an_event_may_share_an_id(journal: Journal) -> None:
    journal.append(settlement(1))
    journal.append(AuditEvent(id="s1", at=1.0, kind=EventKind.COMPLETED))
    journal.acknowledge(recorded=["s1"])
    assert journal.outstanding == 1


def test_the_same_record_twice_is_one(journal: Journal) -> None:
    journal.append(settlement(1))
    size = journal.size
    journal.append(settlement(1))
    assert (journal.size, journal.outstanding) == (size, 1)


def test_it_is_not_usable_past_its_size_and_still_takes_what_has_been_admitted(
    journal: Journal,
) -> None:
    number = 0
    while journal.usable:
        journal.append(settlement(number))
        number += 1
    assert journal.size >= 20_000
    journal.append(settlement(number))
    assert journal.outstanding == number + 1
    journal.acknowledge([f"s{n}" for n in range(number)])
    assert journal.usable


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match=r"store\.data_dir"):
        Journal(tmp_path / "file", "gw").open()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        journal = Journal(disk, "gw").open()
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(b"x" * 1000)
                except OSError:
                    break
        number = 0
        while journal.usable:
            journal.append(settlement(number))
            number += 1
        journal.append(settlement(number))
        assert not journal.usable
        ballast.unlink()
        assert journal.retry()
        assert journal.usable
        abandon(journal)
        assert adopt(disk) == [settlement(n) for n in range(number + 1)]
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(0, 4000))
@settings(max_examples=100)
def test_any_cut_leaves_the_whole_records_before_it(numbers: list[int], cut: int) -> None:
    frames = [frame(settlement(n) if n % 2 else event(n)) for n in numbers]
    data = b"".join(frames)[:cut]
    ends = [sum(map(len, frames[: i + 1])) for i in range(len(frames))]
    whole = [end for end in ends if end <= cut]
    assert [end for _, end in records(data)] == whole


@given(st.integers(0, 10_000), st.integers(0, 7))
@settings(max_examples=200)
def test_any_flipped_bit_ends_the_file_there(place: int, bit: int) -> None:
    frames = [frame(settlement(n)) for n in range(5)]
    data = bytearray(b"".join(frames))
    place %= len(data)
    data[place] ^= 1 << bit
    broken = place // len(frames[0])
    assert [record for record, _ in records(bytes(data))] == [settlement(n) for n in range(broken)]


@given(st.binary(max_size=300))
def test_junk_is_no_record(data: bytes) -> None:
    assert list(records(data)) == []


_WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_journal import settlement
from app.usage.journal import Journal
journal = Journal(Path(sys.argv[1]), f"gw-{sys.argv[3]}").open()
number = 0
while True:
    journal.append(settlement(number))
    print(number, flush=True)
    number += 1
"""


def test_whatever_was_written_survives_sigkill(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, tmp_path / "journal", Path(__file__).parent, "1"],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": "."},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == 200:
            process.send_signal(signal.SIGKILL)
            break
    last = max([200, *(int(line) for line in process.stdout if line.endswith(b"\n"))])
    process.wait()
    process.stdout.close()
    found = adopt(tmp_path / "journal")
    assert found[: last + 1] == [settlement(n) for n in range(last + 1)]
    assert len(found) - (last + 1) in {0, 1}
