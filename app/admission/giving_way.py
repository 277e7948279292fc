"""Who makes room in a full engine when somebody waits who has been served less.

A fair queue alone decides who starts next, not when: in an engine that one tenant has filled, the
next start waits until something ends. Here the request that is due may have running ones of another
tenant set aside, which later are computed again.

Two things bound it. Nobody pushes whom he would afterwards be level with: the counters of the fair
queue must differ by both requests. So tenants that have had the same do not push each other out in
turns. And nobody pushes to get above `BURST` times what he is entitled to at once, which is his
weight among the tenants that hold or want something, of the places in a batch or of the KV cache,
whichever he takes more of (Ghodsi et al., "Dominant Resource Fairness", NSDI 2011). Each tenant
keeps its last running request.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

BURST = 1.5
"""How much of the engine a tenant may push for, in multiples of what it is entitled to."""


class Room(NamedTuple):
    """What an engine has for its requests.

    Attributes:
        places: requests in a batch.
        tokens: tokens of KV cache that may be promised.
    """

    places: int
    tokens: float


class Holding(NamedTuple):
    """What one request takes or would take.

    Attributes:
        key: its name.
        tenant: who pays.
        weight: the tenant's share against 1 for everybody else.
        tokens: tokens of KV cache that are promised to it.
        cost: the service that it is, as `behind` counts it.
        lost: tokens that would have to be computed again if it were set aside.
        movable: whether it may be set aside.
    """

    key: str
    tenant: str
    weight: float
    tokens: int
    cost: float
    lost: int = 0
    movable: bool = True


@dataclass(slots=True)
class _Held:
    weight: float = 0.0
    places: int = 0
    tokens: int = 0


def who_gives_way(
    newcomer: Holding,
    running: Iterable[Holding],
    wanting: Mapping[str, float],
    room: Room,
    behind: Callable[[str], float],
) -> list[str]:
    """The requests to set aside so that the one that is due fits.

    Args:
        newcomer: the request that is due.
        running: the requests that hold something.
        wanting: weights of the tenants that wait, by name.
        room: what the engine has.
        behind: how much less the newcomer's tenant has been served than that of the request with
            this key.

    Returns:
        Keys, in the order in which they are to be set aside; none if it fits as it is, if the
        newcomer's tenant may not push, or if not enough can be had.
    """
    holdings = list(running)
    held: defaultdict[str, _Held] = defaultdict(_Held)
    for each in holdings:
        of = held[each.tenant]
        of.weight, of.places, of.tokens = each.weight, of.places + 1, of.tokens + each.tokens
    mine = held[newcomer.tenant]
    total = newcomer.weight + sum(of.weight for of in held.values() if of is not mine)
    total += sum(weight for tenant, weight in wanting.items() if tenant not in held)
    share = max((mine.places + 1) / room.places, (mine.tokens + newcomer.tokens) / room.tokens)
    # One request is little enough to push for, wherever there are few places.
    if mine.places and share > BURST * newcomer.weight / total:
        return []
    places = len(holdings) + 1 - room.places
    tokens = sum(each.tokens for each in holdings) + newcomer.tokens - room.tokens
    # Who has least to lose goes first; of those alike the one that started last.
    candidates = sorted(
        (each for each in reversed(holdings) if each.movable and each.tenant != newcomer.tenant),
        key=lambda each: each.lost,
    )
    set_aside: defaultdict[str, float] = defaultdict(float)
    chosen: list[str] = []
    while places > 0 or tokens > 0:
        most, aside = -inf, None
        for each in candidates:
            lead = behind(each.key) - set_aside[each.tenant]
            able = held[each.tenant].places > 1 and lead >= each.cost + newcomer.cost
            if able and lead > most:
                most, aside = lead, each
        if aside is None:
            return []
        of = held[aside.tenant]
        of.places, of.tokens = of.places - 1, of.tokens - aside.tokens
        set_aside[aside.tenant] += aside.cost
        places, tokens = places - 1, tokens - aside.tokens
        candidates.remove(aside)
        chosen.append(aside.key)
    return chosen
