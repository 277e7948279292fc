"""What a fleet is planned for, out of a record of requests."""

from __future__ import annotations

import numpy as np

from app.errors import TraceInvalid
from app.routing.size_class import SizeClass
from autoscaling.demand.terms import Work
from autoscaling.simulator.demand.own import RecordedWorkload
from autoscaling.simulator.terms import Floats, Ints

BIN_S = 600.0
PEAK = 0.99
"""Quantile of the bins that is taken for the peak: the greatest of some days are chance."""


def recorded_work(
    demand: RecordedWorkload, what: str = "demand"
) -> dict[tuple[str, str], tuple[Work, Work]]:
    """Mean and peak of each tenant and size class, in tokens a second.

    The mean is over the whole record, whatever gaps it has; the peak is the 99th percentile of bins
    of 10 minutes, of prompts and outputs apart.

    Args:
        demand: What was recorded.
        what: What to call it in errors.

    Raises:
        TraceInvalid: Some requests are longer than the longest size class.
    """
    requests = demand.requests
    total = requests.prompt.astype(np.int64) + requests.output
    limits = np.array([size.limit for size in SizeClass])
    too_long = int((total > limits[-1]).sum())
    if too_long:
        raise TraceInvalid(
            what,
            0,
            f"{too_long:,} requests have more than {limits[-1]:,} tokens, which no size class "
            "takes; leave them out",
        )
    size_class = np.searchsorted(limits, total)
    begin = float(requests.arrival_s[0])
    span_s = max(BIN_S, float(requests.arrival_s[-1]) - begin)
    bins = ((requests.arrival_s - begin) // BIN_S).astype(np.int64)
    found = {}
    for index, tenant in enumerate(demand.tenants):
        for place, size in enumerate(SizeClass):
            chosen = (demand.tenant == index) & (size_class == place)
            if chosen.any():
                halves = [
                    _mean_and_peak(bins[chosen], half[chosen], int(bins[-1]) + 1, span_s)
                    for half in (requests.prompt, requests.output)
                ]
                (prompt, prompt_peak), (output, output_peak) = halves
                found[tenant, size.value] = Work(prompt, output), Work(prompt_peak, output_peak)
    return found


def _mean_and_peak(
    bins: np.ndarray[tuple[int, ...], np.dtype[np.int64]], tokens: Ints, count: int, span_s: float
) -> tuple[float, float]:
    rates: Floats = np.bincount(bins, weights=tokens, minlength=count) / BIN_S
    mean = float(tokens.sum(dtype=np.int64)) / span_s
    return mean, max(mean, float(np.quantile(rates, PEAK, method="higher")))
