"""How likely a spot replica is to be there for a while longer: by where it runs and since when.

A node's risk falls with its age. Public spot availability probes (9 AWS availability zones, V100,
45.5 days) give the prior: 26, 14, 4 and 1% are lost within ten minutes when they have been up for
less than ten minutes, less than an hour, less than six hours, and longer. What is seen here
corrects it by region and then by availability zone (a Gamma prior of a Poisson rate, whose weight
is a dozen losses). An availability zone counts as one observer however many nodes it has, since
nodes of one are often lost together.
"""

import math
from typing import Any, NamedTuple

from autoscaling.placement.experience import AGES_S, PRIOR, Cell, Rates, cell_of, sensible
from autoscaling.placement.presence import MAX_SPAN_S, Place, Presence
from autoscaling.placement.shocks import Shares, Shocks
from autoscaling.plan_terms import Site

SPOT = "spot"
WARNED_S = 1800.0
"""For how long an availability zone is as risky as a new one after a rebalance notice."""
MAX_SITES = 256
MAX_ANSWERS = 4096
HALF_S = 3 * 86400.0
"""Seconds in which half of what was learned fades. A place that nothing runs in any more because it
was bad becomes one that is not known, and is tried again."""
FADE_S = 600.0
MAX_FADE_S = 7 * 86400.0
"""A longer time without a question is a step of the clock."""
VERSION = 1
_ENDS_S = (*AGES_S[1:], math.inf)


class Prospect(NamedTuple):
    """What becomes of nodes that have settled at some age."""

    risk: float
    """Losses to be expected of one of that age, see `SurvivalModel.risk`."""
    young: float
    """Seconds that a new one is expected to be up and younger than that."""
    life: float
    """Seconds that a new one is expected to be up at all."""


