"""What `tidegate profile` concludes, against engines that are simulated."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.cli.profiling.arrivals import Load, arrivals, residents
from app.cli.profiling.judge import Answer, allowed, judge, output_rate, quantile
from app.cli.profiling.model import EngineModel
from app.cli.profiling.prompts import UnfitPool, Words, shapes
from app.cli.profiling.search import SideSearch
from app.cli.profiling.terms import OutOfReach, Side
from app.config import load_config
from app.config.scaling import SloConfig

ROOT = Path(__file__).parents[2]
FLEET = load_config(ROOT / "serve_config.yaml")
SLO = SloConfig()


def answer(due: float, first: float | None, last: float | None, tokens: int, **more: Any) -> Answer:
    return Answer(due, first=first, last=last, tokens=tokens, **more)


def test_late_ones_are_counted_however_they_are_late() -> None:
    slo = SloConfig(ttft_s=1.0, itl_s=0.1, attainment=0.5)
    found = judge(
        [
            answer(0.0, 9.0, 9.0, 1, ended=True),  # due while it warmed up
            answer(2.0, 2.5, 3.4, 10, ended=True),
            answer(2.0, 3.5, 4.0, 10, ended=True),  # its first token was late
            answer(2.0, 2.5, 4.5, 10, ended=True),  # its tokens were slow
            answer(2.0, None, None, 0),  # it has waited too long
            answer(9.5, None, None, 0),  # too young to tell
            answer(9.0, 9.1, 9.1, 1),  # stuck, and for long enough to tell
            answer(9.0, 9.1, 9.9, 3, ended=True, failed="overloaded"),
        ],
        slo,
        since=1.0,
        until=10.0,
    )
    assert (found.judged, found.late) == (6, 5)
    assert found.failed == "overloaded"
    assert found.in_time == pytest.approx(1 / 6)


def test_those_that_filled_the_engine_are_judged_by_their_pace_alone() -> None:
    slo = SloConfig(ttft_s=1.0, itl_s=0.1)
    slow_start = answer(0.0, 5.0, 5.8, 10, ended=True, resident=True)
    assert judge([slow_start], slo, 2.0, 10.0).late == 0
    slow = answer(0.0, 0.5, 9.0, 10, ended=True, resident=True)
    assert judge([slow], slo, 2.0, 10.0).late == 1


def test_one_late_request_of_a_few_is_allowed() -> None:
    assert [allowed(SLO, count) for count in (1, 99, 100, 250)] == [1, 1, 1, 2]


def test_a_quantile_is_kept_by_at_least_that_share() -> None:
    values = [float(value) for value in range(1, 101)]
    assert (quantile(values, 0.99), quantile(values, 0.991), quantile([], 0.5)) == (99, 100, None)


def test_output_counts_where_it_came() -> None:
    streams = [answer(0.0, 1.0, 5.0, 40), answer(0.0, 1.0, 5.0, 40, elsewhere="other")]
    assert output_rate(streams, 2.0, 4.0) == pytest.approx(10.0)


@given(st.floats(0.05, 500), st.floats(0.5, 20), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_arrivals_come_at_their_rate_and_in_order(rate: float, seconds: float, seed: int) -> None:
    times = arrivals(rate, seconds, random.Random(seed))
    assert len(times) == max(1, round(rate * seconds))
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= seconds


def test_residents_have_every_length_left() -> None:
    left = residents(64, 128)
    assert (min(left), max(left), sum(left)) == (1, 127, 64 * 64)


class Engine:
    """Replicas with so many slots; each step of a batch of n takes base + growth * n."""

    def __init__(self, slots: int, base: float, growth: float, first: float, prompt: int) -> None:
        self.slots, self.base, self.growth = slots, base, growth
        self.first, self.prompt = first, prompt

    def run(self, load: Load, output: int, rng: random.Random) -> tuple[list[Answer], float]:
        """Answers of a FIFO queue in front of `slots`, token by token in batches."""
        if load.rate:
            there = round(load.at_once)
            queue = [(0.0, left, True) for left in (residents(there, output) if there else ())]
            queue += [(due, output, False) for due in arrivals(load.rate, load.seconds, rng)]
        else:
            queue = [(0.0, output, False)] * round(load.at_once)
        answers: list[Answer] = []
        running: list[tuple[Answer, int]] = []
        now = 0.0
        while now < load.seconds and (queue or running):
            while queue and len(running) < self.slots and queue[0][0] <= now:
                due, left, resident = queue.pop(0)
                new = Answer(due, resident=resident, prompt_tokens=self.prompt)
                answers.append(new)
                running.append((new, left))
            if not running:
                now = queue[0][0]
                continue
            now += self.base + self.growth * len(running)
            for each, _ in running:
                each.tokens += 1
                each.first = now + self.first if each.first is None else each.first
                each.last = now + self.first
            for each, left in running:
                each.ended = each.tokens >= left
                if each.ended and not load.rate:
                    queue.append((now, output, False))
            running = [pair for pair in running if not pair[0].ended]
        answers += [Answer(due, resident=there) for due, _, there in queue if due < load.seconds]
        return answers, load.seconds


def searched(
    engine: Engine, side: Side, slo: SloConfig, output: int, seconds: float, seed: int = 0
) -> SideSearch:
    rng = random.Random(seed)
    search = SideSearch(side, slo, max(engine.slots, 4), output, seconds)
    if side is Side.DECODE:
        search.batch = engine.slots
    while (load := search.next()) is not None:
        answers, took = engine.run(load, output, rng)
        search.saw(load, answers, 1, took)
    return search


def hours_of(engine: Engine, slo: SloConfig, rate: float, output: int, requests: int) -> float:
    """Share in time of a long random sequence."""
    rng = random.Random(7)
    dues, now = [], 0.0
    for _ in range(requests):
        now += rng.expovariate(rate)
        dues.append(now)
    answers: list[Answer] = []
    running: list[Answer] = []
    now, at = 0.0, 0
    while at < len(dues) or running:
        while at < len(dues) and len(running) < engine.slots and dues[at] <= now:
            running.append(Answer(dues[at]))
            answers.append(running[-1])
            at += 1
        if not running:
            now = dues[at]
            continue
        now += engine.base + engine.growth * len(running)
        for each in running:
            each.tokens += 1
            each.first = now + engine.first if each.first is None else each.first
            each.last = now + engine.first
            each.ended = each.tokens >= output
        running = [each for each in running if not each.ended]
    return judge(answers, slo, 0.0, now + 1).in_time


@given(st.floats(0.005, 0.1), st.floats(12, 60), st.integers(0, 99))
@example(0.1, 12.0, 1)
@settings(max_examples=8, deadline=None)
def test_prefill_is_found_within_a_tenth(read_s: float, patience: float, seed: int) -> None:
    """The hidden truth is what a long random sequence bears, not a formula of the code's."""
    slo = SloConfig(ttft_s=read_s * patience)
    engine = Engine(1, read_s, 0.0, 0.0, prompt=256)
    found = searched(engine, Side.PREFILL, slo, 1, 400 * read_s, seed).carried
    assert found.tokens_per_s == pytest.approx(256 * found.rate)
    assert hours_of(engine, slo, 0.9 * found.rate, 1, 4000) >= slo.attainment
    assert hours_of(engine, slo, 1.1 * found.rate, 1, 4000) < slo.attainment


