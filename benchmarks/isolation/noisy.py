"""A noisy neighbour: what a tenant's first token costs while another offers ten times its share.

Four tenants, requests of one kind. First all of them are backlogged, the noisy one with ten times
as many requests as each of the others: what each is served is compared by Jain's index, and a
quarter of the rate is a tenant's share. Then B, C and D each offer `load` of their share, evenly
with a jitter of a fifth (at the whole of it they would queue behind themselves, whoever else is
there), in turns:

- `alone`: B has the engine to itself;
- `shared`: A offers as much;
- `noisy`: A offers ten times its share;
- `noisy-waiting`: the same, where nothing that runs is ever set aside (`set_aside: 0`);
- `noisy-fcfs`: the same, in an engine that serves in the order of arrival.

What setting aside costs is seen in the tokens that all tenants together are served a second.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.gateway.stats import quantiles
from benchmarks.isolation.engine import Answer, LoneEngine
from benchmarks.isolation.stats import jain

__all__ = ["Settings", "measure"]

TENANTS = ("a", "b", "c", "d")
NOISY = 10
ARMS = ("alone", "shared", "noisy", "noisy-waiting", "noisy-fcfs")


@dataclass(frozen=True)
class Settings:
    """How much of it."""

    rounds: int = 3
    seconds: float = 20.0
    backlogged_s: float = 12.0
    load: float = 0.8
    slots: int = 16
    step_tokens: int = 160
    prompt_tokens: int = 128
    output_tokens: tuple[int, int] = (64, 192)
    seed: int = 1


Report = dict[str, object]
Step = Callable[[str], None]


def measure(settings: Settings, step: Step) -> Report:
    """Runs it; `step` is told what begins.

    Returns:
        Plain data for the report.
    """
    # A step has room for one prompt: what a first token waits for is the step before its own.
    engine = {"max_num_seqs": settings.slots, "max_num_batched_tokens": settings.step_tokens}
    step("starting three engines")
    with (
        LoneEngine(engine=engine) as fair,
        LoneEngine(fairness={"set_aside": 0}, engine=engine) as waiting,
        LoneEngine(fairness={"scheduling": "fcfs"}, engine=engine) as fcfs,
    ):
        for each in (fair, waiting, fcfs):
            _backlogged(each, settings, 2.0)
        step("all backlogged, fair")
        aside = fair.scheduler.asides
        served, rate = _backlogged(fair, settings, settings.backlogged_s)
        aside = fair.scheduler.asides - aside
        step("all backlogged, fcfs")
        unfair, _ = _backlogged(fcfs, settings, settings.backlogged_s)
        share = rate / len(TENANTS)
        ttfts: dict[str, list[float]] = {arm: [] for arm in ARMS}
        rates: dict[str, list[float]] = {arm: [] for arm in ARMS}
        asides: dict[str, int] = dict.fromkeys(ARMS, 0)
        engines = {"noisy-waiting": waiting, "noisy-fcfs": fcfs}
        for number in range(settings.rounds):
            # Taking turns at being first, so that a drift of the machine falls on all.
            turn = number % len(ARMS)
            for arm in ARMS[turn:] + ARMS[:turn]:
                step(f"round {number + 1}: {arm}")
                engine_ = engines.get(arm, fair)
                before = engine_.scheduler.asides
                waits, tokens_per_s = _offered(engine_, settings, arm, share, number)
                ttfts[arm] += waits
                rates[arm].append(tokens_per_s)
                asides[arm] += engine_.scheduler.asides - before
    figures = {
        arm: {"requests": len(values), **quantiles(values, 1e3)} for arm, values in ttfts.items()
    }
    alone = figures["alone"]["p99"]
    return {
        "settings": asdict(settings),
        "share_requests_per_s": share,
        "jain": {"fair": jain(list(served.values())), "fcfs": jain(list(unfair.values()))},
        "served_weighted_tokens": {"fair": served, "fcfs": unfair},
        "ttft_ms_of_b": figures,
        "ttft_p99_to_alone": {arm: figures[arm]["p99"] / alone for arm in ARMS},
        "tokens_per_s": {arm: median(rates[arm]) for arm in ARMS},
        "set_aside": asides,
        "set_aside_while_backlogged": aside,
        "ttft_ms_samples": {arm: [round(v * 1e3, 2) for v in ttfts[arm]] for arm in ARMS},
    }


def _prompt(rng: random.Random, length: int) -> list[int]:
    return [rng.randrange(100, 1800) for _ in range(length)]


def _weighted(answer: Answer) -> float:
    # As the queue reckons: a prompt counts once it has been computed.
    return (answer.prompt_tokens if answer.tokens else 0) + 2.0 * len(answer.tokens)


def _backlogged(
    engine: LoneEngine, settings: Settings, seconds: float
) -> tuple[dict[str, float], float]:
    """Weighted tokens that each tenant was served, and requests a second of all together."""
    rng = random.Random(settings.seed)
    stop = threading.Event()
    answers: list[Answer] = []

    def keep_on(tenant: str) -> None:
        prompt = _prompt(rng, settings.prompt_tokens)
        answers.append(
            engine.send(
                prompt,
                tenant,
                max_tokens=rng.randint(*settings.output_tokens),
                on_end=lambda _: None if stop.is_set() else keep_on(tenant),
            )
        )

    for tenant in TENANTS:
        for _ in range(settings.slots * (NOISY if tenant == TENANTS[0] else 1)):
            keep_on(tenant)
    time.sleep(min(2.0, seconds / 4))
    before = _served(answers)
    ended, began = sum(a.ended_at is not None for a in answers), time.perf_counter()
    time.sleep(seconds)
    after = _served(answers)
    rate = (sum(a.ended_at is not None for a in answers) - ended) / (time.perf_counter() - began)
    stop.set()
    _clear(engine, answers)
    return {tenant: after[tenant] - before[tenant] for tenant in TENANTS}, rate


def _served(answers: list[Answer]) -> dict[str, float]:
    return {
        tenant: sum(_weighted(answer) for answer in list(answers) if answer.tenant == tenant)
        for tenant in TENANTS
    }


def _offered(
    engine: LoneEngine, settings: Settings, arm: str, share: float, number: int
) -> tuple[list[float], float]:
    """Seconds to the first token of each request of B, and tokens/s of all tenants."""
    rng = random.Random(settings.seed + number)
    usual = share * settings.load
    rates = {"b": usual}
    if arm != "alone":
        rates |= {"c": usual, "d": usual, "a": usual if arm == "shared" else share * NOISY}
    arrivals = []
    for tenant, rate in sorted(rates.items()):
        at = rng.random() / rate
        while at < settings.seconds:
            arrivals.append((at, tenant))
            at += rng.uniform(0.8, 1.2) / rate
    arrivals.sort()
    answers = []
    began = time.perf_counter()
    for at, tenant in arrivals:
        ahead = began + at - time.perf_counter()
        if ahead > 0:
            time.sleep(ahead)
        answers.append(
            engine.send(
                _prompt(rng, settings.prompt_tokens),
                tenant,
                max_tokens=rng.randint(*settings.output_tokens),
            )
        )
    cut = time.perf_counter()
    tokens_per_s = sum(len(answer.tokens) for answer in answers) / (cut - began)
    # What has no first token by now has waited at least so long.
    waits = [
        (answer.ttft if answer.first_at is not None else cut - answer.sent_at)
        for answer in answers
        if answer.tenant == "b" and answer.sent_at < cut - 0.5
    ]
    _clear(engine, answers)
    return waits, tokens_per_s


def _clear(engine: LoneEngine, answers: list[Answer]) -> None:
    for answer in answers:
        if not answer.done.is_set():
            engine.cancel(answer)
    while engine.host.live_requests or sum(engine.scheduler.get_request_counts()):
        time.sleep(0.05)
