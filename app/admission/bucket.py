"""A token bucket that others hold leases of.

The bucket fills with `rate` tokens a second up to `capacity`. What is taken from it is not used at
once: a gateway holds it for as long as its lease is valid, and may use it at any moment until then.
So that no window of time ever sees more use than `capacity + rate * seconds`, the bucket counts
what is held and fills only as far as

    level + held <= capacity

For if that is true at the start of a window, then what can be used in it is at most what is held
then, plus the level then, plus what flows in: at most `capacity + rate * seconds`, less what came
back in it. A hold ends when the lease's validity is over. What comes back of a lease earlier fills
the level, but does not end the hold: it cannot be told from what comes back of requests that were
let in under an older lease, and to hold too long costs a moment's refill of a full bucket, no more.

The level falls below 0 where more was used than had been leased: a debt that the rate pays off.
"""

from collections import deque
from math import ceil, inf

_SLOTS = 8  # in which the validity of one lease is told apart


class Bucket:
    """One window's tokens.

    Args:
        limit: tokens in `period_s`.
        period_s: seconds in which as many flow in.
        burst: the capacity, in multiples of the limit.
        lease_s: longest validity of a lease, in seconds.
        now: the time, in seconds.
    """

    __slots__ = ("_held", "_holds", "_slot_s", "at", "capacity", "level", "limit", "rate")

    def __init__(
        self, limit: int, period_s: float, burst: float, lease_s: float, now: float
    ) -> None:
        self.limit = limit
        self.rate = limit / period_s
        self.capacity = limit * burst
        self.level = self.capacity
        self.at = now
        """When `level` was right."""
        self._slot_s = lease_s / _SLOTS
        self._holds: deque[list[float]] = deque()  # [until, tokens], in the order of `until`
        self._held = 0.0

    @property
    def held(self) -> float:
        """Tokens in leases that may still be used, at most."""
        return self._held

    @property
    def full(self) -> bool:
        """Nothing is held, and nothing more can flow in."""
        return not self._holds and self.level >= self.capacity

    def restore(self, level: float, at: float, now: float) -> None:
        """Takes up what was stored, by this ledger or by one before it.

        Which leases were out then is not known, so that all that is missing from the bucket counts
        as held for the validity of a lease. A time that is still to come (the clock was wrong, or
        is) gives no credit.
        """
        self.level = min(level, self.capacity)
        self.at = min(at, now)
        self._holds.clear()
        self._held = self.capacity - max(self.level, 0.0)
        if self._held > 0:
            self._holds.append([self.at + self._slot_s * _SLOTS, self._held])
        self.advance(now)

    def resize(self, limit: int, period_s: float, burst: float) -> None:
        """Follows a changed limit. A smaller capacity cuts what is there."""
        self.limit = limit
        self.rate = limit / period_s
        self.capacity = limit * burst
        self.level = min(self.level, max(self.capacity - self._held, 0.0))

    def advance(self, now: float) -> None:
        """Lets tokens flow in until `now`; a time before the last one changes nothing."""
        holds = self._holds
        while holds and holds[0][0] <= now:
            until, tokens = holds.popleft()
            self._fill(until)
            # Without holds it is 0 exactly, whatever rounding has done to the sum.
            self._held = max(self._held - tokens, 0.0) if holds else 0.0
        self._fill(now)

    def take(self, tokens: int, until: float) -> None:
        """Takes tokens, which are held by somebody until then."""
        if tokens <= 0:
            return
        self.level -= tokens
        self._held += tokens
        holds = self._holds
        if not holds or holds[-1][0] < until:
            # Ends late rather than early, so that the next ones can share it.
            holds.append([until + self._slot_s, tokens])
        else:
            holds[-1][1] += tokens

    def give(self, tokens: int) -> None:
        """Takes back what was not used; negative where more was used than had been taken."""
        if tokens > 0:
            self.level = max(self.level, min(self.level + tokens, self._room()))
        else:
            self.level += tokens

    def wait(self, tokens: int, now: float) -> float | None:
        """Seconds until that many are there, if nobody takes any before; None for never."""
        if tokens > self.capacity:
            return None
        level, at, held = self.level, self.at, self._held
        for until, count in (*self._holds, (inf, 0.0)):
            room = self.capacity if until == inf else max(self.capacity - held, 0.0)
            if level >= tokens:
                return max(at - now, 0.0)
            if room >= tokens:
                there = at + (tokens - level) / self.rate
                if there <= until:
                    return max(there - now, 0.0)
            if until > at:
                level = max(level, min(level + self.rate * (until - at), room))
                at = until
            held -= count
        return None

    def used(self) -> int:
        """What is missing from a full bucket, leases included."""
        return max(ceil(self.capacity - self.level), 0)

    def reset_s(self) -> float:
        """Seconds until it is full again, if nobody takes any before."""
        return (self.capacity - self.level) / self.rate if self.rate else 0.0

    def _room(self) -> float:
        return max(self.capacity - self._held, 0.0)

    def _fill(self, until: float) -> None:
        if until <= self.at:
            return
        filled = self.level + self.rate * (until - self.at)
        self.level = max(self.level, min(filled, self._room()))
        self.at = until
