"""Which tier a request is served in."""

from app.admission.tier import Tier
from app.errors import InvalidRequest, TierForbidden
from app.security.identity import PRIORITY_HEADER, Identity


def tier_of(identity: Identity, asked: str | None) -> Tier:
    """The tier of a request: the one asked for, or the identity's usual one.

    Args:
        identity: who asks.
        asked: what the request says; None where it says nothing.

    Raises:
        InvalidRequest: there is no such tier.
        TierForbidden: the identity may not use it, or none at all.
    """
    allowed = identity.tiers
    if asked is None and allowed:
        if Tier.STANDARD in allowed:
            return Tier.STANDARD
        return max(allowed, key=lambda tier: tier.band)
    if asked is not None and asked not in list(Tier):
        raise InvalidRequest(
            f"{PRIORITY_HEADER} is {asked[:64]!r}; the tiers are {', '.join(Tier)}",
            param=PRIORITY_HEADER,
        )
    if asked is None or Tier(asked) not in allowed:
        usable = ", ".join(tier for tier in Tier if tier in allowed) or "none"
        raise TierForbidden(
            f"the tier {asked or 'standard'!r} is not for this key; it may use {usable}"
        )
    return Tier(asked)
