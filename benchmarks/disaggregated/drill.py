"""A drill: prompts grow 4.4 times as long and 2.2 times as many within a minute.

Small requests are sent at a steady pace throughout, beside a load of prompts of random lengths in
all zones. After a while that load surges, and later it is as before. What is looked at is the small
requests' first token, whether any answer is missing, and whether any request was served in another
zone than it asked for.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.disaggregated.asks import Ask, ask_of
from benchmarks.disaggregated.client import Answer, read
from benchmarks.disaggregated.configs import Args
from benchmarks.disaggregated.load import at_times
from benchmarks.disaggregated.service import Cluster, started
from benchmarks.gateway.load import run_async
from benchmarks.gateway.prompts import PromptMaker
from benchmarks.gateway.stats import quantiles

__all__ = ["PHASES", "SMALL", "Settings", "measure", "moments", "phase_at", "surge_at"]

PHASES = ("before", "surge", "after")
SMALL, LOAD = "small", "load"
_LISTED = 20
_STEP_S = 0.01
_LEAST_TOKENS = 8
Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """How much of it.

    Attributes:
        calm_s: how long it goes on as usual, before and again after.
        surge_s: how long the surge lasts; over its first `ramp_s` it grows.
        small_per_s: small requests a second, always.
        load_per_s: requests a second of the load as usual, of all zones together.
        load_tokens: the median of their prompts as usual; they spread by a factor of `spread`.
        more, longer: what the surge multiplies them by.
    """

    calm_s: float = 30.0
    surge_s: float = 60.0
    ramp_s: float = 15.0
    small_per_s: float = 4.0
    small_tokens: int = 64
    small_output_tokens: int = 16
    load_per_s: float = 1.5
    load_tokens: int = 200
    spread: float = 2.0
    most_tokens: int = 8000
    load_output_tokens: int = 24
    more: float = 2.2
    longer: float = 4.4
    seed: int = 4

    @property
    def seconds(self) -> float:
        return 2 * self.calm_s + self.surge_s


def surge_at(settings: Settings, at: float) -> float:
    """How far the surge has gone at a moment: 0 as usual, 1 in full."""
    into = at - settings.calm_s
    if not 0.0 <= into < settings.surge_s:
        return 0.0
    return min(1.0, into / settings.ramp_s) if settings.ramp_s else 1.0


def phase_at(settings: Settings, at: float) -> str:
    """The phase that a moment belongs to."""
    if at < settings.calm_s:
        return "before"
    return "surge" if at < settings.calm_s + settings.surge_s else "after"


def moments(settings: Settings, rng: random.Random) -> list[tuple[float, int, str]]:
    """(when, prompt tokens, kind) of every request, in order; tokens of small ones are alike."""
    found = []
    due = {SMALL: rng.random(), LOAD: rng.random()}
    for number in range(round(settings.seconds / _STEP_S)):
        at = number * _STEP_S
        surge = surge_at(settings, at)
        due[SMALL] -= settings.small_per_s * _STEP_S
        due[LOAD] -= settings.load_per_s * (1 + surge * (settings.more - 1)) * _STEP_S
        for kind, left in due.items():
            if left > 0:
                continue
            # Uneven, yet true to the rate: by chance alone a phase of seconds would stray from it.
            due[kind] = left + rng.uniform(0.5, 1.5)
            tokens = settings.small_tokens
            if kind == LOAD:
                usual = settings.load_tokens * math.exp(rng.gauss(0.0, math.log(settings.spread)))
                longer = round(usual * (1 + surge * (settings.longer - 1)))
                tokens = max(_LEAST_TOKENS, min(longer, settings.most_tokens))
            found.append((at, tokens, kind))
    return found


def measure(args: Args, model: Path, settings: Settings, step: Callable[[str], None]) -> Report:
    """Runs it.

    Args:
        args: Tidegate's configuration, of two zones at least.
        model: directory of the model.
        settings: how much.
        step: told what is being done.

    Returns:
        Plain data for the report.
    """
    rng = random.Random(settings.seed)
    maker = PromptMaker(model)
    zones = list(args["zones"])
    small_zone = args["default_zone"]
    plan: list[tuple[float, Ask]] = []
    outputs = {SMALL: settings.small_output_tokens, LOAD: settings.load_output_tokens}
    for at, tokens, kind in moments(settings, rng):
        zone = small_zone if kind == SMALL else rng.choice(zones)
        plan.append((at, ask_of(maker, rng, tokens, outputs[kind], zone, kind, ids=False)))
    with started(args, model, step) as (service, cluster):
        step("warming")
        run_async(at_times(service, [(at, ask) for at, ask in plan if at < settings.calm_s / 4]))
        before = _violations(cluster)
        step(f"{len(plan)} requests in {settings.seconds:.0f} s")
        answers = [read(reply) for reply in run_async(at_times(service, plan))]
        violations = _violations(cluster) - before
    return {
        "settings": asdict(settings),
        "zones": zones,
        "phases": {phase: _phase(settings, plan, answers, phase) for phase in PHASES},
        "requests": len(plan),
        "lost": sum(bool(answer.error) for answer in answers),
        "problems": [
            f"{count} times: {error}"
            for error, count in Counter(a.error for a in answers if a.error).most_common(_LISTED)
        ],
        "zone_violations": violations,
        "misplaced": sum(
            not a.error and a.headers.get("x-tidegate-zone") != a.ask.zone for a in answers
        ),
        "small_ttft_ms_samples": [
            [round(at, 2), round(answer.ttft * 1e3, 1)]
            for (at, _), answer in zip(plan, answers, strict=True)
            if answer.ask.kind == SMALL and answer.reads
        ],
    }


def _violations(cluster: Cluster) -> int:
    return sum(int(cluster.engine(name)["zone_violations"]) for name in cluster.engines())


def _phase(
    settings: Settings, plan: Sequence[tuple[float, Ask]], answers: Sequence[Answer], phase: str
) -> dict[str, Any]:
    """What was offered and what was seen in one phase; a request belongs to where it was sent."""
    own = [
        answer
        for (at, _), answer in zip(plan, answers, strict=True)
        if phase_at(settings, at) == phase
    ]
    seconds = settings.surge_s if phase == "surge" else settings.calm_s
    load = [answer for answer in own if answer.ask.kind == LOAD]
    return {
        "requests": len(own),
        "lost": sum(bool(answer.error) for answer in own),
        "load_requests_per_s": len(load) / seconds,
        "load_prompt_tokens_per_s": sum(len(a.ask.prompt) for a in load) / seconds,
        "small_ttft_ms": quantiles([a.ttft for a in own if a.ask.kind == SMALL and a.reads], 1e3),
        "load_ttft_ms": quantiles([a.ttft for a in load if a.reads], 1e3),
    }
