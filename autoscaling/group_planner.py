"""The plan of one group of replicas: from the demand it has to replicas by market."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from app.config import Market
from autoscaling.capacity import CapacityModel
from autoscaling.demand.history import DemandHistory
from autoscaling.demand.terms import Work
from autoscaling.forecast.settings import ForecastSettings
from autoscaling.group_forecasts import GroupForecasts
from autoscaling.group_settings import GroupSettings
from autoscaling.lead_time import LeadTimes
from autoscaling.placement.offers import Offer, Quotes, offers_of
from autoscaling.placement.placer import Placer, PlacerSettings
from autoscaling.placement.survival import SurvivalModel
from autoscaling.plan_terms import Ask, Capacity, Need, Placed, Running, Site, Situation
from autoscaling.planner import Planner, PlannerSettings

RECENT_S = 30.0
"""Seconds of demand that count as recent, at most; fewer where replicas are ready sooner."""
REPORT_S = 1.0
"""Seconds between two reports of a replica."""
RECHECK_S = 4.0
"""Seconds after which replicas are placed anew though nothing else has changed; up to twice that,
by the group's name."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What was planned last, and from what."""

    situation: Situation
    need: Need
    placed: Placed | None
    asks: Mapping[str, Ask]


@dataclass(frozen=True, slots=True)
class _Placement:
    """What was placed last, from what, and up to when it stands."""

    inputs: tuple[object, ...]
    until: float
    placed: Placed


