"""The plan of a whole fleet: what gateways and the keeper say goes in, what to ask for comes out.

The forecaster's actor carries one, and so can whatever replays traffic. Times are of two clocks:
`wall` is Unix time, by which demand is kept and seasons are known; `now` is monotonic, by which
delays are counted.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

from app.config import FleetConfig
from autoscaling.demand.history import DemandHistory
from autoscaling.demand.terms import Message, Work
from autoscaling.forecast.fitting import FitJob, FitResult
from autoscaling.forecast.settings import ForecastSettings
from autoscaling.group_planner import GroupPlanner
from autoscaling.group_settings import groups_of
from autoscaling.keeper_news import KeeperNews
from autoscaling.lead_time import LeadTimes
from autoscaling.node_needs import NodeNeed, needs_of_group, needs_of_service
from autoscaling.placement.offers import Quotes
from autoscaling.placement.survival import SurvivalModel
from autoscaling.plan_terms import Ask
from autoscaling.plan_views import forecast_view, plan_view

FLEET = "fleet"
"""Name of the state that belongs to no group."""
_PREFIX = "group/"
MOST_FITS = 8
"""Fits that are handed out at once."""
_MOST_WAITING = 64
"""Fits that wait to be handed out. While there are so many no group asks for one, and each has its
turn again when its next bin closes."""


class FleetPlanner:
    """Carries the cores of all groups.

    Args:
        fleet: A valid configuration.
        survival: What is known of the risks of spot nodes; by default what is known of all.
    """

    def __init__(self, fleet: FleetConfig, survival: SurvivalModel | None = None) -> None:
        scaling = fleet.scaling
        self._fleet = fleet
        self._step_s = float(scaling.forecast.step_s)
        self._tick_s = scaling.tick_s
        settings = groups_of(fleet)
        forecasts = ForecastSettings.of(scaling.forecast) if scaling.forecast.enabled else None
        self.groups = {name: GroupPlanner(each, forecasts) for name, each in settings.items()}
        """The plan of each group, by name."""
        self._group_of = {
            deployed.name: (name, market)
            for name, each in settings.items()
            for market, deployed in each.deployments.items()
        }
        self._history = DemandHistory(settings)
        self._leads = LeadTimes(
            {
                "cold": scaling.lead_time.cold_s,
                "cached": scaling.lead_time.cached_s,
                "standby": scaling.lead_time.standby_s,
            }
        )
        self._survival = SurvivalModel() if survival is None else survival
        self.prices(Quotes())
        self._due: deque[str] = deque()
        self._share = 1
        self._bin = -1
        self._fits: deque[FitJob] = deque()

    def take(self, message: Message, wall: float) -> bool:
        """Takes what a gateway says of demand.

        Args:
            message: Its message; not to be trusted.
            wall: Unix time in seconds.

        Returns:
            Whether all of it was counted.
        """
        return self._history.take(message, wall)

    def heard(self, news: KeeperNews, wall: float) -> None:
        """Takes what the keeper says of replicas.

        Args:
            news: Since it was last asked.
            wall: Unix time in seconds.
        """
        for name, running in news.running.items():
            if name in self._group_of:
                group, market = self._group_of[name]
                self.groups[group].running[market] = running
        for start in news.starts:
            self._leads.started(start.group, start.market, start.kind, start.seconds, wall)
        for exposed in news.exposed:
            self._survival.exposed(exposed.site, exposed.age_s, exposed.span_s)
        for site in news.warned:
            self._survival.warned(site, wall)
        for lost in news.lost:
            self._survival.lost(lost.site, lost.age_s, wall)
        for name, done in news.work.items():
            if name in self.groups:
                work = Work(done.prefill_tps, done.decode_tps)
                answers = self._history.answers(name, wall)
                self.groups[name].observe(work, done.replicas, answers, done.saturated, wall)

    def prices(self, quotes: Quotes) -> None:
        """Takes what nodes cost from now on.

        Args:
            quotes: What a price feed says.
        """
        self._quotes = quotes
        self._offers = {name: each.offers(quotes) for name, each in self.groups.items()}

    def tick(self, wall: float, now: float) -> dict[str, Ask]:
        """Plans, about once in `scaling.tick_s`.

        Forecasts take the bins that have closed over half the length of a bin, some groups each
        time, so that no tick takes long.

        Args:
            wall: Unix time in seconds.
            now: Monotonic time in seconds.

        Returns:
            What to ask for, by deployment.
        """
        self._learn(wall)
        asks: dict[str, Ask] = {}
        for name, group in self.groups.items():
            asks |= group.plan(
                self._history, self._leads, self._survival, self._offers[name], wall, now
            )
        return asks

    def _learn(self, wall: float) -> None:
        current = int(wall // self._step_s)
        if current != self._bin:
            self._bin = current
            waiting = set(self._due)
            self._due += [name for name in self._history.known() if name not in waiting]
            ticks = max(1.0, self._step_s / 2 / self._tick_s)
            self._share = ceil(len(self._due) / ticks)
        for _ in range(min(self._share, len(self._due))):
            group = self.groups[self._due.popleft()]
            self._fits += group.forecasts.learn(
                self._history, wall, fits=len(self._fits) < _MOST_WAITING
            )

    def due(self) -> list[FitJob]:
        """Fits that should be made now, a few at a time; whoever takes them makes them."""
        return [self._fits.popleft() for _ in range(min(MOST_FITS, len(self._fits)))]

    def fitted(self, result: FitResult) -> None:
        """Takes the result of a fit, whenever it comes.

        Args:
            result: What came of it; one of a group that is unknown is dropped.
        """
        group, _, side = result.id.rpartition("/")
        if group in self.groups:
            self.groups[group].forecasts.fitted(side, result)

    def nodes(self) -> list[NodeNeed]:
        """Everything that the planned fleet takes of its nodes, what runs already included."""
        groups = [need for group in self.groups.values() for need in needs_of_group(group)]
        return groups + needs_of_service(self._fleet)

    def forecast_view(self, wall: float, group: str | None = None) -> dict[str, Any]:
        """Forecasts in words and numbers, as plain data.

        Args:
            wall: Unix time in seconds.
            group: Of this one alone, if given.

        Raises:
            KeyError: There is no such group.
        """
        names = self.groups if group is None else [group]
        return {
            "at": wall,
            "groups": {
                name: forecast_view(self.groups[name], self._history, wall) for name in names
            },
        }

    def plan_view(self, group: str | None = None) -> dict[str, Any]:
        """The plan in words and numbers, as plain data.

        Args:
            group: Of this one alone, if given.

        Raises:
            KeyError: There is no such group.
        """
        names = self.groups if group is None else [group]
        return {
            "prices": self._quotes.reason,
            "groups": {name: plan_view(self.groups[name]) for name in names},
        }

    def states(self) -> Iterator[str]:
        """Names of the states that are to outlive the process."""
        yield FLEET
        yield from (f"{_PREFIX}{name}" for name in self._history.known())

    def state(self, name: str) -> dict[str, Any]:
        """One of them, as plain data.

        Args:
            name: One of `states`.

        Raises:
            KeyError: There is none of this name.
        """
        if name == FLEET:
            return {"leads": self._leads.state(), "survival": self._survival.state()}
        return self.groups[name.removeprefix(_PREFIX)].state(self._history)

    def restore(self, name: str, state: Mapping[str, Any]) -> list[str]:
        """Takes one of them back, before the first tick.

        Args:
            name: As it was given out.
            state: What `state` gave.

        Returns:
            What is of no use any more, and why: a part that is not valid, a group that is gone.
        """
        if name != FLEET:
            group = self.groups.get(name.removeprefix(_PREFIX))
            if group is None:
                return [f"{name}: there is no such group any more"]
            return [f"{name}: {each}" for each in group.restore(state, self._history)]
        left_out = []
        for part, core in (("leads", self._leads), ("survival", self._survival)):
            try:
                core.restore(state.get(part))
            except ValueError as error:
                left_out.append(f"{part}: {error}")
        return left_out
