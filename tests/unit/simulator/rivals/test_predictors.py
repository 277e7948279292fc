import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaling.simulator.rivals.fits import auto_arima, prophet_curve, remembered
from autoscaling.simulator.rivals.fitted_predictors import ArimaPredictor, ProphetPredictor
from autoscaling.simulator.rivals.predictors import ConstantPredictor, KalmanPredictor, Predictor
from autoscaling.simulator.terms import Floats


def fed(predictor: Predictor, values: list[float]) -> list[float]:
    said = []
    for value in values:
        predictor.add(value)
        said.append(predictor.next())
    return said


def filtered(values: list[float]) -> list[float]:
    """The textbook's filter in matrices, with Dynamo's defaults."""
    move = np.array([[1.0, 1.0], [0.0, 1.0]])
    look = np.array([[1.0, 0.0]])
    noise = np.diag([1.0, 0.1])
    state, spread = np.array([values[0], 0.0]), 1000.0 * np.eye(2)
    said = [float((move @ state)[0])]
    for value in values[1:]:
        state, spread = move @ state, move @ spread @ move.T + noise
        gain = spread @ look.T / (look @ spread @ look.T + 10.0)
        state = state + (gain * (value - look @ state)).ravel()
        spread = (np.eye(2) - gain @ look) @ spread
        said.append(float((move @ state)[0]))
    return said


def test_constant_says_the_last_value() -> None:
    assert fed(ConstantPredictor(), [3.0, 7.0, 0.0]) == [3.0, 7.0, 0.0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(100, 10_000), min_size=2, max_size=30))
def test_kalman_is_the_textbook_filter(values: list[float]) -> None:
    expected = [max(0.0, value) for value in filtered(values)]
    assert fed(KalmanPredictor(), values) == pytest.approx(expected, rel=1e-6, abs=1e-3)


def test_kalman_follows_a_trend_one_step_ahead() -> None:
    values = [100.0 + 20.0 * step for step in range(60)]
    assert fed(KalmanPredictor(), values)[-1] == pytest.approx(100.0 + 20.0 * 60, abs=0.5)


def test_kalman_is_never_below_zero() -> None:
    assert min(fed(KalmanPredictor(), [900.0, 600.0, 300.0, 10.0, 0.0, 0.0])) >= 0.0


@pytest.mark.parametrize("make", [ConstantPredictor, KalmanPredictor])
def test_what_is_no_number_is_no_load(make: type[ConstantPredictor | KalmanPredictor]) -> None:
    broken, whole = make(), make()
    assert fed(broken, [5.0, float("nan"), 5.0]) == fed(whole, [5.0, 0.0, 5.0])


def test_zeros_before_the_first_load_are_left_out() -> None:
    late = fed(KalmanPredictor(), [0.0, 0.0, 50.0, 60.0])
    assert late[2:] == fed(KalmanPredictor(), [50.0, 60.0])
    arima = ArimaPredictor(lambda values: lambda later: float(len(later)))
    assert fed(arima, [0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0])[-1] == 5.0


def test_until_five_numbers_the_last_one_is_said_again() -> None:
    arima = ArimaPredictor(lambda values: lambda later: -7.0)
    assert fed(arima, [1.0, 2.0, 3.0, 4.0, 5.0]) == [1.0, 2.0, 3.0, 4.0, 0.0]
    prophet = ProphetPredictor(lambda values, step_s, count: np.full(count, 42.0))
    assert fed(prophet, [1.0, 2.0, 3.0, 4.0, 5.0]) == [1.0, 2.0, 3.0, 4.0, 42.0]


def test_an_order_stands_until_it_is_chosen_anew() -> None:
    fits: list[int] = []

    def fit(values: Floats) -> object:
        fits.append(len(values))
        return lambda later: float(later.mean())

    arima = ArimaPredictor(fit, window=8, refit_every=4)  # type: ignore[arg-type]
    fed(arima, [float(value) for value in range(1, 18)])
    assert fits == [5, 8, 8, 8]


def test_prophet_is_fitted_to_the_last_numbers_each_time() -> None:
    spans: list[tuple[int, float, int]] = []

    def fit(values: Floats, step_s: float, count: int) -> Floats:
        spans.append((len(values), step_s, count))
        return np.arange(count, dtype=np.float64) + float(values[-1])

    each = ProphetPredictor(fit, 180.0, window=6)
    fed(each, [float(value) for value in range(1, 10)])
    assert spans == [(5, 180.0, 1), *[(6, 180.0, 1)] * 4]
    spans.clear()
    third = ProphetPredictor(fit, 180.0, window=6, refit_every=3)
    assert fed(third, [5.0] * 8)[4:] == [5.0, 6.0, 7.0, 5.0]
    assert spans == [(5, 180.0, 3), (6, 180.0, 3)]


def test_a_remembered_fit_is_not_made_twice() -> None:
    made: list[float] = []

    def fit(values: Floats, step_s: float, count: int) -> Floats:
        made.append(step_s)
        return values[-1:] + 1

    once = remembered(fit)
    values = np.arange(6, dtype=np.float64)
    assert once(values, 180.0, 1).tolist() == once(values.copy(), 180.0, 1).tolist() == [6.0]
    once(values[1:], 180.0, 1)
    assert len(made) == 2


def test_arima_finds_what_comes_next() -> None:
    # An autoregression about 100: what follows a high value is lower.
    random = np.random.Generator(np.random.PCG64(1))
    values = [100.0]
    for noise in random.normal(0, 3, 160).tolist():
        values.append(100 + 0.6 * (values[-1] - 100) + noise)
    one_step = auto_arima(np.array(values, dtype=np.float64))
    after_high = one_step(np.array([*values, 130.0], dtype=np.float64))
    after_low = one_step(np.array([*values, 70.0], dtype=np.float64))
    assert 105 < after_high < 128
    assert 72 < after_low < 95


@pytest.mark.filterwarnings("ignore")  # Of the libraries, on import.
def test_prophet_follows_a_trend() -> None:
    values = np.linspace(100.0, 158.0, 30)
    curve = prophet_curve(values, 180.0, 2)
    assert curve == pytest.approx([160.0, 162.0], rel=0.03)
