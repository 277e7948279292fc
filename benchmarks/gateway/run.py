"""One run: every cell on every arm, round by round, the arms taking turns at being first."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from benchmarks.gateway.arms import Arm
from benchmarks.gateway.cells import Cell
from benchmarks.gateway.client import Log
from benchmarks.gateway.load import closed_loop, run_async, timed_loop
from benchmarks.gateway.processes import busy_seconds, cpu_seconds
from benchmarks.gateway.prompts import Endpoint, PromptForm, PromptMaker, request_bytes
from benchmarks.gateway.samples import sample_metrics

__all__ = ["Idle", "Plan", "Progress", "idle_cpu", "measure", "requests_for", "rotation"]

Idle = Literal["running", "paused"]

_CALIBRATE_S = 1.5
_SETTLE_S = 0.3
_FIRST_WARMUP = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does.

    Attributes:
        cells: in this order, in each round.
        rounds: how often each cell is measured on each arm.
        seconds: about how long the fastest arm should need for one cell; the number of requests
            follows from it, once, and is the same for all.
        warmup_s: load before each measurement, not counted.
        idle: whether the arms that are not measured go on running or are stopped (SIGSTOP). A
            Ray cluster with nothing to do takes some 0.14 cores; stopped for a minute it goes on
            as if nothing had been.
    """

    cells: tuple[Cell, ...]
    rounds: int = 5
    seconds: float = 4.0
    warmup_s: float = 1.0
    endpoint: Endpoint = "completions"
    form: PromptForm = "text"
    idle: Idle = "paused"
    seed: str = "tidegate"
    timeout_s: float = 120.0


@dataclass(slots=True)
class Progress:
    """Told what is going on: a line a step, and each sample as it is taken."""

    step: Callable[[str], None] = lambda text: None
    sample: Callable[[dict[str, Any]], None] = lambda sample: None
    samples: list[dict[str, Any]] = field(default_factory=list)


def rotation(arms: Sequence[Arm], turn: int) -> list[Arm]:
    """The arms, beginning with another one each turn."""
    start = turn % len(arms)
    return [*arms[start:], *arms[:start]]


def requests_for(rate: float, seconds: float, concurrency: int) -> int:
    """Requests that take about so long at this rate: whole waves, at least four.

    Args:
        rate: requests/s of the arm that was tried first.
        seconds: how long.
        concurrency: requests in a wave.
    """
    waves = math.ceil(rate * seconds / concurrency) if rate > 0 else 0
    return max(4, waves) * concurrency


def idle_cpu(arms: Sequence[Arm], seconds: float = 5.0) -> dict[str, float]:
    """CPU each arm uses while nobody asks it anything, in cores."""
    before = {arm.name: cpu_seconds(arm.pids()) for arm in arms}
    time.sleep(seconds)
    return {arm.name: (cpu_seconds(arm.pids()) - before[arm.name]) / seconds for arm in arms}


class _Bodies:
    """Requests of one cell: the same for all arms of a round, new in each round."""

    def __init__(self, maker: PromptMaker, plan: Plan) -> None:
        self._maker = maker
        self._plan = plan

    def make(self, arm: Arm, cell: Cell, purpose: str, count: int) -> list[bytes]:
        plan = self._plan
        seed = f"{plan.seed}/{cell.kind}/{cell.concurrency}/{purpose}"
        bodies = islice(self._maker.bodies(cell, seed, plan.endpoint, plan.form), count)
        host, port = arm.target.host, arm.target.port
        return [request_bytes(host, port, plan.endpoint, body, arm.headers) for body in bodies]