class SurvivalModel:
    """Learns from how long spot nodes last.

    Times called `wall` are Unix time in seconds. What makes no sense as an observation is left out;
    replicas on on-demand nodes are never lost.
    """

    __slots__ = (
        "_answers", "_cells", "_faded", "_known_rates", "_presence", "_refreshed", "_regions",
        "_shocks", "_warned",
    )  # fmt: skip

    def __init__(self) -> None:
        self._cells: dict[Place, Cell] = {}
        self._regions: dict[str, Cell] = {}
        self._shocks = Shocks()
        self._warned: dict[Place, float] = {}
        self._presence = Presence()
        self._faded: float | None = None
        self._refreshed: float | None = None
        # Many groups ask the same of the same sites, until something is learned.
        self._known_rates: dict[Site, Rates] = {}
        self._answers: dict[tuple[Site, float, float], float] = {}

    def exposed(self, site: Site, age_s: float, span_s: float) -> None:
        """Takes that a spot replica's node was up for a while.

        Args:
            site: Where it is.
            age_s: Seconds since it came up, at the end of that while.
            span_s: Length of that while in seconds.
        """
        if site.market != SPOT or not sensible(age_s) or not 0 < span_s <= MAX_SPAN_S:
            return
        place = _place(site)
        if not self._known(place):
            return
        self._add(place, age_s, 0.0, span_s / self._presence.seen(place, span_s))

    def lost(self, site: Site, age_s: float, wall: float) -> None:
        """Takes that a spot replica's node was taken away.

        Args:
            site: Where it was.
            age_s: Seconds since it came up.
            wall: Unix time in seconds.
        """
        if site.market != SPOT or not sensible(age_s) or not math.isfinite(wall):
            return
        place = _place(site)
        if not self._known(place):
            return
        self._presence.refresh(wall)
        present = self._presence.of(site.region)
        nodes = self._shocks.lost(site.region, site.availability_zone, present, wall)
        self._add(place, age_s, 1.0 / nodes, 0.0)
        self._fade(wall)

    def warned(self, site: Site, wall: float) -> None:
        """Takes a rebalance notice: its availability zone is risky for half an hour.

        Args:
            site: Where the node is that was told.
            wall: Unix time in seconds.
        """
        if site.market == SPOT and math.isfinite(wall) and self._known(_place(site)):
            self._warned[_place(site)] = wall + WARNED_S
            self._learned()

    def survival(self, site: Site, age_s: float, horizon_s: float, wall: float) -> float:
        """The chance that a node which is there is still there after a while.

        Args:
            site: Where it is; one that nothing is known of has its region's risk, or the prior's.
            age_s: Seconds since it came up; what makes no sense counts as 0.
            horizon_s: Seconds ahead, 0 or more.
            wall: Unix time in seconds.

        Raises:
            ValueError: `horizon_s` is not a number from 0 on.
        """
        return math.exp(-self.risk(site, age_s, horizon_s, wall))

    def risk(self, site: Site, age_s: float, horizon_s: float, wall: float) -> float:
        """The same as a number of losses to be expected: -ln of the survival. See `survival`."""
        if not sensible(horizon_s):
            raise ValueError(f"horizon_s is {horizon_s}: it must be a number of seconds from 0 on")
        if site.market != SPOT:
            return 0.0
        if wall != self._refreshed:
            self._refreshed = wall
            self._shocks.refresh(wall)
            self._presence.refresh(wall)
            self._fade(wall)
        key = site, age_s, horizon_s
        risk = self._answers.get(key)
        if risk is None:
            rates = self._rates(site, wall)
            risk = _integral(rates, age_s if sensible(age_s) else 0.0, horizon_s)
            if len(self._answers) < MAX_ANSWERS and _place(site) not in self._warned:
                self._answers[key] = risk
        return risk

    def prospects(self, site: Site, horizon_s: float, wall: float) -> tuple[Prospect, ...]:
        """What becomes of nodes, for each of the ages that rates change at.

        Args:
            site: Where nodes are.
            horizon_s: Seconds ahead, 0 or more.
            wall: Unix time in seconds.
        """
        risks = [self.risk(site, age, horizon_s, wall) for age in AGES_S]
        lasting = []
        life, alive = 0.0, 1.0
        rates = self._rates(site, wall)
        for rate, begin, end in zip(rates, AGES_S, _ENDS_S, strict=True):
            lasting.append(life)
            left = alive * math.exp(-rate * (end - begin))
            life += (alive - left) / rate
            alive = left
        return tuple(
            Prospect(risk, young, life) for risk, young in zip(risks, lasting, strict=True)
        )

    def shocks(self) -> Shares:
        """How a node's risk divides: what its region, its availability zone and it alone have."""
        return self._shocks.shares

    def state(self) -> dict[str, Any]:
        """What was learned, as plain data."""
        return {
            "version": VERSION,
            "sites": [[*place, cell.lost, cell.exposed] for place, cell in self._cells.items()],
            "shocks": self._shocks.state(),
        }

    def restore(self, state: Any) -> None:
        """Takes what was learned earlier.

        Args:
            state: From `state`.

        Raises:
            ValueError: It is of another version or no such state; nothing has changed.
        """
        if not isinstance(state, dict) or state.get("version") != VERSION:
            raise ValueError(f"this is no state of a survival model of version {VERSION}")
        sites = state.get("sites")
        if not isinstance(sites, list) or len(sites) > MAX_SITES:
            raise ValueError(f"`sites` is not a list of at most {MAX_SITES} sites")
        cells = dict(map(cell_of, sites))
        self._shocks.restore(state.get("shocks"))
        self._cells, self._regions = cells, {}
        self._learned()
        for (region, _), cell in cells.items():
            whole = self._regions.setdefault(region, Cell())
            for bucket in range(len(AGES_S)):
                whole.add(bucket, cell.lost[bucket], cell.exposed[bucket])

    def _rates(self, site: Site, wall: float) -> Rates:
        known = self._known_rates.get(site)
        if known is not None:
            return known
        place = _place(site)
        whole, own = self._regions.get(site.region), self._cells.get(place)
        rates = PRIOR if whole is None else whole.rates(PRIOR)
        rates = rates if own is None else own.rates(rates)
        # A clock that was set back does not prolong a warning.
        if place in self._warned:
            if 0 < self._warned[place] - wall <= WARNED_S:
                return tuple(max(rate, rates[0]) for rate in rates)
            del self._warned[place]
        if len(self._known_rates) < MAX_SITES:
            self._known_rates[site] = rates
        return rates

    def _learned(self) -> None:
        self._known_rates.clear()
        self._answers.clear()

    def _known(self, place: Place) -> bool:
        if place not in self._cells and len(self._cells) < MAX_SITES:
            self._cells[place] = Cell()
            self._regions.setdefault(place[0], Cell())
        return place in self._cells

    def _add(self, place: Place, age_s: float, lost: float, exposed: float) -> None:
        bucket = sum(age_s >= begin for begin in AGES_S) - 1
        self._cells[place].add(bucket, lost, exposed)
        self._regions[place[0]].add(bucket, lost, exposed)
        self._learned()

    def _fade(self, wall: float) -> None:
        passed = math.inf if self._faded is None else wall - self._faded
        if 0 <= passed < FADE_S:
            return
        self._faded = wall
        if 0 <= passed <= MAX_FADE_S:
            factor = 0.5 ** (passed / HALF_S)
            self._shocks.fade(factor)
            for cell in (*self._cells.values(), *self._regions.values()):
                cell.fade(factor)
            self._learned()


def _integral(rates: Rates, age_s: float, horizon_s: float) -> float:
    end_s, total = age_s + horizon_s, 0.0
    for rate, begin, end in zip(rates, AGES_S, _ENDS_S, strict=True):
        if begin < end_s and age_s < end:
            total += rate * (min(end, end_s) - max(begin, age_s))
    return total


def _place(site: Site) -> Place:
    return site.region, site.availability_zone
