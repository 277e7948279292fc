"""What one pool's configuration comes to in a simulation."""

from dataclasses import dataclass
from math import ceil

import numpy as np

from app.admission.isolation import RULES
from app.cli.replaying.adjusted import alone, with_most, with_prices
from app.cli.replaying.demand import Demand
from app.cli.replaying.options import BIN_S, NotReplayable, Options
from app.cli.replaying.replica import replica_of
from app.cli.replaying.routing import Rows
from app.cli.replaying.supply import generated, recorded
from app.config import FleetConfig, Market, PoolConfig, PriceFeed
from autoscaling.placement.offers import offers_of
from autoscaling.plan_terms import Capacity, Site
from autoscaling.simulator.demand.windows import Stored, past, work
from autoscaling.simulator.scenario import Scenario
from autoscaling.simulator.terms import Floats, Past, Slo, SpotSupply

FIRST_S = 600.0
"""The fleet begins with what the first minutes keep busy: it has been running before."""


@dataclass(frozen=True, slots=True)
class Case:
    """One pool, ready to be simulated."""

    pool: PoolConfig
    """As it is simulated."""
    fleet: FleetConfig
    """A fleet of this pool alone."""
    scenario: Scenario
    known: Past | None
    """Demand before what is replayed."""
    all_of_it: Past
    """Demand of the whole span: what a fleet of fixed size is bought for."""
    needed: Floats
    """Replicas that demand keeps busy, by `BIN_S` from the scenario's beginning."""
    notes: tuple[str, ...]
    """What is to be known of the figures, a sentence each."""


def check(fleet: FleetConfig, pools: list[PoolConfig], config: str) -> None:
    """Refuses pools that cannot be simulated, all of them at once.

    Args:
        fleet: The configuration.
        pools: Those that demand goes to.
        config: Its file, for messages.

    Raises:
        NotReplayable: The message names the pools, and the way out.
    """
    divided = [pool.name for pool in pools if pool.disaggregated is not None]
    if divided:
        others = " ".join(
            f"--pool {pool.name}" for pool in fleet.pools if pool.disaggregated is None
        )
        raise NotReplayable(
            f"{_names(divided)} disaggregated, and simulated replicas do both halves of a request:"
            f" replay the others ({others or 'there are none'})"
        )
    unknown = [pool.name for pool in pools if pool.capacity is None]
    if unknown:
        ways = "; ".join(f"tidegate profile {name} --config {config}" for name in unknown)
        raise NotReplayable(
            f"{_names(unknown)} without `capacity` in {config}, so nobody knows how fast a replica "
            f"is. Measure it on the running service ({ways}) and paste what is printed, or replay "
            "other pools by --pool"
        )


def case(
    fleet: FleetConfig,
    pool: PoolConfig,
    demand: Demand,
    rows: Rows,
    options: Options,
    trace: SpotSupply | None,
) -> Case:
    """Sets up the simulation of a pool.

    Args:
        fleet: The configuration.
        pool: The pool; it must have passed `check`.
        demand: All requests.
        rows: Those of the pool, one at least.
        options: What the command line says.
        trace: Where spot nodes can be had, if that was recorded; generated otherwise.

    Raises:
        NotReplayable: The options leave nothing to simulate.
        SimulationError: The demand makes no sense.
    """
    pool = with_most(pool, options.most)
    assert pool.capacity is not None
    spot = with_prices(fleet.scaling.spot, options.prices)
    begin_s, end_s = span(demand, options)
    requests = demand.part(rows)
    workload = Stored(requests, BIN_S, ceil(end_s / BIN_S))
    capacity = Capacity(
        pool.capacity.prefill_tokens_per_s,
        pool.capacity.decode_tokens_per_s,
        measured=True,
        reason="as configured",
    )
    most = {market: bounds.max_replicas for market, bounds in pool.markets.items()}
    in_all = sum(most.values())
    offers = offers_of(spot, in_all, most.get(Market.SPOT))
    sites = {each.site: each.most for each in offers if each.site.market == Market.SPOT}
    last_s = workload.windows * BIN_S
    needed = work(workload, begin_s, last_s, BIN_S, capacity)
    first_bins = max(1, round(FIRST_S / BIN_S))
    least = min(in_all, sum(bounds.min_replicas for bounds in pool.markets.values()))
    first = min(in_all, max(least, 1, ceil(float(needed[:first_bins].max()) - 1e-9)))
    slo = Slo(pool.slo.ttft_s, pool.slo.itl_s)
    model, unkept = replica_of(pool, capacity, requests, options.seed)
    scenario = Scenario(
        workload=workload,
        begin_s=begin_s,
        end_s=end_s,
        model=model,
        capacity=capacity,
        means=(float(requests.prompt.mean()), float(requests.output.mean())),
        slo=slo,
        supply=_supply(sites, trace, options.seed, end_s),
        prices={each.site: each.price for each in offers},
        lead_s=fleet.scaling.lead_time.cold_s if options.lead_s is None else options.lead_s,
        wake_s=fleet.scaling.lead_time.standby_s,
        notice_s=options.notice_s,
        least=least,
        most=in_all,
        patience_s=fleet.routing.capacity_wait_s,
        stop_s=pool.graceful_shutdown_timeout_s,
        first=first,
        seed=options.seed,
    )
    step_s = float(fleet.scaling.forecast.step_s)
    return Case(
        pool=pool,
        fleet=alone(fleet, pool, spot),
        scenario=scenario,
        known=past(workload, 0.0, begin_s, min(step_s, BIN_S)) if begin_s else None,
        all_of_it=past(workload, begin_s, last_s, BIN_S),
        needed=needed,
        notes=(*unkept, *_notes(fleet, pool, needed, in_all)),
    )


def span(demand: Demand, options: Options) -> tuple[float, float]:
    """When the replay begins and ends, in seconds of the demand.

    Args:
        demand: All requests.
        options: What the command line says.

    Raises:
        NotReplayable: All of it is to be known beforehand.
    """
    begin_s = options.learn_s // BIN_S * BIN_S
    end_s = (demand.last_s // BIN_S + 1) * BIN_S
    if begin_s >= end_s:
        raise NotReplayable(
            f"--learn: the demand lasts {end_s / 3600:,.1f} hours, and all of it would be known "
            "beforehand: make it shorter"
        )
    return begin_s, end_s


def _supply(
    sites: dict[Site, int], trace: SpotSupply | None, seed: int, length_s: float
) -> SpotSupply:
    return generated(sites, seed, length_s) if trace is None else recorded(trace, sites, seed)


def _notes(fleet: FleetConfig, pool: PoolConfig, needed: Floats, most: int) -> list[str]:
    notes = []
    peak = float(np.max(needed))
    if peak > most:
        notes.append(
            f"{pool.name}: demand keeps {peak:,.1f} replicas busy at its peak, and the "
            f"configuration allows {most}: raise `markets.*.max_replicas`, or try --most."
        )
    if RULES[fleet.zones[pool.zone].isolation.value].one_tenant:
        notes.append(
            f"{pool.name}: its engines serve one tenant at a time, which is not simulated: waits "
            "between tenants come on top."
        )
    if Market.SPOT in pool.markets and fleet.scaling.spot.prices is not PriceFeed.STATIC:
        notes.append(f"{pool.name}: prices are those of `scaling.spot.sites`, not of a feed.")
    return notes


def _names(pools: list[str]) -> str:
    return f"{', '.join(pools)} {'is' if len(pools) == 1 else 'are'}"
