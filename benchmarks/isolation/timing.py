"""A timing attack on the prefix cache: can another's prompt be told from one's own first token?

In each trial a victim sends either the prefix that the attacker suspects or another one of the same
length, by the toss of a coin; then the attacker sends the suspected prefix and takes the time to
its first token. A cached prefix is faster. AUC is the chance that the attacker ranks a prefix that
was sent above one that was not: 1 is certainty, 0.5 is guessing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from app.admission.isolation import RULES, Salts
from benchmarks.isolation.engine import LoneEngine
from benchmarks.isolation.stats import auc, auc_interval

__all__ = ["Settings", "measure"]


@dataclass(frozen=True)
class Settings:
    """How much of it."""

    trials: int = 1600
    prefix_tokens: int = 256
    seed: int = 1


@dataclass(frozen=True)
class _Arm:
    name: str
    level: str
    victim: tuple[str, str]
    attacker: tuple[str, str]
    salted: bool = True


ARMS = (
    _Arm("salts off", "medium", ("acme", "ada"), ("rival", "eve"), salted=False),
    _Arm("medium: another tenant", "medium", ("acme", "ada"), ("rival", "eve")),
    _Arm("high: another user of the tenant", "high", ("acme", "ada"), ("acme", "eve")),
    _Arm("maximum: another tenant", "maximum", ("acme", "ada"), ("rival", "eve")),
)

Report = dict[str, object]


class _OneSalt(Salts):
    """What an engine without salts would do: everybody shares one cache."""

    def of(self, zone: str, tenant: str, user: str) -> str:
        return "x" * 43


def measure(settings: Settings, step: Callable[[str], None]) -> Report:
    """Runs it; `step` is told what begins.

    Returns:
        Plain data for the report.
    """
    arms: dict[str, object] = {}
    for arm in ARMS:
        step(arm.name)
        with LoneEngine(arm.level) as engine:
            if not arm.salted:
                engine.use_salts(_OneSalt(bytes(32), RULES[arm.level]))
            hit, miss = _attack(engine, arm, settings)
        # The faster, the likelier it was cached.
        positive, negative = [-value for value in hit], [-value for value in miss]
        low, high = auc_interval(positive, negative)
        arms[arm.name] = {
            "auc": auc(positive, negative),
            "interval": [low, high],
            "sent": len(hit),
            "not_sent": len(miss),
            "ttft_ms_sent": median(hit) * 1e3,
            "ttft_ms_not_sent": median(miss) * 1e3,
            "samples_ms": {
                "sent": [round(value * 1e3, 3) for value in hit],
                "not_sent": [round(value * 1e3, 3) for value in miss],
            },
        }
    return {"arms": arms}


def _attack(engine: LoneEngine, arm: _Arm, settings: Settings) -> tuple[list[float], list[float]]:
    rng = random.Random(settings.seed)
    coins = [True, False] * (settings.trials // 2)
    rng.shuffle(coins)
    hit: list[float] = []
    miss: list[float] = []

    def prefix() -> list[int]:
        return [rng.randrange(100, 1800) for _ in range(settings.prefix_tokens)]

    for number, sent in enumerate([True] * 10 + coins):
        suspected, other = prefix(), prefix()
        victim = suspected if sent else other
        engine.send([*victim, 7], arm.victim[0], user=arm.victim[1], max_tokens=1).wait()
        answer = engine.send(
            [*suspected, 8], arm.attacker[0], user=arm.attacker[1], max_tokens=1
        ).wait()
        if number >= 10:  # the first warm up
            (hit if sent else miss).append(answer.ttft)
    return hit, miss
