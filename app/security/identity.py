"""Who is asking, and what they may do."""

from dataclasses import dataclass, field
from enum import StrEnum

from app.admission.tier import Tier

PRIORITY_HEADER = "x-tidegate-priority"
"""Where a request asks for a tier."""


class Role(StrEnum):
    """What a key is for.

    An admin may do everything; an operator manages the keys of its own tenant and reads that
    tenant's usage; a developer asks models and reads its own usage; batch asks models too, in the
    batch tier alone.
    """

    ADMIN = "admin"
    OPERATOR = "operator"
    DEVELOPER = "developer"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Identity:
    """The party a request is admitted for.

    Attributes:
        tenant: who pays.
        user: who asks, within the tenant.
        max_zone: the highest zone this identity may ask for.
        key: id of the key that was shown; for a token, `jwt` and a digest of its subject; empty
            where keys are not required.
        roles: what it may do.
        models: names of the models it may ask; None for all.
        tiers: tiers it may ask for.
        weight: the tenant's share in every fair queue, against 1 for everybody else.
        unlimited: no token limit and no budget applies: the first admin key alone.
    """

    tenant: str
    user: str
    max_zone: str
    key: str = ""
    roles: frozenset[Role] = field(default=frozenset({Role.DEVELOPER}))
    models: frozenset[str] | None = None
    tiers: frozenset[Tier] = field(default=frozenset({Tier.STANDARD, Tier.BATCH}))
    weight: float = 1.0
    unlimited: bool = False
