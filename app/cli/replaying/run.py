"""Runs each pool under each policy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.cli.replaying.demand import Demand
from app.cli.replaying.options import NotReplayable, Options
from app.cli.replaying.policies import STATIC, policy_of
from app.cli.replaying.routing import Routed, Rows, route
from app.cli.replaying.scenarios import Case, case, check, span
from app.cli.replaying.watched import Watched
from app.config import Device, FleetConfig
from app.config.explain import did_you_mean
from autoscaling.simulator.outcome import Outcome
from autoscaling.simulator.run import simulate
from autoscaling.simulator.terms import SpotSupply

Tell = Callable[[str, float], None]
"""Told what is being done, and which share of all of it is."""


@dataclass(frozen=True, slots=True)
class Run:
    """One pool under one policy."""

    outcome: Outcome
    points: Mapping[str, Sequence[float]]
    """What there was, see `Watched.points`."""
    gpu_hours: float | None
    """GPUs that were paid, in hours; None where replicas run on CPUs."""


@dataclass(frozen=True, slots=True)
class PoolReplay:
    """One pool under all policies."""

    case: Case
    runs: Mapping[str, Run]
    """By the policy's name on the command line."""
    tenants: Mapping[str, float]
    """Share of the replayed work by tenant, the greatest first."""


@dataclass(frozen=True, slots=True)
class Replay:
    """All of it."""

    demand: Demand
    routed: Routed
    pools: Mapping[str, PoolReplay]
    notes: tuple[str, ...] = field(default=())
    """What is to be known of the figures, a sentence each."""


def chosen(fleet: FleetConfig, routed: Routed, options: Options, config: str) -> Mapping[str, Rows]:
    """The pools to be replayed, with their requests.

    Args:
        fleet: The configuration.
        routed: Where requests go.
        options: What the command line says.
        config: The configuration's file, for messages.

    Raises:
        NotReplayable: A pool is unknown, gets no request, or cannot be simulated.
    """
    names = [pool.name for pool in fleet.pools]
    for name in options.pools:
        if name not in names:
            hint = did_you_mean(name, names) or f"its pools are {', '.join(names)}"
            raise NotReplayable(f"{config} has no pool {name!r}: {hint}")
        if name not in routed.pools:
            known = ", ".join(routed.pools) or "none"
            raise NotReplayable(f"no request goes to pool {name}; pools with requests: {known}")
    pools = {
        name: rows
        for name, rows in routed.pools.items()
        if not options.pools or name in options.pools
    }
    if not pools:
        why = "; ".join(f"{_requests(count)}: {text}" for text, count in routed.nowhere.items())
        raise NotReplayable(f"no request goes to any pool of {config}: {why}")
    check(fleet, [fleet.pool(name) for name in pools], config)
    return pools


def replay(
    demand: Demand,
    fleet: FleetConfig,
    options: Options,
    config: str,
    trace: SpotSupply | None = None,
    tell: Tell = lambda _what, _share: None,
) -> Replay:
    """Replays demand.

    Args:
        demand: The requests.
        fleet: The configuration.
        options: What the command line says.
        config: The configuration's file, for messages.
        trace: Where spot nodes can be had, if that was recorded; generated otherwise.
        tell: Told how far it is.

    Raises:
        NotReplayable: The options, the demand and the configuration do not go together.
        SimulationError: Demand or a policy makes no sense.
    """
    begin_s, _ = span(demand, options)
    routed = route(demand, fleet)
    pools: dict[str, PoolReplay] = {}
    left_out = []
    total = 0
    wanted = chosen(fleet, routed, options, config)
    for name, rows in wanted.items():
        later = rows[demand.requests.arrival_s[rows] >= begin_s]
        if not len(later):
            left_out.append(f"{name}: all of its requests came in what was to be learned from.")
            continue
        made = case(fleet, fleet.pool(name), demand, rows, options, trace)
        runs = {}
        for policy in options.policies:
            done = total / (len(wanted) * len(options.policies))
            part = 1 / (len(wanted) * len(options.policies))
            what = f"{name}: {policy}"
            learns = made.known is not None and policy != STATIC
            tell(f"{what} learns from {begin_s / 3600:,.1f} hours" if learns else what, done)
            runs[policy] = _run(made, policy, demand, _within(tell, what, done, part))
            total += 1
        pools[name] = PoolReplay(made, runs, _tenants(demand, later, made))
    if not pools:
        raise NotReplayable("--learn: no request comes after it: make it shorter")
    notes = [note for each in pools.values() for note in each.case.notes]
    notes += [f"Left out, {_requests(count)}: {why}." for why, count in routed.nowhere.items()]
    return Replay(demand, routed, pools, (*demand.notes, *left_out, *notes))


def _run(made: Case, policy: str, demand: Demand, progress: Callable[[float], None]) -> Run:
    scenario = made.scenario
    watched = Watched(policy_of(policy, made, demand.start), scenario.begin_s, scenario.end_s)
    # A fleet of fixed size is bought by somebody who knows what will come.
    known = made.all_of_it if policy == STATIC else made.known
    outcome = simulate(scenario, watched, known, progress)
    gpu = made.pool.resources.device is Device.GPU
    gpus = made.pool.engine.world_size if gpu else None
    return Run(
        outcome=outcome,
        points={name: values.tolist() for name, values in watched.points.items()},
        gpu_hours=None if gpus is None else outcome.replica_hours * gpus,
    )


def _requests(count: int) -> str:
    return f"{count:,} request{'' if count == 1 else 's'}"


def _within(tell: Tell, what: str, done: float, part: float) -> Callable[[float], None]:
    return lambda share: tell(what, done + part * share)


def _tenants(demand: Demand, rows: Rows, made: Case) -> dict[str, float]:
    """Who the work is for: prompt and output tokens, each by what they keep busy."""
    requests, capacity = demand.part(rows), made.scenario.capacity
    busy = requests.prompt / capacity.prefill_tps + requests.output / capacity.decode_tps
    by_tenant = np.bincount(demand.tenant[rows], busy, minlength=len(demand.tenants))
    order = np.argsort(-by_tenant, kind="stable")
    total = float(by_tenant.sum())
    return {
        demand.tenants[number]: float(by_tenant[number]) / total
        for number in order.tolist()
        if by_tenant[number] > 0
    }
