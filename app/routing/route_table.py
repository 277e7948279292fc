"""Which pools may serve a request: one table a zone, so that no route can leave its zone.

A `RouteTable` holds the pools of its own zone and nothing else, and refuses at construction a pool
of another. Whoever has a zone's table therefore cannot name another zone's engine, by mistake or
otherwise; there is no check that could be forgotten.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from app.routing.size_class import SizeClass


def prefill_group(pool: str) -> str:
    """The name that a disaggregated pool's prefill replicas go by, apart from its decode ones."""
    return f"{pool}--prefill"


@dataclass(frozen=True, slots=True)
class MarketRoute:
    """One market that a pool's replicas run in."""

    market: str
    """`on-demand` or `spot`."""
    replicas: int = 1
    """How many replicas it should have at least; only to say what is missing."""


@dataclass(frozen=True, slots=True)
class PoolRoute:
    """What routing knows of a pool."""

    pool: str
    """Its name, unique in the fleet."""
    model: str
    """The model it serves, as clients name it."""
    zone: str
    """The zone it belongs to, and serves alone."""
    size_classes: tuple[SizeClass, ...]
    """The classes it is built for, at least one."""
    max_model_len: int
    """The longest sequence, in tokens, that its engines take."""
    max_outstanding_tokens: int
    """A replica with so many tokens still to work off is saturated."""
    markets: tuple[MarketRoute, ...]
    """Where its replicas run, at least one market; of a disaggregated pool, its decode replicas."""
    isolated: bool = False
    """Whether it is set apart for risky requests, and gets no others."""
    prefill: tuple[MarketRoute, ...] = ()
    """Where the prefill replicas of a disaggregated pool run; none in any other pool."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The names that its replicas go by."""
        return (self.pool, prefill_group(self.pool)) if self.prefill else (self.pool,)

    def __post_init__(self) -> None:
        """Refuses a pool that could serve nothing.

        Raises:
            ValueError: a field is empty or not positive; the message names it.
        """
        if not self.size_classes:
            raise ValueError(f"pool {self.pool} serves no size class")
        if len({entry.market for entry in self.markets}) != max(len(self.markets), 1):
            raise ValueError(f"pool {self.pool} needs at least one market, each once")
        if len({entry.market for entry in self.prefill}) != len(self.prefill):
            raise ValueError(f"pool {self.pool} names a market of its prefill replicas twice")
        if self.max_model_len < 1 or self.max_outstanding_tokens < 1:
            raise ValueError(f"the limits of pool {self.pool} must be at least 1 token")


class RouteTable:
    """The pools of one zone, by model and size class.

    Args:
        zone: the zone that the table is for.
        routes: its pools.

    Raises:
        ValueError: a pool belongs to another zone, or two go by one name.
    """

    __slots__ = ("_isolated", "_longest", "_tiers", "routes", "zone")

    def __init__(self, zone: str, routes: Iterable[PoolRoute]) -> None:
        self.zone = zone
        self.routes = pools = tuple(routes)
        for route in pools:
            if route.zone != zone:
                raise ValueError(f"pool {route.pool} of zone {route.zone} is not of zone {zone}")
        _check_names(pools)
        self._longest: dict[str, int] = {}
        for route in pools:
            known = self._longest.get(route.model, 0)
            self._longest[route.model] = max(known, route.max_model_len)
        self._tiers, self._isolated = (
            {
                (model, size_class): _Tiers.of(
                    model, size_class, tuple(route for route in pools if route.isolated is apart)
                )
                for model in self._longest
                for size_class in SizeClass
            }
            for apart in (False, True)
        )

    @property
    def models(self) -> frozenset[str]:
        """The names of the models that the zone serves."""
        return frozenset(self._longest)

    def longest(self, model: str) -> int:
        """The longest sequence, in tokens, that a pool of the zone takes; 0 for no such model."""
        return self._longest.get(model, 0)

    def tiers(
        self, model: str, size_class: SizeClass, need_tokens: int, *, isolated: bool = False
    ) -> tuple[tuple[PoolRoute, ...], ...]:
        """The pools that may serve a request, in the order in which to try them.

        Args:
            model: the model asked for.
            size_class: the class of the request.
            need_tokens: the longest that the sequence can become, in tokens.
            isolated: whether it is to go to a pool set apart, if one takes so long a sequence.

        Returns:
            First the pools built for the class itself (none, perhaps), then those of each larger
            class that are not among the former, shortest class first. Every pool is long enough.
            Empty where the zone has no such model.
        """
        if isolated and (found := self._isolated.get((model, size_class))) is not None:
            tiers = found.long_enough(need_tokens)
            if any(tiers):
                return tiers
        found = self._tiers.get((model, size_class))
        return () if found is None else found.long_enough(need_tokens)

    def candidates(
        self, model: str, size_class: SizeClass, need_tokens: int, *, isolated: bool = False
    ) -> tuple[PoolRoute, ...]:
        """The pools of `tiers`, in the same order, without the grouping."""
        tiers = self.tiers(model, size_class, need_tokens, isolated=isolated)
        return tuple(route for tier in tiers for route in tier)


@dataclass(frozen=True, slots=True)
class _Tiers:
    tiers: tuple[tuple[PoolRoute, ...], ...]
    shortest: int  # the least max_model_len among them

    def long_enough(self, need_tokens: int) -> tuple[tuple[PoolRoute, ...], ...]:
        if need_tokens <= self.shortest:  # all of them are, as is usual
            return self.tiers
        return tuple(
            tuple(route for route in tier if route.max_model_len >= need_tokens)
            for tier in self.tiers
        )

    @classmethod
    def of(cls, model: str, size_class: SizeClass, pools: tuple[PoolRoute, ...]) -> "_Tiers":
        left = [route for route in pools if route.model == model]
        tiers = []
        for wanted in size_class.and_longer:
            tiers.append(tuple(route for route in left if wanted in route.size_classes))
            left = [route for route in left if wanted not in route.size_classes]
        lengths = [route.max_model_len for tier in tiers for route in tier]
        return cls(tuple(tiers), min(lengths, default=0))


def build_tables(routes: Iterable[PoolRoute]) -> Mapping[str, RouteTable]:
    """One table for each zone that has a pool.

    Args:
        routes: every pool of the fleet.

    Returns:
        The tables by the name of their zone, read-only.

    Raises:
        ValueError: two pools of the fleet go by one name.
    """
    pools = tuple(routes)
    _check_names(pools)
    by_zone: dict[str, list[PoolRoute]] = {}
    for route in pools:
        by_zone.setdefault(route.zone, []).append(route)
    return MappingProxyType({zone: RouteTable(zone, pools) for zone, pools in by_zone.items()})


def _check_names(routes: Iterable[PoolRoute]) -> None:
    """Refuses pools that one name would not tell apart.

    Raises:
        ValueError: a pool has the name of another one, or of another one's prefill replicas.
    """
    names: set[str] = set()
    for name in (name for route in routes for name in route.groups):
        if name in names:
            raise ValueError(f"two pools go by the name {name}: rename one of them")
        names.add(name)
