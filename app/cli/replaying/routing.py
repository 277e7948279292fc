"""Which pool each request belongs to: the route tables of production, over whole columns."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.cli.replaying.demand import Demand, Kind
from app.config import FleetConfig, PoolConfig
from app.routing.route_table import MarketRoute, PoolRoute, RouteTable, build_tables
from app.routing.size_class import SizeClass

Rows = NDArray[np.intp]

_CLASSES = tuple(SizeClass)
_LIMITS = np.array([each.limit for each in _CLASSES], np.int64)


@dataclass(frozen=True, slots=True)
class Routed:
    """Where requests go."""

    pools: Mapping[str, Rows]
    """Numbers of the requests of each pool that has any, ascending; pools as in the file."""
    nowhere: Mapping[str, int]
    """How many requests no pool takes, by why."""


def route(demand: Demand, fleet: FleetConfig) -> Routed:
    """Gives each request to the first choice of its zone's route table.

    A request's class follows from its prompt and what its output really came to; in production it
    is what the output is expected to come to. Where several pools are built for one class they get
    its requests in turn. Pools set apart for risky requests get none.

    Args:
        demand: The requests.
        fleet: A valid configuration.
    """
    tables = build_tables(_route_of(pool) for pool in fleet.pools)
    tokens = demand.tokens
    found: dict[str, list[Rows]] = {}
    nowhere: Counter[str] = Counter()
    for code, kind in enumerate(demand.kinds):
        rows = np.flatnonzero(demand.kind == code)
        table = tables.get(kind.zone)
        if not len(rows):
            continue
        if table is None or kind.model not in table.models:
            nowhere[f"no pool of zone {kind.zone} serves model {kind.model}"] += len(rows)
            continue
        for same, routes in _choices(table, kind, rows, tokens[rows]):
            if not routes:
                nowhere[f"no pool of zone {kind.zone} for {kind.model} is long enough"] += len(same)
            for number, each in enumerate(routes):
                found.setdefault(each.pool, []).append(same[number :: len(routes)])
    return Routed(
        {
            pool.name: np.sort(np.concatenate(found[pool.name]))
            for pool in fleet.pools
            if pool.name in found
        },
        dict(nowhere),
    )


def _choices(
    table: RouteTable, kind: Kind, rows: Rows, tokens: NDArray[np.int64]
) -> Iterator[tuple[Rows, tuple[PoolRoute, ...]]]:
    """Requests that the table does not tell apart, and the pools that share them."""
    lengths = sorted({each.max_model_len for each in table.routes if each.model == kind.model})
    by_class = np.searchsorted(_LIMITS, tokens, side="left")
    by_length = np.searchsorted(np.array(lengths, np.int64), tokens, side="left")
    cells = by_class * (len(lengths) + 1) + by_length
    for cell in np.unique(cells).tolist():
        here = cells == cell
        number = cell // (len(lengths) + 1)
        if number >= len(_CLASSES):
            yield rows[here], ()
            continue
        need = int(tokens[here].max())
        tiers = table.tiers(kind.model, _CLASSES[number], need)
        first = next((tier for tier in tiers if tier), ())
        yield rows[here], first


def _route_of(pool: PoolConfig) -> PoolRoute:
    """A pool as its route table knows it; its markets do not matter here."""
    return PoolRoute(
        pool=pool.name,
        model=pool.model,
        zone=pool.zone,
        size_classes=pool.size_classes,
        max_model_len=pool.engine.max_model_len,
        max_outstanding_tokens=pool.max_outstanding_tokens,
        markets=(MarketRoute("on-demand"),),
        isolated=pool.isolated,
    )
