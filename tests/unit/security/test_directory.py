import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.security.directory import Delta, Directory, Snapshot, encode
from app.security.identity import Role
from app.security.keys import KeyRecord

PEPPER = b"p" * 32


def record(key_id: str, **changes: object) -> KeyRecord:
    plain = KeyRecord(
        id=key_id,
        digest=bytes(32),
        tenant="acme",
        user="ada",
        roles=(Role.DEVELOPER,),
        zone="public",
    )
    return msgspec.structs.replace(plain, **changes)


def ready(*records: KeyRecord, version: int = 5) -> Directory:
    directory = Directory()
    directory.apply(encode(Snapshot(PEPPER, version, records)))
    return directory


def test_a_snapshot_makes_it_ready() -> None:
    directory = Directory()
    assert not directory.ready
    assert directory.version == -1
    directory.apply(encode(Snapshot(PEPPER, 5, (record("a"), record("b", expires_at=9.0)))))
    assert directory.ready
    assert directory.pepper == PEPPER
    assert directory.version == 5
    assert len(directory) == 2
    entry = directory.entry("b")
    assert entry is not None
    assert entry.expires_at == 9.0
    assert entry.identity == record("b").identity()
    assert directory.entry("c") is None


def test_a_delta_adds_changes_and_removes() -> None:
    directory = ready(record("a"), record("b"), record("c"))
    directory.apply(encode(Delta(6, (record("b", revoked_at=3.0), record("d")), ("c", "z"))))
    assert directory.version == 6
    changed = directory.entry("b")
    assert changed is not None
    assert changed.revoked_at == 3.0
    assert directory.entry("d") is not None
    assert directory.entry("c") is None
    assert len(directory) == 3


def test_an_old_delta_does_not_bring_back_a_revoked_key() -> None:
    directory = ready(record("a", revoked_at=3.0), version=7)
    directory.apply(encode(Delta(6, (record("a"),))))
    entry = directory.entry("a")
    assert entry is not None
    assert entry.revoked_at == 3.0
    assert directory.version == 7


def test_a_snapshot_replaces_everything() -> None:
    directory = ready(record("a"), version=7)
    directory.apply(encode(Snapshot(b"q" * 32, 3, (record("b"),))))
    assert directory.entry("a") is None
    assert directory.pepper == b"q" * 32
    assert directory.version == 3


def test_a_delta_before_any_snapshot_is_an_error() -> None:
    with pytest.raises(ValueError, match="before the directory"):
        Directory().apply(encode(Delta(1, (record("a"),))))


@given(st.binary(max_size=200))
def test_junk_changes_nothing(message: bytes) -> None:
    directory = ready(record("a"))
    with pytest.raises(ValueError, match="directory"):
        directory.apply(message)
    assert len(directory) == 1
    assert directory.version == 5


def test_a_message_that_is_wrong_in_its_last_record_changes_nothing() -> None:
    directory = ready(record("a"))
    message = encode(Delta(6, (record("a", revoked_at=1.0), record("b"))))
    spoilt = message.replace(b"developer", b"evildoers")
    with pytest.raises(ValueError, match="not a message"):
        directory.apply(spoilt)
    entry = directory.entry("a")
    assert entry is not None
    assert entry.revoked_at is None
