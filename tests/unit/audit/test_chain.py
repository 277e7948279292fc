"""What an entry is: one encoding, no name of a person, nothing that a database could not keep."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.audit.chain import GENESIS, Entry, Head, entry_hash, follow
from app.audit.events import AuditEvent, EventKind
from app.audit.lines import MAX_LINE, decode, encode
from tests.unit.audit.logs import event

_details = st.dictionaries(
    st.text(max_size=300),
    st.text(max_size=300) | st.integers() | st.floats() | st.booleans(),
    max_size=40,
)


def test_the_first_entry_follows_the_genesis() -> None:
    entry = follow(Head(), "ledger-0", event(1), "s1", 5000.0)
    assert entry.sequence == 1
    assert entry.previous == GENESIS
    assert entry.hash == entry_hash(entry)
    assert json.loads(entry.body) == {
        "detail": {"leased": True, "pool": "small", "ratio": 0.5, "tokens": 1},
        "key": "k1",
        "request_id": "req-1",
        "zone": "public",
    }


def test_the_hash_of_an_entry_never_changes() -> None:
    # Logs that were written by one release are verified by all later ones.
    entry = follow(Head(), "ledger-0", event(1), "s1", 5000.0)
    assert entry.hash.hex() == ("4f19968875cc13ad6c15ca373255cfdf13b26ff1213d53955d7b9c8660de81cb")


def test_fields_cannot_run_into_each_other() -> None:
    plain = follow(Head(), "c", event(1), "s1", 5000.0)
    one = Entry("c", 1, "ab", 1.0, "c", "d", "e", "f", GENESIS, b"")
    other = Entry("c", 1, "a", 1.0, "bc", "d", "e", "f", GENESIS, b"")
    assert len({entry_hash(one), entry_hash(other), plain.hash}) == 3


def test_the_name_of_the_user_is_nowhere_in_the_entry() -> None:
    named = AuditEvent(
        "1",
        1.0,
        EventKind.ADMIN_CALL,
        tenant="acme",
        user="ada lovelace",
        detail={"target": "ada lovelace", "method": "keys.create"},
    )
    entry = follow(Head(), "ledger-0", named, "5ub", 5000.0)
    assert "ada" not in str(entry)
    assert json.loads(entry.body)["detail"] == {"method": "keys.create", "target": "5ub"}


@given(
    id_=st.text(max_size=100),
    at=st.floats(),
    tenant=st.text(max_size=200),
    user=st.text(max_size=200),
    subject=st.text(max_size=64),
    detail=_details,
)
def test_every_event_becomes_an_entry_that_any_store_takes(
    id_: str,
    at: float,
    tenant: str,
    user: str,
    subject: str,
    detail: dict[str, str | int | float | bool],
) -> None:
    odd = AuditEvent(id_, at, EventKind.REFUSED, tenant, user, id_, id_, id_, detail)
    entry = follow(Head(), "ledger-0", odd, subject, 5000.0)
    assert entry_hash(entry) == entry.hash
    assert 0 <= entry.at <= 5000.0
    for text, limit in ((entry.id, 40), (entry.tenant, 128), (entry.subject, 32)):
        assert len(text) <= limit
        assert text.isprintable()
    assert entry.body.isascii()
    assert len(encode(entry)) < MAX_LINE
    assert decode(encode(entry)) == entry
    json.loads(entry.body)
    assert follow(Head(), "ledger-0", odd, subject, 5000.0) == entry


def test_long_ids_stay_distinct() -> None:
    long = [AuditEvent("x" * 50 + end, 1.0, EventKind.REFUSED) for end in "ab"]
    ids = {follow(Head(), "c", each, "", 5000.0).id for each in long}
    assert len(ids) == 2


@pytest.mark.parametrize("at", [float("nan"), float("inf"), -1.0, 5000.1])
def test_an_entry_is_never_from_the_future_or_from_nowhere(at: float) -> None:
    odd = AuditEvent("1", at, EventKind.REFUSED)
    assert follow(Head(), "c", odd, "", 5000.0).at == 5000.0
