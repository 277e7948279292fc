import pytest

from app.admission.tier import Tier
from app.errors import InvalidRequest, TierForbidden
from app.security.identity import Identity, Role
from app.security.tiers import tier_of

ALL = frozenset(Tier)


def identity(tiers: frozenset[Tier], *roles: Role) -> Identity:
    return Identity("acme", "ada", "public", roles=frozenset(roles), tiers=tiers)


def test_usual_tier_is_standard_or_the_most_modest_allowed() -> None:
    assert tier_of(identity(ALL, Role.DEVELOPER), None) is Tier.STANDARD
    assert tier_of(identity(frozenset({Tier.CRITICAL, Tier.BATCH})), None) is Tier.BATCH
    assert tier_of(identity(frozenset({Tier.CRITICAL})), None) is Tier.CRITICAL


def test_without_a_tier_there_is_no_request() -> None:
    nobody = identity(frozenset(), Role.BATCH)
    for asked in (None, "batch"):
        with pytest.raises(TierForbidden, match="it may use none"):
            tier_of(nobody, asked)


def test_asked_tier_must_be_one_and_be_allowed() -> None:
    standard = identity(frozenset({Tier.STANDARD, Tier.BATCH}), Role.DEVELOPER)
    assert tier_of(standard, "batch") is Tier.BATCH
    with pytest.raises(TierForbidden):
        tier_of(standard, "critical")
    with pytest.raises(InvalidRequest, match="critical, standard, batch"):
        tier_of(standard, "Urgent" * 100)
