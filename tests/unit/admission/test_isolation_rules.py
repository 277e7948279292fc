"""Salts, turns, headroom and the check of every batch."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.admission.isolation import (
    MAX_BATCHMATES,
    RULES,
    BatchWatch,
    Claim,
    Headroom,
    Salts,
    Tenure,
)
from app.admission.tier import Tier
from app.config import Isolation
from app.errors import IsolationViolated

SECRET = bytes(range(32))


def claim(tenant: str = "acme", zone: str = "private", salt: str = "salt") -> Claim:
    return Claim(zone, tenant, "ada", Tier.STANDARD, 1.0, 10, salt)


def test_every_level_has_rules_and_they_only_get_stricter() -> None:
    assert set(RULES) == {level.value for level in Isolation}
    levels = [RULES[level] for level in Isolation]
    assert [level.headroom for level in levels] == [1.1, 1.25, 1.5]
    for field in ("salt_by_user", "one_tenant"):
        values = [getattr(level, field) for level in levels]
        assert values == sorted(values)


def test_a_salt_is_what_vllm_takes() -> None:
    salt = Salts(SECRET, RULES["high"]).of("private", "a/b@c", "d\\e\0")
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", salt)


def test_users_share_at_medium_and_not_above() -> None:
    for level, apart in (("medium", False), ("high", True), ("maximum", True)):
        salts = Salts(SECRET, RULES[level])
        assert salts.of("z", "t", "u") == salts.of("z", "t", "u")
        assert (salts.of("z", "t", "u") != salts.of("z", "t", "v")) is apart
        assert salts.of("z", "t", "u") != salts.of("z", "s", "u")
        assert salts.of("z", "t", "u") != salts.of("y", "t", "u")


def test_another_engine_has_other_salts() -> None:
    rules = RULES["medium"]
    assert Salts(SECRET, rules).of("z", "t", "u") != Salts(b"x" * 32, rules).of("z", "t", "u")
    with pytest.raises(ValueError, match="32 bytes"):
        Salts(b"short", rules)


NAMES = st.tuples(*[st.text(max_size=6)] * 3)


@given(first=NAMES, second=NAMES)
def test_names_that_run_together_are_told_apart(
    first: tuple[str, str, str], second: tuple[str, str, str]
) -> None:
    salts = Salts(SECRET, RULES["high"])
    assert (salts.of(*first) == salts.of(*second)) == (first == second)


def test_a_holder_keeps_the_engine_while_nobody_else_waits() -> None:
    tenure = Tenure(2.0)
    assert not tenure.hand_over("a")
    assert not tenure.expired(100.0, others_wait=False)
    assert not tenure.expired(1000.0, others_wait=True)
    assert not tenure.expired(1001.9, others_wait=True)
    assert tenure.expired(1002.0, others_wait=True)
    assert not tenure.expired(1003.0, others_wait=False)
    assert not tenure.expired(1004.0, others_wait=True)


def test_taking_over_asks_for_erasure_only_from_another() -> None:
    tenure = Tenure(2.0)
    assert [tenure.hand_over(name) for name in "aabba"] == [False, False, True, False, True]


def test_the_bound_starts_anew_with_each_holder() -> None:
    tenure = Tenure(1.0)
    tenure.hand_over("a")
    tenure.expired(0.0, others_wait=True)
    assert tenure.expired(1.0, others_wait=True)
    tenure.hand_over("b")
    assert not tenure.expired(1.0, others_wait=True)
    assert tenure.expired(2.0, others_wait=True)


def test_headroom_counts_blocks_and_lets_one_run_alone() -> None:
    room = Headroom(capacity=1000, block=32, factor=1.25)
    assert room.need(expected=33, present=1) == 64
    assert room.need(expected=33, present=65) == 96
    assert room.fits(100_000)
    room.promised = 400
    assert room.fits(400)
    assert not room.fits(401)


def test_a_batch_of_another_zone_stops_the_engine() -> None:
    watch = BatchWatch("private", RULES["high"])
    with pytest.raises(IsolationViolated, match="zone 'public' is in a batch of zone 'private'"):
        watch.look([(claim(zone="public"), "salt")])


@pytest.mark.parametrize("salt", [None, "", "another"])
def test_a_request_without_its_salt_stops_the_engine(salt: str | None) -> None:
    watch = BatchWatch("private", RULES["medium"])
    with pytest.raises(IsolationViolated, match="cache salt"):
        watch.look([(claim(), salt)])
    with pytest.raises(IsolationViolated, match="cache salt"):
        watch.look([(claim(salt=""), salt)])


def test_two_tenants_stop_an_engine_that_serves_one_at_a_time() -> None:
    batch = [(claim("acme"), "salt"), (claim("rival"), "salt")]
    BatchWatch("private", RULES["high"]).look(batch)
    with pytest.raises(IsolationViolated, match="2 tenants") as caught:
        BatchWatch("private", RULES["maximum"]).look(batch)
    assert caught.value.code == "isolation_violated"
    assert "acme" not in str(caught.value)


def test_batchmates_are_told_once_each() -> None:
    watch = BatchWatch("private", RULES["high"])
    mine, theirs = claim("acme"), claim("rival")
    watch.look([(mine, "salt")])
    assert mine.unreported() == ["acme"]
    watch.look([(mine, "salt"), (theirs, "salt")])
    watch.look([(mine, "salt"), (theirs, "salt")])
    assert mine.unreported() == ["rival"]
    assert theirs.unreported() == ["acme", "rival"]
    assert mine.unreported() == []
    assert mine.batchmates == {"acme", "rival"}


def test_batchmates_are_bounded() -> None:
    watch = BatchWatch("private", RULES["high"])
    mine = claim("acme")
    for number in range(200):
        watch.look([(mine, "salt"), (claim(f"t{number}"), "salt")])
    assert len(mine.batchmates) == MAX_BATCHMATES == len(mine.unreported())
