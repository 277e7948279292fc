"""Expected output: finds the quantile, follows it, is not fooled by cut-off answers, is bounded."""

from collections.abc import Callable
from math import exp, log
from random import Random
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.admission.expected_output import ExpectedOutput, ExpectedOutputSettings

Draw = Callable[[Random], float]


def lognormal(median: float, spread: float) -> Draw:
    return lambda random: random.lognormvariate(log(median), spread)


def fed(
    draw: Draw,
    count: int,
    *,
    core: ExpectedOutput | None = None,
    limit: Draw | None = None,
    seed: int = 1,
    quantile: float = 0.75,
) -> ExpectedOutput:
    """A core that has seen `count` answers of one key, cut off at `limit`."""
    core = core or ExpectedOutput(ExpectedOutputSettings(quantile=quantile))
    random = Random(seed)
    for _ in range(count):
        length = max(1, round(draw(random)))
        cut = length if limit is None else max(1, round(limit(random)))
        core.observe("tenant", "demo", "simple", min(length, cut), length > cut)
    return core


def expected(core: ExpectedOutput, tenant: str = "tenant", task: str = "simple") -> int:
    return core.predict(tenant, "demo", task, None)


@pytest.mark.parametrize("quantile", [0.5, 0.75, 0.9])
@pytest.mark.parametrize(("median", "spread"), [(20, 1.0), (200, 0.5), (200, 1.0), (3_000, 0.3)])
def test_finds_the_quantile_of_a_lognormal(median: float, spread: float, quantile: float) -> None:
    true = median * exp(spread * NormalDist().inv_cdf(quantile))
    errors = []
    for seed in range(10):
        core = fed(lognormal(median, spread), 400, seed=seed, quantile=quantile)
        errors.append(log(expected(core) / true))
    assert abs(sum(errors)) / len(errors) < 0.15 * spread + 0.02
    assert max(map(abs, errors)) < 0.7 * spread


def test_finds_the_quantile_of_two_kinds_of_answer() -> None:
    def draw(random: Random) -> float:
        short = random.random() < 0.6
        return random.lognormvariate(log(10 if short else 1_000), 0.3)

    true = 1_000 * exp(0.3 * NormalDist().inv_cdf((0.75 - 0.6) / 0.4))
    assert expected(fed(draw, 3_000)) == pytest.approx(true, rel=0.3)


def test_answers_that_are_all_alike() -> None:
    assert expected(fed(lambda random: 57, 300)) == pytest.approx(57, abs=2)


@pytest.mark.parametrize(("before", "after"), [(50, 800), (800, 50)])
def test_follows_a_drift(before: int, after: int) -> None:
    core = fed(lognormal(before, 0.5), 1_000)
    fed(lognormal(after, 0.5), 600, core=core)
    assert expected(core) == pytest.approx(after * exp(0.5 * 0.6745), rel=0.35)


@pytest.mark.parametrize(
    "limit",
    [
        lambda random: 400,
        lambda random: 100 if random.random() < 0.6 else 10_000,
        lambda random: 16 if random.random() < 0.6 else 10_000,
        lambda random: random.lognormvariate(log(100), 1.0),
    ],
    ids=["all above", "most below", "most far below", "anywhere"],
)
def test_answers_cut_off_do_not_bias_it(limit: Draw) -> None:
    true = 200 * exp(0.7 * 0.6745)
    errors = [
        log(expected(fed(lognormal(200, 0.7), 1_000, limit=limit, seed=seed)) / true)
        for seed in range(10)
    ]
    assert abs(sum(errors)) / len(errors) < 0.15


def test_the_prior_while_nothing_is_known() -> None:
    core = ExpectedOutput(ExpectedOutputSettings(prior_tokens=128))
    assert expected(core) == 128
    core.observe("tenant", "demo", "code", 4_000, False)
    assert expected(core) == 128  # another task


def test_one_answer_moves_it_a_little() -> None:
    core = ExpectedOutput()
    core.observe("tenant", "demo", "simple", 4_000, False)
    assert 128 < expected(core) < 400


def test_a_new_tenant_starts_from_what_others_had() -> None:
    core = fed(lognormal(1_000, 0.3), 500)
    of_all = expected(core, tenant="newcomer")
    assert of_all == pytest.approx(expected(core), rel=0.2)
    for _ in range(200):
        core.observe("newcomer", "demo", "simple", 30, False)
    assert expected(core, tenant="newcomer") < 40
    assert expected(core) > 1_000


def test_a_model_has_its_own_answers() -> None:
    core = fed(lognormal(1_000, 0.3), 500)
    assert core.predict("tenant", "other", "simple", None) == 128


def test_keys_are_bounded_and_the_least_used_is_forgotten() -> None:
    core = ExpectedOutput(ExpectedOutputSettings(max_keys=3, prior_tokens=10))
    for tenant in ("kept", "a", "b", "c", "d"):
        for _ in range(100):
            core.observe(tenant, f"model of {tenant}", "simple", 5_000, False)
        core.predict("kept", "model of kept", "simple", None)
    assert len(core) == 3
    assert core.predict("kept", "model of kept", "simple", None) > 4_000
    assert core.predict("a", "model of a", "simple", None) == 10


def test_asking_remembers_nothing() -> None:
    core = ExpectedOutput()
    expected(core)
    assert len(core) == 0


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.one_of(st.integers(-5, 40_000), st.integers(0, 10**12)),
            st.booleans(),
        ),
        max_size=60,
    ),
    st.one_of(st.none(), st.integers(-1, 100_000)),
    st.floats(0.01, 0.99),
    st.integers(1, 100_000),
)
def test_always_within_its_bounds(
    answers: list[tuple[str, int, bool]],
    max_tokens: int | None,
    quantile: float,
    prior: int,
) -> None:
    core = ExpectedOutput(ExpectedOutputSettings(quantile=quantile, prior_tokens=prior))
    for tenant, generated, cut_off in answers:
        core.observe(tenant, "demo", "simple", generated, cut_off)
        for asker in ("a", "b", "c"):
            tokens = core.predict(asker, "demo", "simple", max_tokens)
            assert 1 <= tokens <= 32_768
            if max_tokens is not None and max_tokens >= 1:
                assert tokens <= max_tokens


@settings(deadline=None)
@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=80))
def test_stays_between_the_prior_and_what_was_seen(answers: list[int]) -> None:
    core = ExpectedOutput(ExpectedOutputSettings(prior_tokens=128, memory=50))
    for generated in answers:
        core.observe("tenant", "demo", "simple", generated, False)
    low, high = min(*answers, 128), max(*answers, 128)
    # A step may pass what it goes towards, but only by a part of its spread.
    assert low / 4 <= expected(core) <= high * 4


@settings(deadline=None)
@given(st.integers(1, 10_000))
def test_a_cut_off_answer_never_lowers_it(generated: int) -> None:
    core = fed(lognormal(200, 0.5), 50)
    before = expected(core)
    core.observe("tenant", "demo", "simple", generated, True)
    assert expected(core) >= before


def test_an_answer_cut_off_at_what_was_expected_would_have_been_longer() -> None:
    core = ExpectedOutput(ExpectedOutputSettings(prior_tokens=100))
    core.observe("tenant", "demo", "simple", 100, True)
    assert expected(core) > 100


@pytest.mark.parametrize(
    "settings",
    [
        {"quantile": 0.0},
        {"quantile": 1.0},
        {"prior_tokens": 0},
        {"max_keys": 0},
        {"memory": 0},
        {"most_tokens": 0},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        ExpectedOutputSettings(**settings)
