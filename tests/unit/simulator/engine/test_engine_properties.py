"""What holds whatever comes: nothing is lost, steps do not matter, and the reference agrees."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaling.simulator.engine import Engines
from autoscaling.simulator.terms import Requests
from tests.unit.simulator.engine.models import SLO, engines, model, requests
from tests.unit.simulator.engine.reference import Replica

ROWS = st.lists(
    st.tuples(st.floats(0, 4), st.integers(1, 80), st.integers(1, 30)), min_size=1, max_size=40
).map(sorted)
"""Requests that keep one replica of the model busy beyond what it can do."""


@settings(max_examples=150, deadline=None)
@given(
    rows=ROWS,
    kv=st.integers(60, 300),
    waiting=st.integers(1, 5),
    patience=st.sampled_from([0.5, 3.0, 1e6]),
)
def test_one_replica_does_what_the_reference_does(
    rows: list[tuple[float, int, int]], kv: int, waiting: int, patience: float
) -> None:
    of = model(itl_s=(0.05, 0.05, 0.07, 0.1), kv_tokens=kv, most_waiting=waiting)
    jobs = Replica(of, patience).simulate(rows)
    fleet = engines(of, patience_s=patience)
    fleet.run(requests(*rows), 1e5)
    tally = fleet.tally()
    done = [job for job in jobs if job.done >= 0]
    assert tally.finished == len(done)
    assert tally.refused + tally.lost == sum(job.lost for job in jobs)
    assert tally.sum_ttft == pytest.approx(sum(job.first - job.came for job in done))
    itls = [(job.done - job.first) / (job.output - 1) for job in done if job.output > 1]
    assert tally.sum_itl == pytest.approx(sum(itls))
    assert tally.itl_count == tally.itl.count == len(itls)
    assert tally.output_tokens == sum(job.output for job in done)


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["add", "later", "close", "remove", "wait"]),
        st.integers(0, 5),
        st.lists(
            st.tuples(st.floats(0, 0.99), st.integers(1, 120), st.integers(1, 60)), max_size=12
        ),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(acts=ACTS, waiting=st.integers(0, 3), queue=st.integers(0, 30), seed=st.integers(0, 99))
def test_every_request_is_finished_refused_lost_or_there_once(
    acts: list[tuple[str, int, list[tuple[float, int, int]]]], waiting: int, queue: int, seed: int
) -> None:
    of = model(itl_s=(0.02, 0.02, 0.03, 0.04), kv_tokens=160, most_waiting=waiting)
    fleet = Engines(of, 6, SLO, patience_s=4.0, seed=seed, queue_most=queue)
    slots: set[int] = set()
    sent = sent_tokens = 0
    for now, (act, which, rows) in enumerate(acts):
        if act in {"add", "later"} and len(slots) < 6:
            slots.add(fleet.add(now + (0.5 if act == "later" else 0.0)))
        elif act == "close" and which in slots:
            fleet.close(which)
        elif act == "remove" and which in slots:
            busy = fleet.busy(which)
            assert fleet.remove(which) == busy
            slots.remove(which)
        fleet.run(
            requests(*sorted((now + at, prompt, output) for at, prompt, output in rows)), now + 1.0
        )
        sent += len(rows)
        sent_tokens += sum(prompt + output for _, prompt, output in rows)
        _check(fleet, slots, sent)
    for slot in slots:
        fleet.close(slot)
    fleet.run(requests(), 1e4)
    tally, loads = fleet.tally(), fleet.loads()
    assert tally.finished + tally.refused + tally.lost == sent
    assert (loads.running, loads.waiting, loads.queued) == (0, 0, 0)
    assert loads.outstanding_tokens == pytest.approx(0, abs=1e-6)
    assert loads.queued_tokens == 0
    assert tally.prompt_tokens + tally.output_tokens <= sent_tokens
    for slot in slots:
        assert fleet.remove(slot) == 0


def _check(fleet: Engines, slots: set[int], sent: int) -> None:
    tally, loads = fleet.tally(), fleet.loads()
    there = loads.running + loads.waiting
    assert there == sum(fleet.busy(slot) for slot in slots)
    assert tally.arrived == sent
    gone = tally.finished + tally.refused + tally.lost
    assert gone + there + loads.queued == sent
    assert tally.met <= tally.finished == tally.ttft.count
    assert 0 <= loads.kv_use <= 1
    assert loads.outstanding_tokens >= 0


def _many(count: int, rate: float) -> Requests:
    rng = np.random.default_rng(5)
    return Requests(
        np.cumsum(rng.exponential(1 / rate, count)),
        rng.integers(1, 80, count).astype(np.int32),
        rng.integers(1, 30, count).astype(np.int32),
    )


@pytest.mark.parametrize("rate", [1.0, 4.0, 12.0])
def test_it_makes_no_difference_in_how_many_steps_the_time_passes(rate: float) -> None:
    every = _many(3000, rate)
    until = float(every.arrival_s[-1]) + 20
    of = model(itl_s=(0.05, 0.05, 0.07, 0.1), kv_tokens=300)
    whole, steps, again = (engines(of, replicas=3) for _ in range(3))
    whole.run(every, until)
    again.run(every, until)
    edges = [*np.arange(0.7, until, 0.7).tolist(), until]
    cuts = [0, *np.searchsorted(every.arrival_s, edges).tolist()]
    for index, edge in enumerate(edges):
        part = slice(cuts[index], cuts[index + 1])
        steps.run(Requests(every.arrival_s[part], every.prompt[part], every.output[part]), edge)
    first, second, third = (fleet.tally() for fleet in (whole, again, steps))
    assert (first.sum_ttft, first.sum_itl) == (second.sum_ttft, second.sum_itl)
    # Replicas are brought up to date in another order, so that sums are rounded otherwise.
    assert (third.sum_ttft, third.sum_itl) == pytest.approx((first.sum_ttft, first.sum_itl), 1e-12)
    for other in (second, third):
        assert (other.met, other.finished, other.lost) == (first.met, first.finished, first.lost)
        assert np.array_equal(other.ttft.counts, first.ttft.counts)
        assert np.array_equal(other.itl.counts, first.itl.counts)
    assert first.finished > 500


def test_waiting_for_a_prefill_follows_the_formula_for_constant_service_times() -> None:
    # M/D/1: the mean wait is load * service / (2 * (1 - load)) (Pollaczek and Khinchine).
    rng = np.random.default_rng(3)
    count, load, service_s = 400_000, 0.7, 0.5
    arrivals = np.cumsum(rng.exponential(service_s / load, count))
    ones = np.ones(count, np.int32)
    fleet = engines(model(most_waiting=1000))
    fleet.run(Requests(arrivals, 50 * ones, ones), float(arrivals[-1]) + 100)
    tally = fleet.tally()
    expected = service_s + load * service_s / (2 * (1 - load))
    assert tally.sum_ttft / tally.finished == pytest.approx(expected, rel=0.02)


def test_two_draws_balance_better_than_one_and_use_every_replica() -> None:
    every = _many(20_000, 24.0)
    fleet = engines(model(itl_s=(0.01, 0.01, 0.012), token_s=0.001), replicas=4)
    shares = np.zeros(4)
    for step in range(600):
        first, last = np.searchsorted(every.arrival_s, [step, step + 1.0])
        part = slice(int(first), int(last))
        fleet.run(
            Requests(every.arrival_s[part], every.prompt[part], every.output[part]), step + 1.0
        )
        shares += [fleet.busy(slot) for slot in range(4)]
    assert shares.min() > 0.9 * shares.mean()
