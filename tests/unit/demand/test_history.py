import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaling.demand.bins import LEVELS, TOTAL
from autoscaling.demand.history import DemandHistory
from autoscaling.demand.senders import MOST_GATEWAYS
from autoscaling.demand.terms import Correction, Message, Sample, Work

T0 = 1_800_000_000.0  # A multiple of 600.
STEPS = (10.0, 60.0, 600.0)


class Gateway:
    def __init__(self, history: DemandHistory, name: str = "g") -> None:
        self.history, self.name, self.number = history, name, 0

    def say(self, wall: float, span_s: float = 1.0, group: str = "a", **sample: Any) -> bool:
        self.number += 1
        message = Message(self.name, self.number, span_s, {group: Sample(**sample)})
        return self.history.take(message, wall)

    def steadily(self, start: float, end: float, rate: float) -> None:
        """A message a second, of `rate` prompt tokens a second and twice as many of output."""
        for second in range(int(end - start)):
            self.say(start + second + 1, arrived=Work(rate, 2 * rate))


def values(history: DemandHistory, step: float, wall: float, side: Any = "prefill") -> list[float]:
    return [float(value) for value in history.series("a", side, step, wall).values]


@pytest.fixture
def history() -> DemandHistory:
    return DemandHistory(["a", "b", "a--prefill"])


def test_rates_are_the_same_at_every_length_of_bin(history: DemandHistory) -> None:
    Gateway(history).steadily(T0, T0 + 1200, 100.0)
    for step in STEPS:
        series = history.series("a", "decode", step, T0 + 1200)
        assert (series.start, series.end) == (T0, T0 + 1200)
        assert series.values == pytest.approx(np.full(int(1200 / step), 200.0))
    recent = history.recent("a", T0 + 1200)
    assert recent is not None
    assert (recent.prefill, recent.decode) == pytest.approx((100.0, 200.0))


spans = st.lists(
    st.tuples(
        st.sampled_from(["g1", "g2", "g3"]),
        st.floats(0.05, 90.0),
        st.integers(0, 50_000),
        st.integers(0, 50_000),
        st.floats(0.0, 300.0),
        st.integers(-40_000, 40_000),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(spans, st.floats(0, 600))
def test_the_sum_over_bins_is_what_was_sent_whoever_speaks_when(
    said: list[tuple[str, float, int, int, float, int]], offset: float
) -> None:
    history = DemandHistory(["a"])
    gateways = {name: Gateway(history, name) for name in ("g1", "g2", "g3")}
    wall = T0 + 3600 + offset
    sent = corrected = 0.0
    for name, span, prefill, decode, age, more in said:
        wall += span / 3
        assert gateways[name].say(
            wall,
            span_s=span,
            arrived=Work(float(prefill), float(decode)),
            corrections=(Correction(age, Work(float(more))),),
        )
        sent += prefill + decode
        corrected += more
    record = history._records["a"]
    for each in LEVELS[1:]:
        kept = record.values[:, each.offset : each.offset + each.count]
        assert kept.sum(dtype=float) == pytest.approx(sent + corrected, rel=1e-4, abs=1.0)
    for step in STEPS:
        seen = history.series("a", "prefill", step, wall + 600).values
        assert not np.any(seen < 0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.2, 5.0), min_size=20, max_size=60), st.floats(0, 10))
def test_how_the_time_is_cut_into_messages_makes_no_difference(
    cuts: list[float], offset: float
) -> None:
    history = DemandHistory(["a"])
    gateway = Gateway(history)
    start = wall = T0 + offset
    for span in cuts:
        wall += span
        gateway.say(wall, span_s=span, arrived=Work(10.0 * span))
    whole = [
        value
        for index, value in enumerate(values(history, 10.0, wall))
        if start <= history.series("a", "prefill", 10.0, wall).start + 10 * index
    ]
    assert whole == pytest.approx([10.0] * len(whole), rel=0.12)


