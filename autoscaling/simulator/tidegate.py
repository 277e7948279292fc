"""Our own policy: the planner of production, and what the keeper makes of its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isnan
from typing import Any

from app.config import FleetConfig, Market
from autoscaling.demand.terms import Message, Sample, Work
from autoscaling.fleet_planner import FleetPlanner
from autoscaling.forecast.fitting import FitJob, FitResult
from autoscaling.keeper_news import Exposed, KeeperNews, Lost, Start
from autoscaling.market_group import MarketGroup
from autoscaling.plan_terms import Ask, Running, Site
from autoscaling.pool_terms import PoolSettings
from autoscaling.simulator.arrivals import Arrivals, Events
from autoscaling.simulator.policy import Observation, WithStandby
from autoscaling.simulator.shared_forecasts import SharedForecasts
from autoscaling.simulator.simulated_fleet import Variant, fleet_of
from autoscaling.simulator.simulated_pool import SimulatedPool
from autoscaling.simulator.terms import Past, Terms

BEGIN_S = 1_699_920_000.0
"""The Unix time at which a workload begins: a midnight, since traces do not say when they were
taken."""
_SPOT, _ON_DEMAND = Market.SPOT.value, Market.ON_DEMAND.value

Fit = Callable[[FitJob], FitResult]


def fit_now(job: FitJob) -> FitResult:
    """Makes a fit at once.

    Args:
        job: What to fit.
    """
    from autoscaling.forecast.fitting import fit

    return fit(job)


class TidegatePolicy:
    """Carries a `FleetPlanner` for one group, and the keeper's cores for its deployments.

    Of the keeper it has what counts replicas (`Following` and `MarketGroup`); which replica is
    woken, parked or drained is the simulated fleet's. What one replica carries is taken as
    profiled: it is not learned.

    Args:
        name: What it is called in results.
        variant: What is left out or changed of it.
        tick_s: Seconds between two plans.
        fit: Makes fits; one that remembers them makes a second run cheap.
        forecasts: What an earlier run forecast of the same demand, or keeps this one's for others.
        learned: What `learned()` of another one gave, which lived through the past.
        fleet: The fleet's configuration; by default one pool as the terms say.
        group: Which of its groups is simulated; it must be given with `fleet`.
        begin_s: The Unix time at which the workload begins.
    """

    __slots__ = (
        "_asks", "_begin_s", "_config", "_deployments", "_fit", "_forecasts", "_group", "_keeping",
        "_learned", "_name", "_news", "_next_s", "_number", "_planner", "_pools", "_since",
        "_standby", "_terms", "_tick_s", "_variant",
    )  # fmt: skip

    def __init__(
        self,
        name: str = "Tidegate",
        variant: Variant | None = None,
        *,
        tick_s: float = 30.0,
        fit: Fit = fit_now,
        forecasts: SharedForecasts | None = None,
        learned: Mapping[str, Mapping[str, Any]] | None = None,
        fleet: FleetConfig | None = None,
        group: str = "",
        begin_s: float = BEGIN_S,
    ) -> None:
        self._name, self._variant = name, variant or Variant()
        self._tick_s, self._fit, self._begin_s = tick_s, fit, begin_s
        self._forecasts = forecasts
        self._learned, self._config, self._group = learned, fleet, group
        self._asks: Mapping[str, Ask] = {}
        self._next_s = float("-inf")
        self._number = 0
        self._standby: dict[Site, int] = {}
        self._since = Arrivals()
        self._news = Events()

    @property
    def name(self) -> str:
        """What it is called in results."""
        return self._name

    def begin(self, terms: Terms, past: Past | None) -> None:
        """Sets the cores up, and lives through the past unless it has been learned already.

        Args:
            terms: The terms that are the same for all policies.
            past: Demand so far.
        """
        self._terms = terms
        if self._config is None:
            self._config = fleet_of(terms, self._variant, self._tick_s)
            self._group = self._config.pools[0].name
        self._planner = FleetPlanner(self._config, self._variant.survival_model())
        group = self._planner.groups[self._group]
        settings = group.settings
        if self._forecasts is not None:
            group.forecasts = self._forecasts.of(settings, group.forecasts.settings)
        self._deployments = [
            (each.name, market.value) for market, each in settings.deployments.items()
        ]
        pool, scaling = settings.pool, settings.scaling
        pools = {}
        for market, bounds in settings.bounds.items():
            counts = PoolSettings(
                least=bounds.min_replicas,
                most=bounds.max_replicas,
                standby=bounds.standby_replicas,
                tokens_per_replica=pool.max_outstanding_tokens,
                target_load=scaling.target_load,
                up_delay_s=scaling.up_delay_s,
                down_delay_s=scaling.down_delay_s,
            )
            pools[market.value] = SimulatedPool(counts, reactive=self._variant.reactive)
        self._pools = pools
        self._keeping = MarketGroup(pools, counts)
        if self._learned is not None:
            for part, state in self._learned.items():
                self._planner.restore(part, state)
        elif past is not None:
            self._live_through(past)

    def learned(self) -> dict[str, dict[str, Any]]:
        """What has been learned so far, as plain data; for others with the same forecasts."""
        return {part: self._planner.state(part) for part in self._planner.states()}

    def decide(self, seen: Observation) -> Mapping[Site, int]:
        """Replicas by site.

        Args:
            seen: What is known.
        """
        if seen.metrics:
            self._since.add(seen)
        self._news.add(seen.sites)
        if seen.now_s >= self._next_s:
            self._next_s = seen.now_s + self._tick_s
            self._plan(seen)
        self._keep(seen)
        placed = self._placed()
        if not any(pool.standby for pool in self._pools.values()):
            return placed
        self._standby = self._standing_by(placed, seen)
        return self._woken(placed, seen)

    def _plan(self, seen: Observation) -> None:
        wall = self._begin_s + seen.now_s
        if seen.metrics and self._since.span_s > 0:
            backlog = self._backlog(seen)
            self._tell(self._since.sample(backlog), self._since.span_s, wall)
            self._since = Arrivals()
        self._planner.heard(self._heard(seen), wall)
        asks = self._planner.tick(wall, seen.now_s)
        self._asks = {market: asks[name] for name, market in self._deployments if name in asks}
        for job in self._planner.due():
            self._planner.fitted(self._fit(job))

    def _tell(self, sample: Sample, span_s: float, wall: float) -> None:
        self._number += 1
        self._planner.take(Message("g", self._number, span_s, {self._group: sample}), wall)

    def _backlog(self, seen: Observation) -> Work:
        terms = self._terms
        share = terms.mean_prompt / (terms.mean_prompt + terms.mean_output)
        return Work(seen.queued_tokens * share, seen.queued_tokens * (1 - share))

    def _heard(self, seen: Observation) -> KeeperNews:
        news, self._news = self._news, Events()
        exposed = [
            Exposed(site, seen.now_s - born, min(seen.now_s - born, self._tick_s))
            for site, view in seen.sites.items()
            if site.market == _SPOT
            for born in (*view.born_s, *view.standby_born_s)
        ]
        starts = [(site, "cold", seconds) for site, seconds in news.starts]
        starts += [(site, "standby", seconds) for site, seconds in news.woken]
        if not self._variant.measured_lead:
            starts = []
        return KeeperNews(
            running={name: self._running(market, seen) for name, market in self._deployments},
            starts=[Start(self._group, site.market, kind, took) for site, kind, took in starts],
            lost=[Lost(site, age, warned=True) for site, age in news.lost],
            exposed=[each for each in exposed if each.span_s > 0],
        )

    def _running(self, market: str, seen: Observation) -> Running:
        here = {site: view for site, view in seen.sites.items() if site.market == market}
        pool = self._pools[market]
        return Running(
            active=sum(view.ready for view in here.values()),
            standby=sum(view.standby for view in here.values()),
            starting=sum(view.starting + view.pending for view in here.values()),
            doomed=pool.going,
            reactive=pool.reactive,
            planned=pool.wanted + pool.standby,
            sites={
                site: view.ready + view.standby
                for site, view in here.items()
                if view.ready or view.standby
            },
            ages={
                site: tuple(seen.now_s - born for born in (*view.born_s, *view.standby_born_s))
                for site, view in here.items()
                if view.ready or view.standby
            },
            coming={site: view.starting for site, view in here.items() if view.starting},
        )

    def _keep(self, seen: Observation) -> None:
        """What the keeper does each second: the work outstanding, and who stands in for whom."""
        active, going = dict.fromkeys(self._pools, 0), dict.fromkeys(self._pools, 0)
        for site, view in seen.sites.items():
            if site.market in active:
                active[site.market] += view.ready
                going[site.market] += view.preempted - len(view.lost_s)
        ready = seen.ready
        work = seen.outstanding_tokens + seen.queued_tokens
        stranded = seen.queued > 0 and ready == 0
        for market, pool in self._pools.items():
            share = active[market] / ready if ready else float(market == _ON_DEMAND)
            pool.see(active[market], going[market], work * share, seen.now_s, stranded=stranded)
        self._keeping.balance()
        self._keeping.ask(self._asks, seen.now_s)
        for pool in self._pools.values():
            pool.follow(seen.now_s)

    def _placed(self) -> dict[Site, int]:
        counts = dict.fromkeys(self._terms.prices, 0)
        left = self._terms.most
        on_demand = self._pools.get(_ON_DEMAND)
        if on_demand is not None:
            (site,) = [site for site in counts if site.market == _ON_DEMAND]
            counts[site] = min(on_demand.wanted, left)
        spot = self._pools.get(_SPOT)
        last = self._planner.groups[self._group].last
        if spot is None or last is None or last.placed is None:
            return counts
        counts |= {site: count for site, count in last.placed.spot.items() if site in counts}
        more = spot.wanted - sum(last.placed.spot.values())
        if more > 0:
            # What the keeper adds goes where most of the others are.
            fullest = max(sorted(self._terms.spot_sites), key=lambda site: counts[site])
            counts[fullest] += more
        return counts

    def _standing_by(self, counts: Mapping[Site, int], seen: Observation) -> dict[Site, int]:
        """Where replicas stand by: where they did, or else where most of the others are."""
        standby: dict[Site, int] = {}
        # Those that stand in for others may already be more than the markets allow together.
        left = 2 * self._terms.most - sum(counts.values())
        for market, pool in self._pools.items():
            here = sorted(site for site in counts if site.market == market)
            missing = min(pool.standby, pool.most - sum(counts[site] for site in here), left)
            # Where no nodes are to be had there is none for them either.
            free = [site for site in here if not seen.sites[site].pending]
            for site in free:
                if missing > 0 and site in self._standby:
                    standby[site] = min(self._standby[site], missing)
                    missing -= standby[site]
            if missing > 0 and here:
                fullest = max(free or here, key=lambda site: counts[site])
                standby[fullest] = standby.get(fullest, 0) + missing
            left -= sum(standby.get(site, 0) for site in here)
        return standby

    def _woken(self, counts: dict[Site, int], seen: Observation) -> WithStandby:
        """Has those that stand by take the place of others of their market until these are ready.

        As in production: whatever stands by in a deployment is woken, wherever one is missing.
        """
        standby = dict(self._standby)
        lacks = {site: max(0, count - seen.sites[site].ready) for site, count in counts.items()}
        for site, spare in self._standby.items():
            # What is missing at the same site the fleet itself wakes for.
            others = [each for each in lacks if each.market == site.market and each != site]
            woken = min(spare, sum(lacks[each] for each in others))
            counts[site] += woken
            standby[site] -= woken
            for each in others:
                done = min(woken, lacks[each])
                lacks[each] -= done
                woken -= done
        return WithStandby(counts, standby)

    def _live_through(self, past: Past) -> None:
        """Tells the planner of earlier demand as it would have been told then."""
        spans = zip(past.requests, past.prompt, past.output, strict=True)
        for index, (requests, prompt, output) in enumerate(spans):
            end_s = past.start_s + (index + 1) * past.step_s
            wall = self._begin_s + end_s
            if not isnan(requests):
                work = Work(float(prompt), float(output))
                self._tell(Sample(requests=int(requests), arrived=work), past.step_s, wall)
            self._planner.tick(wall, end_s)
            for job in self._planner.due():
                self._planner.fitted(self._fit(job))
