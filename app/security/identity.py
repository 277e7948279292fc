"""Who is asking."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """The party a request is admitted for.

    Attributes:
        tenant: who pays.
        user: who asks, within the tenant.
        max_zone: the highest zone this identity may ask for.
    """

    tenant: str
    user: str
    max_zone: str