def test_a_message_that_comes_twice_counts_once(history: DemandHistory) -> None:
    message = Message("g", 1, 1.0, {"a": Sample(arrived=Work(100.0))})
    assert history.take(message, T0 + 1)
    assert not history.take(message, T0 + 2)
    Gateway(history, "h").steadily(T0, T0 + 10, 0.0)
    assert values(history, 10.0, T0 + 10) == pytest.approx([10.0])


def test_a_message_that_is_sent_again_later_counts_where_it_belongs(
    history: DemandHistory,
) -> None:
    sample = Sample(arrived=Work(1000.0), corrections=(Correction(10.0, Work(-500.0)),))
    history.take(Message("g", 1, 20.0, {}), T0 + 20)
    assert history.take(Message("g", 2, 10.0, {"a": sample}, delay_s=30.0), T0 + 60)
    assert history.take(Message("g", 3, 30.0, {}), T0 + 60)
    assert values(history, 10.0, T0 + 60) == pytest.approx([0, 0, 50, 0, 0, 0])


def test_a_gap_is_no_zero(history: DemandHistory) -> None:
    gateway = Gateway(history)
    gateway.steadily(T0, T0 + 20, 5.0)
    gateway.steadily(T0 + 40, T0 + 60, 5.0)
    seen = values(history, 10.0, T0 + 70)
    assert seen[:2] == [5.0, 5.0]
    assert all(math.isnan(value) for value in seen[2:4])
    assert seen[4:6] == [5.0, 5.0]
    assert math.isnan(seen[6])


def test_no_demand_is_a_zero_and_no_gap(history: DemandHistory) -> None:
    gateway = Gateway(history)
    gateway.steadily(T0, T0 + 30, 5.0)
    assert history.series("b", "prefill", 10.0, T0 + 30).values.tolist() == [0, 0, 0]
    assert history.recent("b", T0 + 30) == Work()


@pytest.mark.parametrize(("heard", "expected"), [(6, 7.0), (5, 7.0), (4, math.nan)])
def test_a_bin_that_was_half_listened_to_counts_in_proportion(
    history: DemandHistory, heard: int, expected: float
) -> None:
    gateway = Gateway(history)
    gateway.steadily(T0, T0 + 10, 0.0)
    gateway.steadily(T0 + 20 - heard, T0 + 20, 7.0)
    assert values(history, 10.0, T0 + 20)[1] == pytest.approx(expected, nan_ok=True)


def test_what_came_while_nobody_answered_is_spread_over_that_time(history: DemandHistory) -> None:
    gateway = Gateway(history)
    gateway.say(T0 + 60, span_s=60.0, arrived=Work(600.0))
    assert values(history, 10.0, T0 + 60) == pytest.approx([10.0] * 6)
    # Of more than an hour the last one counts, at the same rate.
    gateway.say(T0 + 60 + 7200, span_s=7200.0, arrived=Work(72_000.0))
    series = history.series("a", "prefill", 600.0, T0 + 7260)
    assert series.values[-6:] == pytest.approx(np.full(6, 10.0))


def test_a_correction_goes_to_when_its_request_arrived_and_never_below_zero(
    history: DemandHistory,
) -> None:
    gateway = Gateway(history)
    gateway.steadily(T0, T0 + 30, 10.0)
    gateway.say(T0 + 31, corrections=(Correction(16.0, Work(-60.0, 400.0)),))
    assert values(history, 10.0, T0 + 31) == pytest.approx([10, 4, 10])
    assert values(history, 10.0, T0 + 31, "decode") == pytest.approx([20, 60, 20])
    gateway.say(T0 + 32, corrections=(Correction(17.0, Work(-1000.0)),))
    assert values(history, 10.0, T0 + 32) == pytest.approx([10, 0, 10])
    # Older than what is kept in bins of 10 s, but not than in those of 10 min.
    gateway.steadily(T0 + 32, T0 + 7900, 10.0)
    gateway.say(T0 + 7901, corrections=(Correction(7890.0, Work(6000.0)),))
    assert values(history, 600.0, T0 + 7901)[0] == pytest.approx(18.2)
    assert max(values(history, 10.0, T0 + 7901)) == pytest.approx(10.0)


