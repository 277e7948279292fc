"""A request's zone is only ever raised, and never above who asks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UnknownZone, ZoneForbidden
from app.security.identity import Identity
from app.security.zones import ZoneLadder

ZONES = ("public", "private", "confidential")
LADDER = ZoneLadder(ZONES, "public")

zones = st.sampled_from(ZONES)


def identity(max_zone: str) -> Identity:
    return Identity("acme", "ada", max_zone)


@given(zones, st.none() | zones | st.text(max_size=5), zones)
def test_never_lowered_and_never_above_the_identity(
    zone: str, floor: str | None, most: str
) -> None:
    try:
        asked = LADDER.asked(zone, identity(most))
        raised = LADDER.raised(asked, floor, identity(most))
    except ZoneForbidden:
        known = floor is None or floor in ZONES
        assert (
            not known
            or ZONES.index(zone) > ZONES.index(most)
            or (floor is not None and ZONES.index(floor) > ZONES.index(most))
        )
    else:
        assert ZONES.index(raised) >= ZONES.index(zone)
        assert ZONES.index(raised) <= ZONES.index(most)
        if floor is not None:
            assert ZONES.index(raised) >= ZONES.index(floor)


def test_no_zone_asked_for_is_the_default() -> None:
    assert LADDER.asked(None, identity("public")) == "public"
    assert LADDER.asked("", identity("public")) == "public"


def test_an_unknown_zone_names_those_there_are() -> None:
    with pytest.raises(UnknownZone, match="public, private, confidential"):
        LADDER.asked("secret", identity("confidential"))


def test_an_identity_with_an_unknown_zone_may_nothing() -> None:
    with pytest.raises(ZoneForbidden):
        LADDER.asked("public", identity("gone"))


def test_a_ladder_needs_its_default() -> None:
    with pytest.raises(ValueError, match="must be distinct"):
        ZoneLadder(ZONES, "secret")
    with pytest.raises(ValueError, match="must be distinct"):
        ZoneLadder(("a", "a"), "a")
