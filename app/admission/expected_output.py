"""How many tokens an answer will probably have: a running quantile of what answers had.

For every (tenant, model, task) one number is followed, the `quantile` (tau) of the lengths of its
answers, without keeping the lengths. It is a stochastic approximation after Robbins and Monro, "A
Stochastic Approximation Method" (Annals of Mathematical Statistics 22, 1951), on the logarithm of
the length, because lengths differ by factors. With x the logarithm of a length and q the estimate,

    q  <-  q + gain * (tau - [x <= q])

The expected step is 0 exactly where a share tau of the answers is no longer than q. The gain is

    gain = (s / phi(z)) * max(1 / (n + PRIOR_WEIGHT), 1 / memory)

n: answers seen; s: running spread (standard deviation) of x; z, phi: quantile and density of the
standard normal distribution at tau. s / phi(z) is one over the density of a normal x at its
quantile, with which the procedure is as good as sorting all lengths (Tierney, "A Space-Efficient
Recursive Procedure for Estimating a Quantile of an Unknown Distribution", SIAM Journal on
Scientific and Statistical Computing 4, 1983). That the gain never falls below 1 / memory lets the
estimate follow a drift.

An answer that `max_tokens` or a leaving client cut off at c says that it would have been longer.
Where c >= q that is all that needs to be known, and the step is the one above. Where c < q, the
answer might have ended on either side of q; it is given to both in proportion, as the "redistribute
to the right" estimators for censored data do (Efron, "The Two Sample Problem with Censored Data",
Fifth Berkeley Symposium, 1967):

    q  <-  q + gain * F(c) * (1 - tau) / (1 - F(c)),    F the normal distribution of x

Left out, such answers would pull the estimate down, since only the short ones end by themselves.

While a key has few answers, its estimate is mixed with that of its (model, task) over all tenants,
and that one with the prior.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from math import ceil, exp, log
from statistics import NormalDist
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)

_PRIOR_WEIGHT = 8.0  # answers that what is known beforehand is worth
_FIRST_SPREAD = 1.0  # in logarithms: answers of one task differ by a factor of e or so
_LEAST_SPREAD = 0.05  # keeps the gain above 0 where every answer has had the same length
_MOST_SPREAD = 3.0
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class ExpectedOutputSettings:
    """What is expected, and how fast it is learnt."""

    quantile: float = 0.75
    """The share of answers that should be no longer than expected, between 0 and 1."""
    prior_tokens: int = 128
    """What to expect while nothing is known, in tokens."""
    max_keys: int = 10_000
    """How many (tenant, model, task) to remember, and as many (model, task)."""
    memory: int = 100
    """About how many of the last answers count."""
    most_tokens: int = 32_768
    """No answer is expected to be longer, in tokens."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work.

        Raises:
            ValueError: a setting is out of its range; the message names it.
        """
        if not 0 < self.quantile < 1:
            raise ValueError(f"quantile must be between 0 and 1, not {self.quantile}")
        for name in ("prior_tokens", "max_keys", "memory", "most_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


class _Estimate:
    """The running quantile of one key, in logarithms."""

    __slots__ = ("centre", "deviation", "seen", "value")

    def __init__(self, value: float) -> None:
        self.value = value
        self.seen = 0
        self.centre = value
        self.deviation = _FIRST_SPREAD

    def mixed_with(self, known: float) -> float:
        """The estimate, or what was known beforehand while little has been seen."""
        return known + (self.value - known) * self.seen / (self.seen + _PRIOR_WEIGHT)


class _Recent(Generic[_Key]):
    """Estimates by key, of which the least recently used is forgotten first."""

    __slots__ = ("_estimates", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._estimates: OrderedDict[_Key, _Estimate] = OrderedDict()

    def __len__(self) -> int:
        return len(self._estimates)

    def get(self, key: _Key) -> _Estimate | None:
        found = self._estimates.get(key)
        if found is not None:
            self._estimates.move_to_end(key)
        return found

    def get_or_start(self, key: _Key, value: float) -> _Estimate:
        found = self.get(key)
        if found is None:
            found = self._estimates[key] = _Estimate(value)
            if len(self._estimates) > self._most:
                self._estimates.popitem(last=False)
        return found


class ExpectedOutput:
    """The expected output of requests, by tenant, model and task, learnt as answers end.

    A prediction or an observation takes some microseconds, whatever has been seen before.
    """

    __slots__ = ("_by_task", "_by_tenant", "_gain", "_prior", "_settings", "_z")

    def __init__(self, settings: ExpectedOutputSettings | None = None) -> None:
        self._settings = settings or ExpectedOutputSettings()
        self._prior = log(min(self._settings.prior_tokens, self._settings.most_tokens))
        self._z = _NORMAL.inv_cdf(self._settings.quantile)
        self._gain = 1.0 / _NORMAL.pdf(self._z)
        self._by_task: _Recent[tuple[str, str]] = _Recent(self._settings.max_keys)
        self._by_tenant: _Recent[tuple[str, str, str]] = _Recent(self._settings.max_keys)

    def __len__(self) -> int:
        """How many (tenant, model, task) are remembered."""
        return len(self._by_tenant)

    def predict(self, tenant: str, model: str, task: str, max_tokens: int | None) -> int:
        """What to expect of a request.

        Args:
            tenant: who asks.
            model: the model asked.
            task: the kind of task.
            max_tokens: the longest answer that the request allows, in tokens; None for no limit.

        Returns:
            The expected output in tokens: at least 1, at most `max_tokens` (where that is 1 or
            more) and at most `most_tokens`.
        """
        expected = self._expected_of_task(model, task)
        own = self._by_tenant.get((tenant, model, task))
        if own is not None:
            expected = own.mixed_with(expected)
        # Rounded before it is raised, lest 128 come back from its logarithm as 129.
        tokens = ceil(round(exp(expected), 6))
        if max_tokens is not None:
            tokens = min(tokens, max_tokens)
        return max(1, min(tokens, self._settings.most_tokens))

    def observe(
        self, tenant: str, model: str, task: str, generated: int, stopped_by_limit: bool
    ) -> None:
        """Learns from an answer that has ended.

        Args:
            tenant: who asked.
            model: the model that answered.
            task: the kind of task.
            generated: the tokens that were generated; fewer than 1 counts as 1.
            stopped_by_limit: whether the answer was cut off and would have been longer: by
                `max_tokens`, by the end of the context, or because its client left.
        """
        length = log(min(max(generated, 1), self._settings.most_tokens))
        by_task = self._by_task.get_or_start((model, task), self._prior)
        expected = by_task.mixed_with(self._prior)
        own = self._by_tenant.get_or_start((tenant, model, task), expected)
        for estimate in (by_task, own):
            self._learn(estimate, length, stopped_by_limit)

    def _expected_of_task(self, model: str, task: str) -> float:
        found = self._by_task.get((model, task))
        return self._prior if found is None else found.mixed_with(self._prior)

    def _learn(self, estimate: _Estimate, length: float, cut_off: bool) -> None:
        quantile, memory = self._settings.quantile, self._settings.memory
        # A mean absolute deviation is 0.8 standard deviations of a normal distribution.
        spread = min(max(estimate.deviation * 1.2533, _LEAST_SPREAD), _MOST_SPREAD)
        rate = max(1.0 / (estimate.seen + _PRIOR_WEIGHT), 1.0 / memory)
        below_value = length < estimate.value
        if cut_off and below_value:
            below = _NORMAL.cdf(self._z + (length - estimate.value) / spread)
            step = below * (1.0 - quantile) / (1.0 - below)
        else:
            step = quantile - (0.0 if cut_off or length > estimate.value else 1.0)
            estimate.deviation += rate * (abs(length - estimate.centre) - estimate.deviation)
            estimate.centre += rate * (length - estimate.centre)
        value = estimate.value + self._gain * spread * rate * step
        estimate.value = min(max(value, 0.0), log(self._settings.most_tokens))
        estimate.seen += 1
