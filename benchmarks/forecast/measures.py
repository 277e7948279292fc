"""How good forecasts were, and how sure that is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscaling.forecast.terms import QUANTILES
from benchmarks.forecast.replay import (
    CALIBRATED,
    HORIZONS,
    OURS,
    PLAIN,
    STEP_S,
    TEST_FROM,
    Replayed,
)

Numbers = NDArray[np.float64]
_DAY_BINS = 144
_RESAMPLES = 10_000
_PINBALL = (0.5, 0.9, 0.95)
COVERED = (88.0, 92.0)
"""Percent of the time that demand should be within P90."""


def measure(replayed: Replayed, every: int) -> dict[str, Any]:
    """Every measure of every model, by horizon in minutes.

    Args:
        replayed: What was forecast.
        every: Bins between two origins.
    """
    # As in the notes: the last hourly origin is left out.
    origins = np.arange(TEST_FROM, len(replayed.values) - max(HORIZONS), every)
    cells = {}
    for place, step in enumerate(HORIZONS):
        came = replayed.values[origins + step - 1]
        kept = {name: all_of[origins - TEST_FROM, place] for name, all_of in
                replayed.forecasts.items()}  # fmt: skip
        # Where one model has nothing to say at all it is left out; single gaps count for nobody.
        kept = {name: said for name, said in kept.items() if np.isfinite(said).mean() > 0.9}
        known = np.isfinite(came) & np.all([np.isfinite(s[:, 0]) for s in kept.values()], axis=0)
        days = (origins[known] - TEST_FROM) // _DAY_BINS
        told = {name: said[known] for name, said in kept.items()}
        cells[f"{step * STEP_S / 60:.0f}"] = _cell(came[known], told, days)
    return cells


def pinball(came: Numbers, said: Numbers, quantile: float) -> Numbers:
    """Pinball loss of each forecast."""
    error = came - said[:, QUANTILES.index(quantile)]
    return np.maximum(quantile * error, (quantile - 1.0) * error)


def _cell(came: Numbers, said: dict[str, Numbers], days: Numbers) -> dict[str, Any]:
    mean = float(came.mean())
    reference = np.abs(came - said[PLAIN][:, 0]).mean()
    models = {}
    for name, quantiles in said.items():
        median, p90 = quantiles[:, 0], quantiles[:, 1]
        within = (came <= p90).astype(np.float64)
        models[name] = {
            "wape": 100 * float(np.abs(came - median).mean()) / mean,
            "bias": 100 * float((median - came).mean()) / mean,
            "mase": float(np.abs(came - median).mean() / reference),
            **{
                f"pinball_{level:g}": 100 * float(pinball(came, quantiles, level).mean()) / mean
                for level in _PINBALL
            },
            "covered": 100 * float(within.mean()),
            "covered_interval": [100 * bound for bound in _interval(within, days)],
            "width": 100 * float((p90 - median).mean()) / mean,
        }
    ours = said[OURS]
    against = {}
    for name in (PLAIN, CALIBRATED):
        losses = {
            "wape": np.abs(came - ours[:, 0]) - np.abs(came - said[name][:, 0]),
            **{
                f"pinball_{level:g}": pinball(came, ours, level) - pinball(came, said[name], level)
                for level in _PINBALL
            },
        }
        against[name] = {
            key: {
                "difference": 100 * float(loss.mean()) / mean,
                "interval": [100 * bound / mean for bound in _interval(loss, days)],
            }
            for key, loss in losses.items()
        }
    return {"origins": len(came), "models": models, "against": against}


def _interval(values: Numbers, days: Numbers) -> tuple[float, float]:
    """95% interval of a mean, by resampling whole days: errors of one day go together."""
    dice = np.random.default_rng(7)
    present = np.unique(days)
    sums = np.array([values[days == day].sum() for day in present])
    counts = np.array([(days == day).sum() for day in present])
    drawn = dice.integers(0, len(present), (_RESAMPLES, len(present)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def verdicts(cells: dict[str, Any]) -> dict[str, bool]:
    """Whether each goal is met in a cell."""
    ours = cells["models"][OURS]
    plain, calibrated = cells["against"][PLAIN], cells["against"][CALIBRATED]
    return {
        "not behind the last value beyond noise": all(
            one["interval"][0] <= 0 for one in [*plain.values(), *calibrated.values()]
        ),
        "ahead of the last value in pinball 0.9": plain["pinball_0.9"]["difference"] < 0,
        "ahead of the calibrated last value in pinball 0.9": (
            calibrated["pinball_0.9"]["difference"] < 0
        ),
        "P90 covers 88 to 92%": COVERED[0] <= ours["covered"] <= COVERED[1],
    }
