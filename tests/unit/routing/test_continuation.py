"""Continuation: what goes on elsewhere, what is generated again, what stays, what fails."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.routing.continuation import (
    MARGIN_S,
    Decision,
    Seam,
    Traits,
    Way,
    next_look,
    on_death,
    on_drain,
)

BUDGET = ("thinking_token_budget",)


def traits() -> st.SearchStrategy[Traits]:
    return st.builds(
        Traits,
        sampled=st.booleans(),
        seeded=st.booleans(),
        history=st.sampled_from([(), BUDGET, ("bad_words", "thinking_token_budget")]),
        streamed=st.booleans(),
    )


@pytest.mark.parametrize(
    ("of", "way"),
    [
        (Traits(), Way.CONTINUE),
        (Traits(streamed=False), Way.CONTINUE),
        (Traits(sampled=True), Way.CONTINUE),
        (Traits(seeded=True), Way.CONTINUE),  # greedy: the seed draws nothing
        (Traits(sampled=True, seeded=True), Way.REPLAY),
        (Traits(sampled=True, seeded=True, streamed=False), Way.RESTART),
        (Traits(history=BUDGET), Way.REPLAY),
        (Traits(history=BUDGET, streamed=False), Way.RESTART),
        (Traits(sampled=True, seeded=True, history=BUDGET), Way.REPLAY),
        (Traits(sampled=True, history=BUDGET), Way.FAIL),
        (Traits(sampled=True, history=BUDGET, streamed=False), Way.RESTART),
    ],
)
def test_ways(of: Traits, way: Way) -> None:
    assert on_death(of, sent=5, migrations=0, most=3).way is way


def test_the_reason_names_the_parameters() -> None:
    failed = on_death(Traits(sampled=True, history=("bad_words", *BUDGET)), 5, 0, 3)
    assert failed.reason == (
        "the replica that served this request was lost, and with it the state of bad_words and "
        "thinking_token_budget; send it again, with a seed or at temperature 0 if it is to survive "
        "such a loss"
    )
    replayed = on_death(Traits(sampled=True, seeded=True), 5, 0, 3)
    assert replayed.reason == "the state of seed was lost with the replica"
    assert on_death(Traits(), 5, 0, 3) == Decision(Way.CONTINUE)


def test_so_many_migrations_and_no_more() -> None:
    assert on_death(Traits(), 5, migrations=2, most=3).way is Way.CONTINUE
    over = on_death(Traits(), 5, migrations=3, most=3)
    assert over == Decision(
        Way.FAIL,
        "the replica that served this request was lost, and the request had moved 3 times before, "
        "as often as it may (routing.migrations: 3); send it again",
    )
    assert "requests do not move" in on_death(Traits(), 5, migrations=0, most=0).reason


@pytest.mark.parametrize("sent", [0, -1])
def test_what_has_not_begun_is_not_decided_here(sent: int) -> None:
    with pytest.raises(ValueError, match="has not begun"):
        on_death(Traits(), sent, 0, 3)


@settings(deadline=None)
@given(traits(), st.integers(1, 10_000), st.integers(0, 5), st.integers(0, 5))
def test_no_way_promises_what_it_cannot_keep(
    of: Traits, sent: int, migrations: int, most: int
) -> None:
    decided = on_death(of, sent, migrations, most)
    exact = not of.history and not (of.sampled and of.seeded)
    assert (decided.way is Way.FAIL) <= bool(decided.reason)
    if migrations >= most:
        assert decided.way is Way.FAIL
    elif decided.way is Way.CONTINUE:
        assert exact
    elif decided.way is Way.REPLAY:
        assert of.streamed
        assert of.seeded or not of.sampled
    elif decided.way is Way.RESTART:
        assert not of.streamed
    else:
        assert all(name in decided.reason for name in of.history)
        assert of.streamed
        assert not exact


def test_what_finishes_in_time_stays() -> None:
    def moves(expected_left: int, tokens_per_s: float | None, left_s: float) -> bool:
        return on_drain(
            Traits(), expected_left, tokens_per_s, left_s, migrations=0, most=3, margin_s=2.0
        )

    assert not moves(80, 10.0, 10.0)
    assert moves(81, 10.0, 10.0)
    assert not moves(0, 10.0, 2.1)  # it may end with any token
    assert moves(0, 10.0, 2.0)
    assert not moves(10_000, None, 60.0)
    assert moves(10, None, 11.9)
    assert moves(10, 0.0, 11.9)
    assert not moves(10_000, 1.0, float("inf"))


@settings(deadline=None)
@given(
    traits(),
    st.integers(-10, 10_000),
    st.none() | st.floats(0, 1_000),
    st.floats(-10, 1e6),
    st.integers(0, 4),
    st.integers(0, 4),
    st.floats(0, 10),
)
def test_only_what_can_be_continued_moves_and_all_of_it_before_the_end(
    of: Traits,
    expected_left: int,
    tokens_per_s: float | None,
    left_s: float,
    migrations: int,
    most: int,
    margin_s: float,
) -> None:
    moves = on_drain(
        of,
        expected_left,
        tokens_per_s,
        left_s,
        migrations=migrations,
        most=most,
        margin_s=margin_s,
    )
    can = on_death(of, 1, migrations, most).way is Way.CONTINUE
    if not can:
        assert not moves
    elif left_s <= margin_s:
        assert moves


@settings(deadline=None)
@given(
    st.floats(0, 300),
    st.floats(0, 10),
    st.lists(st.tuples(st.integers(0, 5_000), st.none() | st.floats(0, 200)), min_size=1),
)
def test_asked_as_told_a_request_is_moved_in_time(
    left_s: float, margin_s: float, guesses: list[tuple[int, float | None]]
) -> None:
    """Whatever is expected of it meanwhile, a request that never ends does not meet the stop."""
    looks = [left_s]
    while not on_drain(
        Traits(),
        *guesses[len(looks) % len(guesses)],
        looks[-1],
        migrations=0,
        most=1,
        margin_s=margin_s,
    ):
        looks.append(looks[-1] - next_look(looks[-1], margin_s))
        assert len(looks) < 30
    assert looks[-1] >= min(left_s, margin_s) - 1e-6
    assert all(later < earlier for earlier, later in pairwise(looks))


def test_looks_become_more_frequent_towards_the_end() -> None:
    assert next_look(22.0, 2.0) == 10.0
    assert next_look(MARGIN_S + 0.3) == 0.25
    assert next_look(MARGIN_S + 0.1) == pytest.approx(0.1)
    assert next_look(1.0) == 0.0


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 3), max_size=12),
    st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=8),
)
def test_a_seam_drops_what_was_sent_and_nothing_else(
    sent: list[int], parts: list[list[int]]
) -> None:
    seam = Seam(sent)
    came: list[int] = []
    new: list[int] = []
    for part in parts:
        came += part
        known = seam.known(part)
        common = min(len(came), len(sent))
        if came[:common] != sent[:common]:
            assert known is None
            return
        assert known is not None
        new += part[known:]
        assert seam.passed == (len(came) >= len(sent))
    assert new == came[len(sent) :]


def test_a_replay_that_is_another_answer() -> None:
    seam = Seam([1, 2, 3])
    assert seam.known([1]) == 1
    assert seam.known([2, 4]) is None
    assert seam.known([2, 3, 4]) == 2
    assert seam.passed
    assert seam.known([5]) == 0
