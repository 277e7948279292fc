"""From how many tokens on a prompt is handed over from prefill to decode.

A prompt that a decode replica computes itself stalls the answers that run there for as long as it
takes; a hand-off makes the request wait for the transfer instead. So a prompt is handed over from
the length on at which computing it would take longer than a hand-off takes:

    threshold = hand-off time [s] * prefill rate of a decode replica [tokens/s]

Both are measured on the requests as they come. Queues only ever add time, so of the last `_WINDOW`
measurements of each not the mean but a low quantile of the time counts (of the rate, a high one):
while less than 4 in 5 requests were delayed, it is that of a request which was not, and it takes
no distribution for granted. As the window moves it follows what changes.

The threshold decides what is measured: no rate comes from prompts that are handed over, no
hand-off time from those that are not. Where one of the two has not been measured for `_PATIENCE`
requests, the threshold drifts its way, until a request is on the other side and is measured, or by
a factor of `_MOST_DRIFT`, which bounds what finding out may cost. A measurement ends the drift.
"""

from collections import deque
from collections.abc import Collection
from math import inf

_WINDOW = 64
_QUANTILE = 0.2
_ENOUGH = 8  # measurements, before which the prior counts
_PATIENCE = 64
_DRIFT = 1.02  # a request
_MOST_DRIFT = 4.0


class HandoffThreshold:
    """Decides for one disaggregated pool whether a prompt is handed over.

    Args:
        fixed: the threshold where the configuration sets one (0: always hand over); None: learn it.
        least: the shortest prompt that is handed over, in tokens, where the threshold is learned;
            shorter ones say nothing of the rate either, since what they take hardly depends on
            their length.
        most: from so many tokens on every prompt is handed over, whatever was learned.
        prior: the threshold while too little has been measured.

    Raises:
        ValueError: a threshold is out of its range; the message names it.
    """

    __slots__ = ("_fixed", "_handoffs", "_least", "_most", "_prefills", "_prior", "_unmeasured")

    def __init__(
        self, fixed: int | None = None, *, least: int = 64, most: int = 8_192, prior: int = 256
    ) -> None:
        if fixed is not None and fixed < 0:
            raise ValueError(f"fixed must be 0 or more tokens, not {fixed}")
        if not 1 <= least <= most:
            raise ValueError(f"least must be from 1 to most ({most}) tokens, not {least}")
        self._fixed = fixed
        self._least = least
        self._most = most
        self._prior = prior
        self._prefills: deque[float] = deque(maxlen=_WINDOW)  # seconds a token
        self._handoffs: deque[float] = deque(maxlen=_WINDOW)  # seconds
        self._unmeasured = 0  # prompts in a row: above 0 handed over, below 0 not

    @property
    def prefill_rate(self) -> float | None:
        """Prompt tokens a second that an undisturbed decode replica computes, once measured."""
        pace = _low(self._prefills)
        return None if pace is None else 1 / pace

    @property
    def handoff_s(self) -> float | None:
        """What an undisturbed hand-off takes, in seconds, once measured."""
        return _low(self._handoffs)

    @property
    def threshold(self) -> int:
        """Prompts of so many tokens and more are handed over now."""
        if self._fixed is not None:
            return self._fixed
        tokens = float(self._prior)
        if (rate := self.prefill_rate) is not None and (seconds := self.handoff_s) is not None:
            tokens = seconds * rate
        over = max(abs(self._unmeasured) - _PATIENCE, 0)
        # The power must not overflow.
        drift = min(_DRIFT ** min(over, 1_000), _MOST_DRIFT)
        tokens *= drift if self._unmeasured > 0 else 1 / drift
        return int(min(max(tokens, self._least), self._most))

    def wants(self, prompt_tokens: int) -> bool:
        """Whether a prompt of so many tokens is to be handed over."""
        return prompt_tokens >= self.threshold

    def prefilled(self, tokens: int, seconds: float) -> None:
        """Records a prompt that a decode replica has computed itself.

        Args:
            tokens: those of the prompt that it computed, without those that its prefix cache had.
            seconds: from sending the request to its first token.
        """
        if tokens >= self._least and 0 < seconds < inf:
            self._prefills.append(seconds / tokens)
            self._unmeasured = min(self._unmeasured, 0) - 1

    def handed_over(self, seconds: float) -> None:
        """Records a hand-off.

        Args:
            seconds: from sending the request to the decode replica, after prefill had finished, to
                its first token there.
        """
        if 0 < seconds < inf:
            self._handoffs.append(seconds)
            self._unmeasured = max(self._unmeasured, 0) + 1


def _low(measured: Collection[float]) -> float | None:
    """A low quantile, or None of too few."""
    if len(measured) < _ENOUGH:
        return None
    return sorted(measured)[int(_QUANTILE * (len(measured) - 1))]
