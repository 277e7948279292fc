"""Whatever is done to a log without its key shows."""

from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.audit.chain import Entry, Head, entry_hash
from app.audit.checkpoint import Checkpoint, sign
from app.audit.lines import Item
from app.audit.verify import BreakKind, Verifier
from tests.unit.audit.logs import (
    KEY,
    OTHER_KEY,
    chain,
    check,
    checkpoints,
    entries,
    kinds,
)

LOG = chain(10)
ENTRIES = entries(LOG)
CHECKPOINTS = checkpoints(LOG)


def rehash(log: Sequence[Entry], start: int) -> list[Entry]:
    """What an intruder does who may write to the store: everything behind a change fits again."""
    result = list(log[:start])
    for entry in log[start:]:
        previous = result[-1].hash if result else entry.previous
        again = msgspec.structs.replace(entry, previous=previous)
        result.append(msgspec.structs.replace(again, hash=entry_hash(again)))
    return result


def merge(log: Sequence[Entry], signed: Sequence[Checkpoint]) -> list[Item]:
    items: list[Item] = [*log, *signed]
    return sorted(items, key=lambda item: (item.sequence, isinstance(item, Checkpoint)))


def flipped(value: object, bit: int) -> object:
    """A value of which one bit is another."""
    if isinstance(value, bytes):
        at = bit // 8 % len(value)
        return value[:at] + bytes([value[at] ^ 1 << bit % 8]) + value[at + 1 :]
    if isinstance(value, str):
        raw = bytearray(value.encode("utf-32-be"))
        # Only the low half of a code point: the high half would leave Unicode.
        at = (bit // 16 % (len(raw) // 4)) * 4 + 2 + bit // 8 % 2
        raw[at] ^= 1 << bit % 8
        return raw.decode("utf-32-be", "surrogatepass")
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value ^ 1 << bit % 63
    assert isinstance(value, float)
    whole = int.from_bytes(msgspec.msgpack.encode(value)[1:], "big") ^ 1 << bit % 64
    return msgspec.msgpack.decode(b"\xcb" + whole.to_bytes(8, "big"))


def test_a_log_that_nobody_touched_is_whole() -> None:
    report = check(LOG)
    assert report.whole
    assert report.public_keys == (KEY.public,)
    (found,) = report.chains
    assert (found.entries, found.signed, found.signed_at, found.pruned) == (10, 10, 2010.0, 0)
    assert found.head == Head(10, ENTRIES[-1].hash)


def test_an_empty_log_is_whole() -> None:
    assert check([]).whole


def test_chains_may_be_interleaved_and_checkpoints_may_come_first() -> None:
    other = chain(5, name="ledger-1")
    mixed = [item for pair in zip(LOG, other, strict=False) for item in pair]
    assert check([*mixed, *LOG[len(other) :]]).whole
    assert check([*CHECKPOINTS, *ENTRIES]).whole


@settings(max_examples=400)
@given(
    index=st.integers(0, 9),
    field=st.sampled_from(Entry.__struct_fields__),
    bit=st.integers(0, 2**16),
)
def test_every_single_bit_of_an_entry_counts(index: int, field: str, bit: int) -> None:
    entry = ENTRIES[index]
    changed = msgspec.structs.replace(entry, **{field: flipped(getattr(entry, field), bit)})
    assert changed != entry
    items = [changed if item is entry else item for item in LOG]
    assert not check(items).whole
    # Also where the store gives them out by their numbers again.
    found = [item for item in items if isinstance(item, Entry)]
    assert not check(merge(found, CHECKPOINTS)).whole


@settings(max_examples=400)
@given(
    index=st.integers(0, len(CHECKPOINTS) - 1),
    field=st.sampled_from(Checkpoint.__struct_fields__),
    bit=st.integers(0, 2**16),
)
def test_every_single_bit_of_a_checkpoint_counts(index: int, field: str, bit: int) -> None:
    checkpoint = CHECKPOINTS[index]
    value = flipped(getattr(checkpoint, field), bit)
    changed = msgspec.structs.replace(checkpoint, **{field: value})
    assert not check([changed if item is checkpoint else item for item in LOG]).whole


@given(index=st.integers(0, 8), count=st.integers(1, 9))
def test_entries_that_are_taken_out_are_missed(index: int, count: int) -> None:
    gone = ENTRIES[index : index + count]
    report = check([item for item in LOG if item not in gone])
    assert not report.whole
    expected = {BreakKind.HEAD_CUT, BreakKind.MISSING, BreakKind.TAIL_CUT}
    assert kinds(report) & expected


@given(first=st.integers(0, 9), second=st.integers(0, 9))
def test_entries_that_change_places_show(first: int, second: int) -> None:
    swapped = list(ENTRIES)
    swapped[first], swapped[second] = swapped[second], swapped[first]
    assert check([*CHECKPOINTS, *swapped]).whole == (first == second)
    # With the numbers swapped too, so that each place in the store is filled.
    renumbered = [
        msgspec.structs.replace(entry, sequence=number)
        for number, entry in enumerate(swapped, start=1)
    ]
    assert check(merge(renumbered, CHECKPOINTS)).whole == (first == second)
    forged = rehash(renumbered, 0)
    assert check(merge(forged, CHECKPOINTS)).whole == (first == second)


@given(index=st.integers(0, 9), place=st.integers(0, 10))
def test_an_entry_that_comes_twice_shows(index: int, place: int) -> None:
    doubled = [*ENTRIES[:place], ENTRIES[index], *ENTRIES[place:]]
    assert not check([*CHECKPOINTS, *doubled]).whole
    # Also as a new entry with a number of its own, unless it stands behind the newest checkpoint,
    # where everybody who may write to the store could add entries.
    renumbered = [
        msgspec.structs.replace(entry, sequence=number)
        for number, entry in enumerate(doubled, start=1)
    ]
    behind = renumbered[:10] == ENTRIES
    assert check(merge(rehash(renumbered, place), CHECKPOINTS)).whole == behind


@given(cut=st.integers(1, 9))
def test_a_head_that_was_cut_shows(cut: int) -> None:
    left = ENTRIES[cut:]
    signed = [each for each in CHECKPOINTS if each.sequence > cut]
    assert BreakKind.HEAD_CUT in kinds(check(merge(left, signed)))
    # Numbered anew from the beginning.
    renumbered = rehash(
        [
            msgspec.structs.replace(entry, sequence=number, previous=bytes(32))
            for number, entry in enumerate(left, start=1)
        ],
        0,
    )
    assert not check(merge(renumbered, CHECKPOINTS)).whole


@given(left=st.integers(0, 9))
def test_a_tail_that_was_cut_shows(left: int) -> None:
    report = check(merge(ENTRIES[:left], CHECKPOINTS))
    assert BreakKind.TAIL_CUT in kinds(report)
    assert f"the chain ends at entry {left}" in str(report.breaks[-1])


@given(left=st.integers(1, 9))
def test_a_tail_cut_with_its_checkpoints_shows_to_whoever_has_seen_it(left: int) -> None:
    cut = [item for item in LOG if item.sequence <= left]
    assert check(cut).whole
    report = check(cut, anchors={"ledger-0": Head(10, ENTRIES[-1].hash)})
    assert kinds(report) == {BreakKind.TAIL_CUT}


def test_a_chain_that_is_gone_shows_to_whoever_has_seen_it() -> None:
    report = check(chain(3), anchors={"ledger-1": Head(4, bytes(32))})
    assert [str(each) for each in report.breaks] == [
        "ledger-1:4: entry 4 is missing, but it was seen earlier; the chain ends at entry 0"
    ]


def test_a_chain_that_grew_holds_what_was_seen() -> None:
    assert check(LOG, anchors={"ledger-0": Head(4, ENTRIES[3].hash)}).whole
    report = check(LOG, anchors={"ledger-0": Head(4, bytes(32))})
    assert kinds(report) == {BreakKind.REWRITTEN}


@given(index=st.integers(0, 9))
def test_a_rewritten_chain_shows_at_the_next_checkpoint(index: int) -> None:
    changed = list(ENTRIES)
    changed[index] = msgspec.structs.replace(ENTRIES[index], body='{"zone":"confidential"}')
    report = check(merge(rehash(changed, index), CHECKPOINTS))
    assert kinds(report) == {BreakKind.REWRITTEN}


def test_a_chain_that_somebody_else_signed_shows() -> None:
    forged = chain(10, key=OTHER_KEY)
    assert kinds(check(forged)) == {BreakKind.UNKNOWN_KEY, BreakKind.UNSIGNED}
    # Nobody can tell without knowing the key; but it is named.
    report = check(forged, keys=None)
    assert report.whole
    assert report.public_keys == (OTHER_KEY.public,)


def test_a_checkpoint_with_our_key_and_a_foreign_signature_shows() -> None:
    real = CHECKPOINTS[-1]
    forged = sign(OTHER_KEY, real.chain, Head(real.sequence, real.hash), real.at)
    forged = msgspec.structs.replace(forged, public_key=KEY.public)
    assert kinds(check([*ENTRIES, forged])) == {BreakKind.BAD_SIGNATURE, BreakKind.UNSIGNED}


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_checkpoint_with_a_key_that_is_none_shows(length: int) -> None:
    forged = msgspec.structs.replace(CHECKPOINTS[-1], public_key=bytes(length))
    log: list[Item] = [*LOG[:-1], forged]
    assert BreakKind.BAD_SIGNATURE in kinds(check(log, keys=None))
    assert BreakKind.UNKNOWN_KEY in kinds(check(log))


def test_a_chain_without_any_checkpoint_shows() -> None:
    assert kinds(check(ENTRIES)) == {BreakKind.UNSIGNED}


def test_a_long_tail_without_checkpoints_shows() -> None:
    signed: list[Item] = [*ENTRIES[:3], CHECKPOINTS[1], *ENTRIES[3:]]
    assert check(signed, max_unsigned=7).whole
    report = check(signed, max_unsigned=6)
    assert kinds(report) == {BreakKind.UNSIGNED}
    assert "7 entries follow it, more than 6" in str(report.breaks[0])


def pruned(at: int) -> Checkpoint:
    return sign(KEY, "ledger-0", Head(at, ENTRIES[at - 1].hash), 3000.0, pruned=True)


@given(at=st.integers(1, 10))
def test_retention_leaves_a_whole_chain(at: int) -> None:
    later = [item for item in LOG if item.sequence > at]
    report = check([pruned(at), *later])
    assert report.whole
    assert (report.chains[0].pruned, report.chains[0].entries) == (at, 10 - at)
    # Checkpoints of entries that are gone, and anchors there, are of no use but do no harm.
    older: list[Item] = [each for each in CHECKPOINTS if each.sequence < at]
    seen = {"ledger-0": Head(1, ENTRIES[0].hash)}
    assert check([*older, pruned(at), *later], anchors=seen).whole


def test_a_cut_behind_a_checkpoint_that_does_not_say_so_shows() -> None:
    kept = next(each for each in CHECKPOINTS if each.sequence == 6)
    later = [item for item in LOG if item.sequence > 6]
    assert BreakKind.HEAD_CUT in kinds(check([kept, *later]))
    marked = msgspec.structs.replace(kept, pruned=True)
    assert BreakKind.BAD_SIGNATURE in kinds(check([marked, *later]))


def test_a_cut_further_than_retention_went_shows() -> None:
    later = [item for item in LOG if item.sequence > 6]
    assert kinds(check([pruned(4), *later])) == {BreakKind.MISSING}


def test_entries_put_in_front_of_the_cut_show() -> None:
    later = [item for item in LOG if item.sequence > 6]
    assert BreakKind.OUT_OF_ORDER in kinds(check([*ENTRIES[:2], pruned(6), *later]))


def test_an_entry_before_the_first_one_shows() -> None:
    extra = msgspec.structs.replace(ENTRIES[0], sequence=0)
    extra = msgspec.structs.replace(extra, hash=entry_hash(extra))
    assert not check([extra, *LOG]).whole


def test_a_checkpoint_that_comes_too_late_is_not_taken_for_checked() -> None:
    late = [item for item in LOG if item is not CHECKPOINTS[1]]
    assert kinds(check([*late, CHECKPOINTS[1]])) == {BreakKind.OUT_OF_ORDER}


def test_two_checkpoints_of_one_entry_must_agree() -> None:
    twin = sign(KEY, "ledger-0", Head(10, bytes(32)), 2010.0)
    assert BreakKind.REWRITTEN in kinds(check([*CHECKPOINTS, twin, *ENTRIES]))
    assert BreakKind.REWRITTEN in kinds(check([*LOG, twin]))


def test_the_report_is_bounded_and_counts_all() -> None:
    verifier = Verifier([KEY.public])
    for entry in ENTRIES * 100:
        verifier.entry(entry)
    report = verifier.report()
    assert len(report.breaks) == 100
    assert report.broken > 900


def test_the_number_of_chains_is_bounded() -> None:
    verifier = Verifier()
    for number in range(1100):
        verifier.entry(msgspec.structs.replace(ENTRIES[0], chain=f"c{number}"))
    report = verifier.report()
    assert len(report.chains) == 1024
    assert "more than 1024 chains" in str(report.breaks[0]) or report.broken > 76


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        (lambda: [*LOG[:2], *LOG[3:]], "ledger-0:2: entry 2 is missing"),
        (lambda: [*ENTRIES[:2], *ENTRIES[5:]], "ledger-0:3: entries 3 to 5 are missing"),
        (lambda: [*ENTRIES[:3], ENTRIES[2]], "ledger-0:3: entry 3 comes twice"),
        (lambda: [*ENTRIES[:5], ENTRIES[1]], "ledger-0:2: entry 2 comes after entry 5"),
    ],
)
def test_the_first_break_is_named(broken: Callable[[], list[Item]], text: str) -> None:
    assert str(check(broken()).breaks[0]) == text


@pytest.mark.parametrize(
    ("field", "value"),
    [("at", "yesterday"), ("at", None), ("body", 7), ("tenant", b"acme"), ("hash", "00")],
)
def test_a_value_of_another_type_shows(field: str, value: object) -> None:
    odd = msgspec.structs.replace(ENTRIES[4], **{field: value})
    report = check([odd if item is ENTRIES[4] else item for item in LOG])
    assert str(report.breaks[0]) == "ledger-0:5: entry 5 was changed: its hash is another"