def test_a_clock_set_back_forgets_the_future_and_nothing_else(history: DemandHistory) -> None:
    gateway = Gateway(history)
    gateway.steadily(T0, T0 + 100, 10.0)
    gateway.steadily(T0 + 50, T0 + 100, 3.0)
    seen = values(history, 10.0, T0 + 100)
    assert seen[:5] == pytest.approx([10.0] * 5)
    # The bin that the clock was set back into has had both.
    assert seen[6:] == pytest.approx([3.0] * 4)
    assert 3.0 <= seen[5] <= 10.0


def test_a_clock_set_back_for_days_leaves_gaps_and_no_old_values(history: DemandHistory) -> None:
    gateway = Gateway(history)
    gateway.steadily(T0, T0 + 600, 10.0)
    gateway.steadily(T0 - 86400, T0 - 86400 + 60, 3.0)
    for step in (10.0, 60.0):
        assert values(history, step, T0 - 86400 + 60) == pytest.approx([3.0] * int(60 / step))


def test_a_clock_that_is_put_right_by_a_little_does_no_harm(history: DemandHistory) -> None:
    gateway = Gateway(history)
    gateway.steadily(T0, T0 + 20, 10.0)
    gateway.say(T0 + 15, arrived=Work(10.0))
    gateway.steadily(T0 + 21, T0 + 40, 10.0)
    assert values(history, 10.0, T0 + 40) == pytest.approx([10.0] * 4, rel=0.1)


def test_a_clock_set_forward_leaves_a_gap(history: DemandHistory) -> None:
    gateway = Gateway(history)
    gateway.steadily(T0, T0 + 600, 10.0)
    gateway.steadily(T0 + 3000, T0 + 3600, 10.0)
    seen = values(history, 600.0, T0 + 3600)
    assert [math.isnan(value) for value in seen] == [False, True, True, True, True, False]
    gateway.steadily(T0 + 60 * 86400, T0 + 60 * 86400 + 600, 2.0)
    assert values(history, 600.0, T0 + 60 * 86400 + 600) == pytest.approx([2.0])


def test_nobody_speaking_is_not_the_same_as_no_demand(history: DemandHistory) -> None:
    assert history.recent("a", T0) is None
    gateway = Gateway(history)
    gateway.steadily(T0, T0 + 60, 10.0)
    assert history.recent("a", T0 + 69) is not None
    assert history.recent("a", T0 + 71) is None


def test_backlog_is_what_gateways_last_said_and_lapses_with_them(history: DemandHistory) -> None:
    one, two = Gateway(history, "1"), Gateway(history, "2")
    one.say(T0 + 1, backlog=Work(100.0, 10.0))
    two.say(T0 + 1, backlog=Work(50.0, 5.0))
    assert history.backlog("a", T0 + 2) == Work(150.0, 15.0)
    one.say(T0 + 9)
    assert history.backlog("a", T0 + 9) == Work(50.0, 5.0)
    assert history.backlog("a", T0 + 12) == Work()
    assert history.backlog("b", T0 + 9) == Work()