@pytest.mark.parametrize("slots", [8, 64])
@pytest.mark.parametrize("itl", [0.015, 0.05])
def test_decode_is_found_within_a_tenth(slots: int, itl: float) -> None:
    """With 8 slots the queue is what breaks the promise, with 64 and 15 ms the batch is."""
    slo = SloConfig(ttft_s=1.0, itl_s=itl)
    engine = Engine(slots, 0.008, 0.0002, 0.01, prompt=24)
    found = searched(engine, Side.DECODE, slo, 64, 40).carried
    assert hours_of(engine, slo, 0.9 * found.rate, 64, 2500) >= slo.attainment
    assert hours_of(engine, slo, 1.12 * found.rate, 64, 2500) < slo.attainment


def test_what_breaks_in_life_is_bisected() -> None:
    """An engine that the model knows nothing of: it refuses what is above 60% of its most."""
    rng = random.Random(3)
    engine = Engine(1, 0.02, 0.0, 0.0, prompt=100)
    search = SideSearch(Side.PREFILL, SLO, 4, 1, 60.0)
    while (load := search.next()) is not None:
        answers, took = engine.run(load, 1, rng)
        if load.rate > 30:
            # Given up as soon as two were judged.
            took = load.since + 0.2
            answers = [Answer(each.due, failed="overloaded") for each in answers if each.due < took]
        search.saw(load, answers, 1, took)
    assert 27 <= search.carried.rate <= 30
    assert search.broke is not None
    assert 30 < search.broke.rate <= 33
    assert search.broke.judgement.failed == "overloaded"