class GroupPlanner:
    """Carries the cores of one group.

    Forecasts are made of demand that there has been: a group without any costs next to nothing.

    Args:
        settings: What the configuration says of the group.
        forecasts: How demand is forecast; None if it is not.
    """

    __slots__ = (
        "_capacity",
        "_placed",
        "_placer",
        "_planner",
        "_recheck_s",
        "_settings",
        "forecasts",
        "last",
        "running",
    )

    def __init__(self, settings: GroupSettings, forecasts: ForecastSettings | None) -> None:
        self._settings = settings
        self.forecasts = GroupForecasts(settings, forecasts)
        """What demand is expected."""
        profile, scaling = settings.pool.capacity, settings.scaling
        self._capacity = CapacityModel(
            Capacity(
                profile.prefill_tokens_per_s, profile.decode_tokens_per_s, True, "as configured"
            )
            if profile is not None
            else None,
            settings.headroom,
        )
        self._planner = Planner(
            PlannerSettings(
                quantile=scaling.forecast.quantile,
                drain_backlog_s=scaling.drain_backlog_s,
                down_delay_s=scaling.down_delay_s,
            )
        )
        self._placer = (
            Placer(_placer_settings(settings)) if Market.SPOT in settings.bounds else None
        )
        self._placed: _Placement | None = None
        # Not all groups in the same tick.
        self._recheck_s = RECHECK_S * (1 + crc32(settings.name.encode()) / 2**32)
        self.running: dict[Market, Running] = {market: Running() for market in settings.bounds}
        """What the keeper has said of each market's replicas."""
        self.last: Planned | None = None
        """What was planned last."""

    @property
    def settings(self) -> GroupSettings:
        """What the configuration says of the group."""
        return self._settings

    def observe(
        self, work: Work, replicas: int, answers: tuple[int, int], saturated: bool, wall: float
    ) -> None:
        """Takes what the replicas have done since the last time, for their capacity.

        Args:
            work: Tokens a second that they computed, all together.
            replicas: Active replicas.
            answers: Answers that ended well, and those of them that were late.
            saturated: Whether requests waited in the engines.
            wall: Unix time in seconds.
        """
        self._capacity.observe(
            work.prefill,
            work.decode,
            replicas,
            answers[0],
            answers[1],
            self._settings.pool.slo.attainment,
            saturated,
            wall,
        )

    def plan(
        self,
        history: DemandHistory,
        leads: LeadTimes,
        survival: SurvivalModel,
        offers: Sequence[Offer],
        wall: float,
        now: float,
    ) -> Mapping[str, Ask]:
        """Decides, by deployment.

        Args:
            history: The demand of all groups.
            leads: How long replicas take to be ready.
            survival: How long spot nodes last.
            offers: What a replica costs where; only looked at if the group has a spot market.
            wall: Unix time in seconds.
            now: Monotonic time in seconds.
        """
        situation = self._situation(history, leads, wall)
        need = self._planner.decide(situation, now)
        placed = self._place(need, offers, survival, situation.lead_s, now, wall)
        asks = self._asks(need, placed)
        self.last = Planned(situation, need, placed, asks)
        return asks

    def _situation(self, history: DemandHistory, leads: LeadTimes, wall: float) -> Situation:
        settings = self._settings
        markets = [market.value for market in settings.bounds]
        kind = leads.kind(settings.name, markets)
        lead_s, lead_reason = self._lead(leads, markets, kind)
        recent = history.recent(settings.name, wall, min(max(lead_s, 5.0), RECENT_S))
        running = self.running.values()
        latest = self.forecasts.latest(history, wall)
        prefill, decode = self.forecasts.peaks(lead_s, latest, wall)
        standby = sum(bounds.standby_replicas for bounds in settings.bounds.values())
        near_s, near_prefill, near_decode = 0.0, None, None
        if standby:
            near_s, _ = leads.horizon(settings.name, markets, "standby")
            # The keeper is told at the next tick, and a replica when it reports next.
            near_s += settings.scaling.tick_s + REPORT_S
            near_prefill, near_decode = self.forecasts.peaks(min(near_s, lead_s), latest, wall)
        return Situation(
            lead_s=lead_s,
            lead_reason=lead_reason,
            prefill=prefill,
            decode=decode,
            recent=recent,
            backlog=history.backlog(settings.name, wall),
            capacity=self._capacity.capacity,
            reactive=sum(each.reactive for each in running),
            ready=sum(each.active for each in running),
            least=settings.least,
            most=settings.most,
            no_forecast="" if prefill and decode else self.forecasts.why_none(),
            standby=standby,
            standby_lead_s=near_s,
            near_prefill=near_prefill,
            near_decode=near_decode,
        )

    def _lead(self, leads: LeadTimes, markets: list[str], kind: str) -> tuple[float, str]:
        """How far to look ahead: until what is started now is ready, wherever that is certain."""
        name, bounds = self._settings.name, self._settings.bounds
        others = [market for market in markets if market != Market.ON_DEMAND.value]
        on_demand = bounds.get(Market.ON_DEMAND)
        most = max((each.max_replicas for each in bounds.values()), default=0)
        if others and on_demand is not None and on_demand.max_replicas >= most:
            return leads.stand_in(name, Market.ON_DEMAND.value, others, kind)
        return leads.horizon(name, markets, kind)

    def _place(
        self,
        need: Need,
        offers: Sequence[Offer],
        survival: SurvivalModel,
        lead_s: float,
        now: float,
        wall: float,
    ) -> Placed | None:
        if self._placer is None:
            return None
        running: dict[Site, int] = {}
        ages: dict[Site, list[float]] = {}
        for each in self.running.values():
            for site, count in each.sites.items():
                running[site] = running.get(site, 0) + count
            for site, known in each.ages.items():
                ages.setdefault(site, []).extend(known)
            # What would be started in their place now would not be ready sooner.
            for site, count in each.coming.items():
                running[site] = running.get(site, 0) + count
                ages.setdefault(site, []).extend([0.0] * count)
        inputs = need.replicas, need.sure, offers, running, round(lead_s)
        before = self._placed
        # Risks and delays change slowly: a fleet of many groups looks at some of them at a time.
        if before is None or before.inputs != inputs or now >= before.until:
            placed = self._placer.place(
                need.replicas, offers, running, ages, survival, lead_s, now, wall, need.sure
            )
            before = self._placed = _Placement(inputs, now + self._recheck_s, placed)
        return before.placed

    def _asks(self, need: Need, placed: Placed | None) -> dict[str, Ask]:
        deployments = self._settings.deployments
        if placed is None:
            return {
                deployed.name: Ask(need.replicas, need.reason) for deployed in deployments.values()
            }
        reason = f"{need.reason}; {placed.reason}"
        counts = {Market.ON_DEMAND: placed.on_demand, Market.SPOT: sum(placed.spot.values())}
        return {
            deployed.name: Ask(counts[market], reason) for market, deployed in deployments.items()
        }

    def offers(self, quotes: Quotes) -> Sequence[Offer]:
        """What a replica costs where.

        Args:
            quotes: What a price feed says.
        """
        bounds = self._settings.bounds
        most = {market: each.max_replicas for market, each in bounds.items()}
        return offers_of(
            self._settings.scaling.spot,
            most.get(Market.ON_DEMAND),
            most.get(Market.SPOT),
            quotes,
        )

    def state(self, history: DemandHistory) -> dict[str, Any]:
        """All that should outlive the process, as plain data.

        Args:
            history: The demand of all groups.
        """
        return {
            "demand": history.state(self._settings.name),
            "forecasts": self.forecasts.state(),
            "capacity": self._capacity.state(),
            "planner": self._planner.state(),
        } | ({"placer": self._placer.state()} if self._placer is not None else {})

    def restore(self, state: Mapping[str, Any], history: DemandHistory) -> list[str]:
        """Takes over what `state` gave, as far as it is still of use.

        Args:
            state: Plain data; parts that are not valid are left out.
            history: The demand of all groups.

        Returns:
            What was left out, and why.
        """
        left_out: list[str] = []

        def take(name: str, restore: Any, part: object) -> None:
            try:
                restore(part)
            except ValueError as error:
                left_out.append(f"{name}: {error}")

        if "demand" in state:
            take(
                "demand",
                lambda part: history.restore(self._settings.name, part),
                state["demand"],
            )
        if "forecasts" in state:
            take("forecasts", self.forecasts.restore, state["forecasts"])
        take("capacity", self._capacity.restore, state.get("capacity"))
        take("planner", self._planner.restore, state.get("planner"))
        if self._placer is not None and "placer" in state:
            take("placer", self._placer.restore, state["placer"])
        return left_out


def _placer_settings(settings: GroupSettings) -> PlacerSettings:
    spot, bounds = settings.scaling.spot, settings.bounds
    on_demand = bounds.get(Market.ON_DEMAND)
    return PlacerSettings(
        epsilon=spot.epsilon,
        over_provision=spot.over_provision,
        least_on_demand=0 if on_demand is None else on_demand.min_replicas,
        most_on_demand=0 if on_demand is None else on_demand.max_replicas,
        most_spot=bounds[Market.SPOT].max_replicas,
    )
