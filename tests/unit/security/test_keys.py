from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.admission.tier import Tier
from app.security.identity import Role
from app.security.keys import KeyRecord, admin_record, digest, mint, parse, tiers_of

PEPPER = bytes(32)


def test_a_minted_key_is_read_back() -> None:
    key_id, key = mint()
    assert parse(key) == (key_id, key.removeprefix(f"tg-{key_id}-"))


def test_minted_keys_differ() -> None:
    minted = [mint() for _ in range(1000)]
    assert len({key_id for key_id, _ in minted}) == 1000
    assert len({key[20:] for _, key in minted}) == 1000


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: key[:-1],
        lambda key: key + "A",
        lambda key: key.upper(),
        lambda key: " " + key[1:],
        lambda key: key[:-1] + "\n",
        lambda key: key[:-1] + "=",
        lambda key: key[:-1] + "\u0131",
        lambda key: key[:3] + "0" + key[4:],
        lambda key: key[:3] + "\uff41" + key[4:],
        lambda key: "sk" + key[2:],
        lambda key: key + "\n",
        lambda key: "\0" * 63,
    ],
)
def test_what_is_spoilt_is_no_key(spoil: Callable[[str], str]) -> None:
    assert parse(spoil(mint()[1])) is None


@given(st.text())
def test_junk_is_no_key_and_no_error(text: str) -> None:
    assert parse(text) is None
    assert len(digest(PEPPER, "admin", text)) == 32


def test_a_digest_depends_on_all_that_goes_in() -> None:
    digests = {
        digest(PEPPER, "a", "secret"),
        digest(PEPPER, "b", "secret"),
        digest(PEPPER, "a", "Secret"),
        digest(bytes([1]) * 32, "a", "secret"),
        digest(PEPPER, "asec", "ret"),
        digest(PEPPER, "a\0", "secret"),
    }
    assert len(digests) == 6
    assert digest(PEPPER, "a", "secret") == digest(PEPPER, "a", "secret")


def test_a_record_becomes_an_identity() -> None:
    record = KeyRecord(
        id="k" * 16,
        digest=bytes(32),
        tenant="acme",
        user="ada",
        roles=(Role.DEVELOPER, Role.OPERATOR),
        zone="private",
        models=("tide",),
        tiers=(Tier.CRITICAL,),
    )
    identity = record.identity()
    assert (identity.tenant, identity.user, identity.max_zone) == ("acme", "ada", "private")
    assert identity.key == record.id
    assert identity.roles == {Role.DEVELOPER, Role.OPERATOR}
    assert identity.models == frozenset({"tide"})
    assert identity.tiers == {Tier.CRITICAL}
    assert not identity.unlimited


def test_a_key_for_batch_alone_has_the_batch_tier_alone() -> None:
    both = frozenset({Tier.STANDARD, Tier.BATCH})
    assert tiers_of(frozenset({Role.BATCH}), both) == {Tier.BATCH}
    assert tiers_of(frozenset({Role.BATCH, Role.DEVELOPER}), both) == both
    assert tiers_of(frozenset({Role.BATCH}), frozenset({Tier.STANDARD})) == set()


def test_the_admin_key_may_do_anything() -> None:
    record = admin_record(PEPPER, "k" * 32, "confidential")
    assert record.digest == digest(PEPPER, "admin", "k" * 32)
    identity = record.identity()
    assert identity.roles == {Role.ADMIN}
    assert identity.unlimited
    assert identity.tiers == set(Tier)
    assert identity.models is None
    assert identity.max_zone == "confidential"
