"""Cases whose times can be reckoned by hand."""

import numpy as np
import pytest

from app.errors import SimulationError
from autoscaling.simulator.engine import Engines
from autoscaling.simulator.terms import Requests
from tests.unit.simulator.engine.models import SLO, engines, model, requests


def test_one_request_takes_its_prefill_and_a_step_for_each_further_token() -> None:
    fleet = engines()
    fleet.run(requests((1.0, 50, 11)), 10.0)
    tally = fleet.tally()
    assert (tally.arrived, tally.finished, tally.met) == (1, 1, 1)
    assert tally.sum_ttft == pytest.approx(0.5)
    assert tally.sum_itl == pytest.approx(0.1)
    assert (tally.prompt_tokens, tally.output_tokens) == (50, 11)
    assert fleet.loads().kv_use == 0


def test_an_answer_of_one_token_ends_with_its_prefill() -> None:
    fleet = engines()
    fleet.run(requests((0.0, 100, 1)), 1.0)
    tally = fleet.tally()
    assert (tally.finished, tally.itl_count) == (1, 0)
    assert tally.sum_ttft == pytest.approx(1.0)


def test_two_sequences_share_their_steps() -> None:
    # The prompts take 0.01 and no time; from then on both get a token each 0.2 s.
    fleet = engines(model(token_s=1e-9))
    fleet.run(requests((0.0, 1, 11), (0.0, 1, 6)), 60.0)
    # The shorter: 5 tokens in 1.0 s. The longer: 5 in 1.0 s and 5 in 0.5 s.
    assert fleet.tally().sum_itl == pytest.approx(1.0 / 5 + 1.5 / 10, rel=1e-6)


def test_a_prompt_is_read_in_chunks_while_others_decode() -> None:
    fleet = engines()
    fleet.run(requests((0.0, 10, 901), (0.2, 50, 1)), 1.201)
    # 5 chunks of 10 tokens: each takes 0.1 s by itself and the 0.1 s of the step beside it.
    tally = fleet.tally()
    assert tally.finished == 1
    assert tally.sum_ttft == pytest.approx(1.0)
    # The first had 1 token from its prefill, 1 in the 0.1 s alone, and 5 since.
    assert fleet.loads().outstanding_tokens == pytest.approx(901 - 7.01)


def test_prompts_are_read_one_after_the_other() -> None:
    fleet = engines()
    fleet.run(requests((0.0, 50, 1), (0.0, 50, 1), (0.1, 50, 1)), 5.0)
    assert fleet.tally().sum_ttft == pytest.approx(0.5 + 1.0 + 1.4)


def test_a_request_waits_until_its_whole_answer_fits_into_the_cache() -> None:
    fleet = engines(model(kv_tokens=100))
    fleet.run(requests((0.0, 50, 11), (0.0, 40, 10), (0.0, 1, 1)), 1.0)
    assert (fleet.loads().running, fleet.loads().waiting) == (1, 2)
    assert fleet.loads().kv_use == pytest.approx(0.61)
    fleet.run(requests(), 1.6)
    # The first ended after 0.5 + 10 * 0.1 s.
    assert (fleet.loads().running, fleet.loads().waiting) == (1, 1)


def test_no_more_sequences_are_computed_than_a_replica_has_places() -> None:
    fleet = engines(model(token_s=1e-6))
    fleet.run(requests(*[(0.0, 1, 100)] * 5), 1.0)
    assert (fleet.loads().running, fleet.loads().waiting) == (2, 3)


def test_what_is_longer_than_the_cache_is_refused_at_once() -> None:
    fleet = engines(replicas=0)
    fleet.run(requests((0.0, 990, 11)), 1.0)
    assert fleet.tally().refused == 1


def test_requests_without_a_replica_wait_for_one_and_are_given_up_in_the_end() -> None:
    fleet = engines(replicas=0, patience_s=5.0)
    fleet.run(requests((0.0, 10, 1), (3.0, 10, 1)), 5.0)
    assert (fleet.loads().queued, fleet.loads().queued_tokens) == (2, 22)
    fleet.add(6.0)
    fleet.run(requests(), 10.0)
    tally = fleet.tally()
    assert (tally.lost, tally.finished, tally.queued_ever) == (1, 1, 2)
    assert tally.sum_ttft == pytest.approx(3.1)


def test_the_queue_is_bounded() -> None:
    fleet = engines(replicas=0, queue_most=2)
    fleet.run(requests(*[(0.0, 10, 1)] * 3), 1.0)
    assert (fleet.tally().refused, fleet.loads().queued) == (1, 2)


def test_the_queue_is_served_at_the_moment_that_room_appears() -> None:
    fleet = engines(model(most_waiting=1))
    fleet.run(requests(*[(0.0, 50, 1)] * 4), 10.0)
    tally = fleet.tally()
    assert tally.queued_ever == 2
    assert tally.sum_ttft == pytest.approx(0.5 + 1.0 + 1.5 + 2.0)


def test_without_places_to_wait_a_replica_takes_what_it_can_begin_with() -> None:
    fleet = engines(model(most_waiting=0, kv_tokens=200))
    fleet.run(requests((0.0, 50, 1), (0.0, 50, 101), (0.0, 100, 50), (0.0, 10, 1)), 2.0)
    # The third does not fit beside the second, and the fourth does not overtake it.
    assert (fleet.loads().running, fleet.loads().waiting, fleet.loads().queued) == (1, 0, 2)
    fleet.run(requests(), 60.0)
    assert fleet.tally().finished == 4


