"""Running totals of use, by tenant, model, pool and zone."""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UsageKey:
    """What totals are kept apart by."""

    tenant: str
    model: str
    pool: str
    zone: str


@dataclass(slots=True)
class Totals:
    """Sums since the last `take`."""

    requests: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0


class UsageMeter:
    """Adds up finished requests until somebody takes the sums.

    Args:
        max_keys: the most keys held; past it, the one longest unused is folded into
            `overflow`, so that totals stay right while memory stays bounded.
    """

    def __init__(self, max_keys: int = 10_000) -> None:
        self._max_keys = max_keys
        self._totals: OrderedDict[UsageKey, Totals] = OrderedDict()

    def add(self, key: UsageKey, prompt_tokens: int, output_tokens: int) -> None:
        """Counts one request, with the tokens it really used."""
        totals = self._totals.get(key)
        if totals is None:
            totals = self._totals[key] = Totals()
            if len(self._totals) > self._max_keys:
                self._fold_oldest()
        else:
            self._totals.move_to_end(key)
        totals.requests += 1
        totals.prompt_tokens += prompt_tokens
        totals.output_tokens += output_tokens

    def take(self) -> dict[UsageKey, Totals]:
        """The sums since the last call, which then start anew."""
        taken, self._totals = self._totals, OrderedDict()
        return dict(taken)

    def _fold_oldest(self) -> None:
        oldest = next(key for key in self._totals if key != OVERFLOW)
        folded = self._totals.pop(oldest)
        overflow = self._totals.setdefault(OVERFLOW, Totals())
        self._totals.move_to_end(OVERFLOW)
        overflow.requests += folded.requests
        overflow.prompt_tokens += folded.prompt_tokens
        overflow.output_tokens += folded.output_tokens


OVERFLOW = UsageKey("overflow", "overflow", "overflow", "overflow")
