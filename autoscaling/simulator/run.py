"""Lets a fleet live through a scenario under a policy."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from math import ceil
from typing import Any

import numpy as np

from app.errors import PolicyFailed, SimulationError
from autoscaling.demand.terms import Work
from autoscaling.needs import replicas_for
from autoscaling.plan_terms import Site
from autoscaling.simulator.account import Account
from autoscaling.simulator.engine import Engines, Loads, Tally
from autoscaling.simulator.fleet import Fleet
from autoscaling.simulator.outcome import Outcome
from autoscaling.simulator.policy import Observation, Policy, SiteView, WithStandby
from autoscaling.simulator.scenario import Scenario
from autoscaling.simulator.scenario_check import check
from autoscaling.simulator.terms import ON_DEMAND, Past, Requests

RECENT_S = 60.0
"""Seconds of demand by which it is judged how many replicas are needed."""
_LONGEST_END_S = 3600.0
_NOBODY: Mapping[Site, int] = {}


def simulate(
    scenario: Scenario,
    policy: Policy,
    past: Past | None = None,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """Runs all of it.

    Args:
        scenario: What comes and what there is.
        policy: Who decides; a fresh one.
        past: Demand before, for the policy.
        progress: Called now and then with the share that is done, 0 to 1.

    Returns:
        What came of it. Each request that arrived is finished, refused or lost in it, once.

    Raises:
        PolicyFailed: The policy raised, or asked for what it may not have.
        SimulationError: The scenario makes no sense.
    """
    return _Run(scenario, policy, past).all(progress)


class _Run:
    def __init__(self, scenario: Scenario, policy: Policy, past: Past | None) -> None:
        check(scenario)
        self._s, self._policy = scenario, policy
        # Nodes that leave or are stopped still compute while others take their place.
        slots = 3 * scenario.most + 8
        self._engines = Engines(
            scenario.model, slots, scenario.slo, scenario.patience_s, scenario.seed
        )
        self._sites = tuple(sorted(scenario.prices))
        self._fleet = Fleet(
            self._engines, self._sites, scenario.lead_s, scenario.lead_spread, scenario.notice_s,
            scenario.stop_s, scenario.seed, scenario.wake_s,
        )  # fmt: skip
        self._account = Account(scenario.begin_s, scenario.prices)
        self._recent: deque[tuple[float, float]] = deque()
        self._before = self._engines.tally(latencies=False)
        policy.begin(scenario.terms, past)

    def all(self, progress: Callable[[float], None] | None) -> Outcome:
        """Every step, and the end of what has arrived."""
        s = self._s
        self._engines.run(_NONE, s.begin_s)
        self._fleet.begin(s.first, s.begin_s)
        total = max(1, round((s.end_s - s.begin_s) / s.step_s))
        arrived = Work()
        count = 0
        for number, (now, requests) in enumerate(_steps(s)):
            self._step(now, count, arrived)
            self._engines.run(requests, now + s.step_s)
            self._fleet.pass_time(now + s.step_s, s.step_s)
            if self._account.day_is_over(now + s.step_s) and now + s.step_s < s.end_s:
                self._account.day(self._engines.tally(latencies=False), self._fleet.ledger)
            count = len(requests)
            arrived = Work(float(requests.prompt.sum()), float(requests.output.sum()))
            if progress is not None and number % 360 == 0:
                progress(number / total)
        return self._end()

    def _step(self, now: float, count: int, arrived: Work) -> None:
        s = self._s
        most = s.supply.at(now)
        self._fleet.supply(s.supply.sites, most, now)
        self._fleet.pass_time(now, 0.0)
        views = self._fleet.views()
        tally, loads = self._engines.tally(latencies=False), self._engines.loads()
        seen = self._observation(now, count, arrived, views, tally, loads)
        wanted = self._decided(seen)
        standby = wanted.standby if isinstance(wanted, WithStandby) else _NOBODY
        self._account.asked(sum(wanted.values()) + sum(standby.values()), now)
        room = dict(zip(s.supply.sites, most.tolist(), strict=True))
        self._fleet.target(wanted, room, now, standby)
        self._judge(now, arrived, views, tally, loads)
        self._before = tally

    def _judge(
        self,
        now: float,
        arrived: Work,
        views: Mapping[Site, SiteView],
        tally: Tally,
        loads: Loads,
    ) -> None:
        s, account = self._s, self._account
        self._recent.append((arrived.prefill, arrived.decode))
        while len(self._recent) * s.step_s > RECENT_S:
            self._recent.popleft()
        span_s = len(self._recent) * s.step_s
        rates = Work(
            sum(each[0] for each in self._recent) / span_s,
            sum(each[1] for each in self._recent) / span_s,
        )
        needed = replicas_for(rates, s.capacity)
        if self._fleet.ready < ceil(needed - 1e-9):
            account.shortfall_s += s.step_s
        if self._fleet.missing:
            account.cold_waits += tally.queued_ever - self._before.queued_ever
        account.sample(needed, views, loads.queued, now)

    def _observation(
        self,
        now: float,
        count: int,
        arrived: Work,
        views: Mapping[Site, SiteView],
        tally: Tally,
        loads: Loads,
    ) -> Observation:
        span_s, before = self._s.step_s, self._before
        if any(begin <= now < end for begin, end in self._s.unseen):
            return Observation(now, span_s, metrics=False, sites=views)
        finished = tally.finished - before.finished
        timed = tally.itl_count - before.itl_count
        return Observation(
            now_s=now,
            span_s=span_s,
            metrics=True,
            sites=views,
            requests=count,
            prompt_tokens=int(arrived.prefill),
            output_tokens=int(arrived.decode),
            finished=finished,
            met=tally.met - before.met,
            ttft_s=(tally.sum_ttft - before.sum_ttft) / finished if finished else 0.0,
            itl_s=(tally.sum_itl - before.sum_itl) / timed if timed else 0.0,
            running=loads.running,
            waiting=loads.waiting,
            queued=loads.queued,
            queued_tokens=loads.queued_tokens,
            outstanding_tokens=loads.outstanding_tokens,
            kv_use=loads.kv_use,
        )

    def _decided(self, seen: Observation) -> Mapping[Site, int]:
        s = self._s
        try:
            wanted = self._policy.decide(seen)
        except Exception as error:
            raise PolicyFailed(f"{self._at(seen)}: it raised {error!r}") from error
        total = 0
        standby = wanted.standby if isinstance(wanted, WithStandby) else _NOBODY
        asked: Mapping[Site, Any] = wanted
        extra: Mapping[Site, Any] = standby
        for site, count in (*asked.items(), *extra.items()):
            if site not in s.prices:
                raise PolicyFailed(
                    f"{self._at(seen)}: it asks for replicas at {site}, where there are none: "
                    f"there are {', '.join(map(str, self._sites))}"
                )
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise PolicyFailed(
                    f"{self._at(seen)}: it asks for {count!r} replicas at {site}: it must be a "
                    "whole number from 0 on"
                )
            total += count
        # Spot replicas that are missing may be stood in for: twice the most is the limit.
        on_demand = wanted.get(ON_DEMAND, 0) + standby.get(ON_DEMAND, 0)
        if total > 2 * s.most or on_demand > s.most:
            raise PolicyFailed(
                f"{self._at(seen)}: it asks for {total} replicas, {on_demand} of them on demand, "
                f"and at most {s.most} may run: bound what it asks for by `terms.most`"
            )
        return wanted

    def _at(self, seen: Observation) -> str:
        return f"policy {self._policy.name}, at {seen.now_s:,.0f} s"

    def _end(self) -> Outcome:
        """Lets what has arrived come to its end; nothing is paid for any more."""
        s, engines = self._s, self._engines
        now, last = s.end_s, s.end_s + _LONGEST_END_S
        tally = engines.tally(latencies=False)
        while tally.arrived > tally.finished + tally.refused + tally.lost and now < last:
            now += s.step_s
            engines.run(_NONE, now)
            tally = engines.tally(latencies=False)
        tally = engines.tally()
        if tally.arrived != tally.finished + tally.refused + tally.lost:
            raise SimulationError(
                f"{tally.arrived:,} requests arrived and {tally.finished:,} finished, "
                f"{tally.refused:,} were refused and {tally.lost:,} lost: some have not ended "
                f"{_LONGEST_END_S:,.0f} s after the last arrival; end the scenario where replicas "
                "are ready"
            )
        self._account.day(tally, self._fleet.ledger)
        return self._account.outcome(self._policy.name, s.end_s, tally, self._fleet.ledger)


_NONE = Requests(np.zeros(0, np.float64), np.zeros(0, np.int32), np.zeros(0, np.int32))


def _steps(s: Scenario) -> Iterator[tuple[float, Requests]]:
    """The beginning of each step, and what arrives in it."""
    window_s = s.workload.window_s
    at = s.begin_s
    loaded, index = _NONE, -1
    begin = 0
    while at < s.end_s - 1e-9:
        if int(at // window_s) != index:
            index = int(at // window_s)
            loaded, begin = s.workload.window(index), 0
        end = int(np.searchsorted(loaded.arrival_s, at + s.step_s, side="left"))
        yield (
            at,
            Requests(
                loaded.arrival_s[begin:end], loaded.prompt[begin:end], loaded.output[begin:end]
            ),
        )
        begin = end
        at += s.step_s
