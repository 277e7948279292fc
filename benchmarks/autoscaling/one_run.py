"""One cell, played: in a worker process, from what `demand_store` has prepared."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from autoscaling.plan_terms import Site
from autoscaling.simulator.demand.windows import past, work
from autoscaling.simulator.run import simulate
from autoscaling.simulator.scenario import Scenario
from autoscaling.simulator.service_times import ServiceModel
from autoscaling.simulator.shared_forecasts import SharedForecasts
from autoscaling.simulator.simulated_fleet import Variant
from autoscaling.simulator.supply.generator import generate
from autoscaling.simulator.terms import ON_DEMAND, Floats, Past, SpotSupply, Workload
from autoscaling.simulator.tidegate import BEGIN_S, TidegatePolicy
from benchmarks.autoscaling.arms import ARMS, INSTANT, MAIN, STATIC, TICK_S, Given
from benchmarks.autoscaling.demand_store import capacity_of, load, service_model
from benchmarks.autoscaling.fit_cache import FitCache, shelved_arima, shelved_prophet
from benchmarks.autoscaling.grid import Cell
from benchmarks.autoscaling.injections import bereft, blind, crowded
from benchmarks.autoscaling.run_log import Run
from benchmarks.autoscaling.setup import DAY_S, Setup
from benchmarks.autoscaling.shelf import Shelf

PAST_STEP_S = 60.0
_TUNING = 10_000
"""Alignments of tuning have other seeds than those of the test."""
_FIRST_MARGIN = 1.3


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker finds what it needs."""

    traces: Path
    work: Path
    setup: Setup
    days: tuple[tuple[str, tuple[int, int]], ...]
    """First and last day of each span."""
    code: str
    """Changes with the code; what has been learned is kept by it."""


def play(place: Place, cell: Cell) -> Run:
    """Plays a cell.

    Args:
        place: Where everything is.
        cell: What to play.
    """
    began = time.perf_counter()
    scenario = scenario_of(place, cell)
    begin, end = dict(place.days)[cell.span]
    before = _before(place, cell)
    given = _given(place, cell, scenario)
    policy = ARMS[cell.arm].make(cell.headroom, cell.variant, given)
    outcome = simulate(scenario, policy, before)
    if cell.span == "tune":
        # A warm-up, for every policy: nobody has a past there.
        outcome = replace(outcome, days=outcome.days[1:] if end - begin > 1 else outcome.days)
    if cell.span != "test" or cell.alignment or cell.arm not in MAIN:
        outcome = replace(outcome, series={})
    return Run(cell, outcome, time.perf_counter() - began)


def scenario_of(place: Place, cell: Cell) -> Scenario:
    """What a cell is played in.

    Args:
        place: Where everything is.
        cell: The cell.
    """
    setup, world = place.setup, cell.world
    stored, facts = load(place.work, setup, world.series)
    begin, end = (day * DAY_S for day in dict(place.days)[cell.span])
    supply = _supply(setup, cell)
    workload: Workload = stored
    if world.injection == "crowd":
        workload = crowded(stored, begin, setup.demand_seed)
    if world.injection == "regional":
        supply = bereft(supply, begin)
    capacity = capacity_of(facts)
    busy = work(stored, begin, begin + 600.0, 600.0, capacity)
    prices: dict[Site, float] = {ON_DEMAND: setup.price}
    prices |= dict.fromkeys(supply.sites, setup.price * (1 - world.discount))
    return Scenario(
        workload=workload,
        begin_s=begin,
        end_s=end,
        model=_model(place),
        capacity=capacity,
        means=(facts["mean_prompt"], facts["mean_output"]),
        slo=setup.slo,
        supply=supply,
        prices=prices,
        lead_s=0.0 if cell.arm == INSTANT else world.lead_s,
        notice_s=world.notice_s,
        most=setup.most,
        first=min(setup.most, max(1, round(_FIRST_MARGIN * float(busy[0]) + 0.5))),
        unseen=blind(begin) if world.injection == "blind" else (),
        seed=_seed(setup, cell),
    )


def _seed(setup: Setup, cell: Cell) -> int:
    return setup.seed + 1 + cell.alignment + (_TUNING if cell.span == "tune" else 0)


def _supply(setup: Setup, cell: Cell) -> SpotSupply:
    return _generated(_seed(setup, cell), setup.zone_most)


@lru_cache(maxsize=4)
def _generated(seed: int, most: int) -> SpotSupply:
    return generate(seed, 14.0, most)


@lru_cache(maxsize=1)
def _model(place: Place) -> ServiceModel:
    return service_model(place.traces, place.setup)


def _before(place: Place, cell: Cell) -> Past | None:
    if cell.span == "test":
        return _past(place, cell.world.series, 0, dict(place.days)["test"][0])
    # A static fleet is bought for a peak; on the days of tuning, for theirs.
    return (
        _past(place, cell.world.series, *dict(place.days)["tune"]) if cell.arm == STATIC else None
    )


@lru_cache(maxsize=4)
def _past(place: Place, series: str, begin: int, end: int) -> Past:
    stored, _ = load(place.work, place.setup, series)
    return past(stored, begin * DAY_S, end * DAY_S, PAST_STEP_S)


def _given(place: Place, cell: Cell, scenario: Scenario) -> Given:
    shelf = _shelf(place.work)

    def learned(variant: Variant) -> Mapping[str, Mapping[str, Any]] | None:
        known = _before(place, cell)
        return None if known is None else _learned(place, cell, scenario, known, variant)

    def forecasts(variant: Variant) -> SharedForecasts:
        world, models = cell.world, (variant.members, variant.forecast)
        demand = world.series, world.injection, world.lead_s, scenario.begin_s
        return _forecasts((place, demand, models), scenario.end_s)

    def future() -> Floats:
        return work(
            scenario.workload, scenario.begin_s, scenario.end_s, scenario.step_s, scenario.capacity
        )

    return Given(
        fit=FitCache(shelf),
        prophet=shelved_prophet(shelf),
        arima=shelved_arima(shelf),
        learned=learned,
        forecasts=forecasts,
        work=future,
        step_s=scenario.step_s,
        begin_s=scenario.begin_s,
        supply=scenario.supply,
    )


@lru_cache(maxsize=1)
def _shelf(folder: Path) -> Shelf:
    return Shelf(folder / "fits.sqlite")


@lru_cache(maxsize=16)
def _forecasts(_of: tuple[object, ...], end_s: float) -> SharedForecasts:
    """What ours forecasts of one demand by some models; big, so only of as many as take turns."""
    return SharedForecasts(BEGIN_S + end_s - TICK_S)


def _learned(
    place: Place, cell: Cell, scenario: Scenario, known: Past, variant: Variant
) -> Mapping[str, Mapping[str, Any]]:
    """What ours learns of the past, once for each series and lead time.

    It follows from demand and from which models forecast, not from what is planned by them.
    """
    variant = Variant(members=variant.members, forecast=variant.forecast)
    world = cell.world
    terms = json.dumps([world.series, world.lead_s, repr(variant), known.start_s, place.code])
    key = f"learned {len(known.requests)} {terms}"
    shelf = _shelf(place.work)
    text = shelf.get(key)
    if text is None:
        policy = TidegatePolicy("learner", variant, fit=FitCache(shelf))
        policy.begin(scenario.terms, known)
        text = base64.b64encode(msgspec.msgpack.encode(policy.learned())).decode()
        shelf.put(key, text)
    # A fresh copy for each run.
    data: dict[str, dict[str, Any]] = msgspec.msgpack.decode(base64.b64decode(text))
    return data