def measure(
    arms: Sequence[Arm], plan: Plan, maker: PromptMaker, progress: Progress
) -> list[dict[str, Any]]:
    """Runs the plan on arms that are up.

    Returns:
        One sample per arm, cell and round: what :func:`sample_metrics` gives, and ``arm``,
        ``cell``, ``round``, ``place`` (order within the cell), ``load_cpu_ms_per_request``,
        ``others_cpu`` (cores used by the other arms) and ``foreign_cpu`` (cores used by anything
        else on the machine). An arm that dies gives samples with ``died`` set.
    """
    bodies = _Bodies(maker, plan)
    counts: dict[str, int] = {}
    for number in range(1, plan.rounds + 1):
        for index, cell in enumerate(plan.cells):
            for place, arm in enumerate(rotation(arms, number + index)):
                others = [other for other in arms if other is not arm]
                progress.step(f"round {number}/{plan.rounds}  {cell.name}  {arm.name}")
                if plan.idle == "paused":
                    for other in others:
                        other.pause()
                    arm.resume()
                    time.sleep(_SETTLE_S)
                if cell.name not in counts:
                    counts[cell.name] = _count(arm, cell, plan, bodies)
                sample = _sample(arm, others, cell, number, counts[cell.name], plan, bodies)
                sample |= {"place": place}
                progress.samples.append(sample)
                progress.sample(sample)
    for arm in arms:
        arm.resume()
    return progress.samples


def _count(arm: Arm, cell: Cell, plan: Plan, bodies: _Bodies) -> int:
    """Tries the arm for a moment; its rate sets the number of requests for all."""
    requests = bodies.make(arm, cell, "calibrate", 4 * cell.concurrency)
    run_async(closed_loop(arm.target, requests, cell.concurrency, cell.stream, plan.timeout_s))
    requests = bodies.make(arm, cell, "calibrate-again", 2000)
    began = time.perf_counter()
    log = _timed(arm, cell, requests, _CALIBRATE_S, plan)
    took = max(r.ended for r in log.records) - began if log.records else math.inf
    return requests_for(len(log.records) / took, plan.seconds, cell.concurrency)


def _timed(arm: Arm, cell: Cell, requests: list[bytes], seconds: float, plan: Plan) -> Log:
    def endless() -> Iterator[bytes]:
        while True:
            yield from requests

    return run_async(
        timed_loop(
            arm.target,
            endless(),
            cell.concurrency,
            cell.stream,
            seconds,
            timeout_s=plan.timeout_s,
        )
    )


def _sample(
    arm: Arm,
    others: Sequence[Arm],
    cell: Cell,
    number: int,
    count: int,
    plan: Plan,
    bodies: _Bodies,
) -> dict[str, Any]:
    sample: dict[str, Any] = {"arm": arm.name, "cell": cell.name, "round": number}
    if not arm.alive:
        return sample | sample_metrics(cell, Log(), 0.0) | {"died": True}
    if plan.warmup_s:
        warm = bodies.make(arm, cell, f"warm/{number}", 4 * cell.concurrency)
        # What only the first requests of a kind pay is not measured.
        seconds = plan.warmup_s * (_FIRST_WARMUP if number == 1 else 1)
        _timed(arm, cell, warm, seconds, plan)
    requests = bodies.make(arm, cell, f"round/{number}", count)
    pids = arm.pids()
    other_pids = [pid for other in others for pid in other.pids()]
    before = _Clock.read(pids, other_pids)
    log = run_async(
        closed_loop(arm.target, requests, cell.concurrency, cell.stream, plan.timeout_s)
    )
    # Processes the arm started meanwhile count too, from their first moment.
    used = _Clock.read(arm.pids(), other_pids).since(before)
    sample |= sample_metrics(cell, log, used.arm_s)
    sample["load_cpu_ms_per_request"] = used.own_s * 1000 / max(1, count)
    sample["others_cpu"] = used.others_s / used.wall_s
    foreign = used.machine_s - used.arm_s - used.others_s - used.own_s
    sample["foreign_cpu"] = max(0.0, foreign / used.wall_s)
    if not arm.alive:
        sample["died"] = True
    return sample


@dataclass(frozen=True, slots=True)
class _Clock:
    """CPU clocks read at one moment, in seconds."""

    wall_s: float
    arm_s: float
    others_s: float
    own_s: float
    machine_s: float

    @classmethod
    def read(cls, pids: Sequence[int], other_pids: Sequence[int]) -> _Clock:
        return cls(
            time.perf_counter(),
            cpu_seconds(pids),
            cpu_seconds(other_pids),
            time.process_time(),
            busy_seconds(),
        )

    def since(self, before: _Clock) -> _Clock:
        return _Clock(
            self.wall_s - before.wall_s,
            self.arm_s - before.arm_s,
            self.others_s - before.others_s,
            self.own_s - before.own_s,
            self.machine_s - before.machine_s,
        )