def test_what_spills_is_not_carried() -> None:
    rng = random.Random(3)
    engine = Engine(1, 0.02, 0.0, 0.0, prompt=100)
    search = SideSearch(Side.PREFILL, SLO, 4, 1, 60.0)
    while (load := search.next()) is not None:
        answers, took = engine.run(load, 1, rng)
        if load.rate > 30:
            took = load.since + 0.2
            answers = [each for each in answers if each.due < took]
            answers[-1].elsewhere = "other"
        search.saw(load, answers, 1, took)
    assert 27 <= search.carried.rate <= 30
    assert search.broke is not None
    assert search.broke.judgement.elsewhere == "other"


def test_a_promise_that_one_request_breaks_is_out_of_reach() -> None:
    slow = Engine(1, 3.0, 0.0, 0.0, prompt=100)
    with pytest.raises(OutOfReach, match=r"even by one request .*TTFT 3 s, promised 2 s"):
        searched(slow, Side.PREFILL, SLO, 1, 90)
    slow = Engine(4, 0.3, 0.0, 0.0, prompt=100)
    with pytest.raises(OutOfReach, match=r"ITL 0.3 s, promised 0.2 s"):
        searched(slow, Side.DECODE, SLO, 16, 90)


def test_answers_that_never_end_say_nothing() -> None:
    slow = Engine(4, 0.1, 0.0, 0.0, prompt=100)
    with pytest.raises(OutOfReach, match=r"16 tokens took longer than 1.0 s.*more --seconds"):
        searched(slow, Side.DECODE, SLO, 16, 12.5)


def test_a_load_is_given_up_once_too_many_are_late() -> None:
    search = searched(Engine(1, 0.02, 0.0, 0.0, prompt=100), Side.PREFILL, SLO, 1, 60)
    load = Load(10.0, rate=10.0)
    on_time = [answer(3 + each / 10, 3.1 + each / 10, None, 1) for each in range(40)]
    assert not search.hopeless(load, on_time, 1, 7.0)
    late = [answer(3.0, 5.5, None, 1) for _ in range(2)]
    assert search.hopeless(load, [*on_time, *late], 1, 7.0)
    # Of thousands, as many as two may be late.
    assert not search.hopeless(Load(100.0, rate=10.0), [*on_time, *late], 1, 7.0)


@pytest.mark.parametrize("replicas", [1, 4])
def test_replicas_that_share_a_load_wait_less(replicas: int) -> None:
    alone = EngineModel(replicas, 1, 1, 0.5, 0.0, 0.5)
    share = alone.most(SLO, replicas / 0.5) / replicas * 0.5
    assert (0.4 < share < 0.65) if replicas == 1 else (share > 0.8)


def test_requests_land_in_the_pools_classes() -> None:
    small, large = FLEET.pool("public-small"), FLEET.pool("public-large")
    prompts, answers = shapes(small, None)
    assert (prompts.prompt, prompts.output, answers.prompt) == (256, 1, 24)
    prompts, answers = shapes(large, None)
    assert 2048 < answers.prompt < answers.prompt + answers.output <= 8192
    assert prompts.prompt == 4096
    assert shapes(small, 1500)[0].prompt == 1500
    with pytest.raises(UnfitPool, match="take 24 to 2047"):
        shapes(small, 5000)
    with pytest.raises(UnfitPool, match="isolated"):
        shapes(small.model_copy(update={"isolated": True}), None)


@given(st.floats(0.8, 3), st.integers(0, 20), st.integers(30, 3000))
@settings(max_examples=30, deadline=None)
def test_words_come_to_the_tokens_that_are_wanted(each: float, extra: int, tokens: int) -> None:
    words = Words(random.Random(1))
    words.learn((8, round(8 * each) + extra), (40, round(40 * each) + extra))
    found = round(len(words.text(tokens).split()) * each) + extra
    assert abs(found - tokens) <= 3 + 0.05 * tokens
    assert words.text(tokens) != words.text(tokens)