def test_answers_are_told_once(history: DemandHistory) -> None:
    gateway = Gateway(history)
    gateway.say(T0 + 1, answers=5, late=1)
    gateway.say(T0 + 2, answers=2, late=2)
    assert history.answers("a", T0 + 2) == (7, 3)
    assert history.answers("a", T0 + 2) == (0, 0)


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    "message",
    [
        Message("g", 0, 1.0, {}),
        Message("", 1, 1.0, {}),
        Message("g" * 200, 1, 1.0, {}),
        Message("g", 1, NAN, {}),
        Message("g", 1, -1.0, {}),
        Message("g", 1, INF, {}),
        Message("g", 1, 1.0, {}, delay_s=NAN),
        Message("g", 1, 1.0, {"a": Sample(arrived=Work(NAN))}),
        Message("g", 1, 1.0, {"a": Sample(arrived=Work(-1.0))}),
        Message("g", 1, 1.0, {"a": Sample(arrived=Work(1e300))}),
        Message("g", 1, 1.0, {"a": Sample(backlog=Work(0.0, -1.0))}),
        Message("g", 1, 1.0, {"a": Sample(requests=-1)}),
        Message("g", 1, 1.0, {"a": Sample(answers=1, late=2)}),
        Message("g", 1, 1.0, {"a": Sample(corrections=(Correction(-1.0, Work()),))}),
        Message("g", 1, 1.0, {"a": Sample(corrections=(Correction(1.0, Work(INF)),))}),
        Message("g", 1, 1.0, {"a": Sample(corrections=(Correction(1.0, Work()),) * 65)}),
    ],
)
def test_nonsense_counts_for_nothing(history: DemandHistory, message: Message) -> None:
    assert not history.take(message, T0)
    assert history.nbytes == 0
    assert history.recent("a", T0) is None
    assert history.take(Message("g", 1, 1.0, {}), T0)


@pytest.mark.parametrize("wall", [NAN, INF, -1.0, 1e300])
def test_a_time_that_is_none_counts_for_nothing(history: DemandHistory, wall: float) -> None:
    assert not history.take(Message("g", 1, 1.0, {}), wall)


def test_of_a_message_with_an_unknown_group_the_rest_counts(history: DemandHistory) -> None:
    groups = {"gone": Sample(arrived=Work(5.0)), "a": Sample(arrived=Work(100.0))}
    assert not history.take(Message("g", 1, 10.0, groups), T0 + 10)
    assert values(history, 10.0, T0 + 10) == pytest.approx([10.0])


def test_there_can_be_only_so_many_gateways_at_once(history: DemandHistory) -> None:
    for number in range(MOST_GATEWAYS):
        assert history.take(Message(f"g{number}", 1, 1.0, {}), T0)
    assert not history.take(Message("one more", 1, 1.0, {}), T0 + 1)
    assert history.take(Message("one more", 1, 1.0, {}), T0 + 700)


def test_there_are_bins_of_some_lengths_only(history: DemandHistory) -> None:
    with pytest.raises(ValueError, match="there are no bins of 30 s"):
        history.series("a", "prefill", 30, T0)


def test_a_group_takes_memory_once_it_has_had_demand() -> None:
    names = [f"pool-{number}" for number in range(10_000)]
    history = DemandHistory(names)
    gateway = Gateway(history)
    gateway.say(T0 + 1, group="pool-7", answers=3, late=1, backlog=Work(1.0))
    assert history.nbytes == 0
    for number in range(100):
        gateway.say(T0 + 2, group=f"pool-{number}", arrived=Work(1.0))
    assert history.nbytes == 100 * 2 * 4 * TOTAL == 100 * 70_080


def test_a_month_takes_no_more_memory_than_a_minute(history: DemandHistory) -> None:
    gateway = Gateway(history)
    gateway.steadily(T0, T0 + 60, 1.0)
    before = history.nbytes
    for hour in range(24 * 35):
        gateway.say(T0 + 60 + 3600 * (hour + 1), span_s=3600.0, arrived=Work(3600.0))
    assert history.nbytes == before
    for step, kept in zip(STEPS, (719, 2879, 5039), strict=True):
        seen = history.series("a", "prefill", step, T0 + 60 + 3600 * 24 * 35).values
        assert len(seen) == kept
        assert seen[-1] == pytest.approx(1.0)
        assert not np.isnan(seen).any()