def test_a_dead_replicas_requests_go_on_elsewhere_with_what_they_had() -> None:
    fleet = engines()
    fleet.run(requests((0.0, 50, 21)), 1.05)
    # 0.5 s of prefill and 5.5 steps: 6 tokens are there, one is half done.
    assert fleet.remove(0) == 1
    assert (fleet.loads().queued, fleet.loads().queued_tokens) == (1, 71)
    fleet.run(requests(), 2.0)
    slot = fleet.add(2.0)
    fleet.run(requests(), 60.0)
    tally = fleet.tally()
    assert (slot, tally.retried, tally.finished, tally.lost) == (0, 1, 1, 0)
    assert (tally.prompt_tokens, tally.output_tokens) == (50, 21)
    assert tally.sum_ttft == pytest.approx(0.5)
    # 56 tokens are read again from 2.0 on, which gives the 7th; 14 steps follow.
    assert tally.sum_itl == pytest.approx((2.0 + 0.56 + 1.4 - 0.5) / 20)


def test_moved_requests_go_before_those_that_wait() -> None:
    fleet = engines(model(most_waiting=0))
    fleet.run(requests((0.0, 50, 1), (0.1, 20, 1)), 0.2)
    fleet.remove(0)
    fleet.add(0.2)
    fleet.run(requests(), 0.75)
    assert fleet.tally().sum_ttft == pytest.approx(0.7)


def test_a_request_that_was_moved_three_times_is_lost_at_the_fourth() -> None:
    fleet = engines()
    fleet.run(requests((0.0, 900, 100)), 1.0)
    for at in (1.0, 2.0, 3.0):
        fleet.remove(0)
        fleet.add(at)
        fleet.run(requests(), at + 1)
    assert (fleet.tally().retried, fleet.tally().lost) == (3, 0)
    assert fleet.remove(0) == 1
    assert (fleet.tally().retried, fleet.tally().lost) == (3, 1)
    assert fleet.loads().queued == 0


def test_a_closed_replica_finishes_what_it_has_and_takes_no_more() -> None:
    fleet = engines(patience_s=1.0)
    fleet.run(requests((0.0, 50, 11)), 0.1)
    fleet.close(0)
    fleet.run(requests((0.2, 10, 1)), 10.0)
    tally = fleet.tally()
    assert (tally.finished, tally.lost, fleet.busy(0)) == (1, 1, 0)
    assert fleet.remove(0) == 0


def test_a_replica_that_is_closed_before_it_opens_never_does() -> None:
    fleet = engines(replicas=0)
    slot = fleet.add(5.0)
    fleet.close(slot)
    fleet.run(requests((0.0, 10, 1)), 10.0)
    assert fleet.tally().finished == 0


def test_the_less_loaded_of_two_is_chosen() -> None:
    together = 0
    for seed in range(400):
        fleet = engines(replicas=2, most=2, seed=seed)
        fleet.run(requests((0.0, 100, 800), (0.1, 10, 10)), 0.11)
        assert fleet.busy(0) + fleet.busy(1) == 2
        together += max(fleet.busy(0), fleet.busy(1)) == 2
    # Only where both draws fall on the busy one.
    assert together / 400 == pytest.approx(0.25, abs=0.07)


def test_slots_are_told_apart_and_used_again() -> None:
    fleet = engines(replicas=4)
    with pytest.raises(SimulationError, match="there are 4 replicas"):
        fleet.add(0.0)
    fleet.remove(2)
    for broken in (fleet.busy, fleet.close, fleet.remove):
        with pytest.raises(SimulationError, match="slot 2"):
            broken(2)
        with pytest.raises(SimulationError, match="slot -1"):
            broken(-1)
    assert fleet.add(0.0) == 2


@pytest.mark.parametrize(
    ("rows", "until"),
    [
        ([(1.0, 1, 1), (0.5, 1, 1)], 2.0),
        ([(2.0, 1, 1)], 2.0),
        ([(-0.1, 1, 1)], 2.0),
        ([(float("nan"), 1, 1)], 2.0),
        ([(0.0, 0, 1)], 2.0),
        ([(0.0, 1, 0)], 2.0),
        ([(0.0, -5, 1)], 2.0),
    ],
)
def test_requests_that_are_none_are_refused_before_any_is_served(
    rows: list[tuple[float, int, int]], until: float
) -> None:
    fleet = engines()
    with pytest.raises(SimulationError, match=f"request {len(rows) - 1}"):
        fleet.run(requests(*rows), until)
    assert fleet.tally().arrived == 0


def test_time_does_not_go_back_and_columns_are_of_one_length() -> None:
    fleet = engines()
    fleet.run(requests(), 2.0)
    assert fleet.now_s == 2.0
    with pytest.raises(SimulationError, match="time goes on"):
        fleet.run(requests(), 1.0)
    one = np.ones(1, np.int32)
    with pytest.raises(SimulationError, match="of one length"):
        fleet.run(Requests(np.array([2.5]), one, np.ones(2, np.int32)), 3.0)


def test_arguments_out_of_range_are_named() -> None:
    with pytest.raises(SimulationError, match="1 to 4,096 replicas"):
        Engines(model(), 0, SLO, 1.0, 1)
    with pytest.raises(SimulationError, match="patience_s"):
        Engines(model(), 1, SLO, float("nan"), 1)
    with pytest.raises(SimulationError, match="lower max_seqs, most_waiting or queue_most"):
        Engines(model(), 1, SLO, 1.0, 1, queue_most=10**9)
