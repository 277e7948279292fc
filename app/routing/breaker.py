"""The circuit breaker: stops sending to a pool and market that keeps failing, and tries it again.

Closed lets everything through. It opens on a run of consecutive failures, or when too large a share
of the outcomes of the last `window_s` seconds were failures. Open lets nothing through. After a
while it is half-open: a few probes go through; if all of them succeed it closes, and the first that
fails opens it again, for twice as long as before, up to a limit.
"""

from dataclasses import dataclass
from enum import StrEnum

_BUCKETS = 8  # of the failure window: its resolution, and all the memory it takes


class BreakerState(StrEnum):
    """What a breaker does with the next request."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a breaker opens and how it finds its way back."""

    failures: int = 5
    """Consecutive failures that open it."""
    failure_ratio: float = 0.5
    """The share of failures within the window that opens it, above 0 and up to 1."""
    least_outcomes: int = 20
    """Outcomes the window must hold before the share is looked at."""
    window_s: float = 30.0
    """How far back the share looks, in seconds."""
    open_s: float = 2.0
    """How long it stays open the first time, in seconds; doubles with each failed attempt."""
    most_open_s: float = 60.0
    """The longest it stays open at a time, in seconds."""
    half_open_probes: int = 1
    """Requests let through while half-open, all of which must succeed for it to close."""
    probe_timeout_s: float = 30.0
    """After so many seconds without an outcome a probe's place is given to another request."""

    def __post_init__(self) -> None:
        """Refuses settings with which a breaker could never open or never close.

        Raises:
            ValueError: a setting is out of its range; the message names it.
        """
        for name in ("failures", "least_outcomes", "half_open_probes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("window_s", "open_s", "probe_timeout_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a positive time, not {getattr(self, name)}")
        if not 0 < self.failure_ratio <= 1:
            raise ValueError(f"failure_ratio must be in (0, 1], not {self.failure_ratio}")
        if not self.open_s <= self.most_open_s < float("inf"):
            raise ValueError(f"most_open_s must be at least open_s, not {self.most_open_s}")


class Breaker:
    """One circuit breaker: for one pool and market.

    A request that is sent takes a ticket from `admit` and gives it back with its outcome. Tickets
    are numbered, so the outcome of a request that was sent before the breaker last opened is known
    for what it is, old news, and neither opens nor closes anything.
    """

    __slots__ = (
        "_attempts",
        "_bucket",
        "_failed",
        "_failed_in_row",
        "_last_ticket",
        "_open_until",
        "_outcomes",
        "_probes",
        "_probes_succeeded",
        "_settings",
        "_stale_up_to",
    )

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._open_until: float | None = None  # None: closed
        self._attempts = 0  # openings since it was last closed
        self._failed_in_row = 0
        self._bucket = 0
        self._outcomes = [0] * _BUCKETS
        self._failed = [0] * _BUCKETS
        self._last_ticket = 0
        self._stale_up_to = 0
        self._probes: dict[int, float] = {}  # ticket: when its place is given away
        self._probes_succeeded = 0

    def state(self, now: float) -> BreakerState:
        """What the breaker is at the time `now` (seconds, monotonic)."""
        if self._open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._open_until else BreakerState.HALF_OPEN

    def allow(self, now: float) -> bool:
        """Whether a request may be sent at `now`; asking changes nothing that is counted."""
        if self._open_until is None:
            return True
        if now < self._open_until:
            return False
        return self._free_probes(now) > 0

    def retry_after(self, now: float) -> float:
        """Seconds from `now` until a request may be sent, as far as is known; 0 if it may now."""
        if self._open_until is None:
            return 0.0
        if now < self._open_until:
            return self._open_until - now
        if self._free_probes(now) > 0:
            return 0.0
        # A probe is out: it should have its outcome well before its place is given away.
        return min(min(self._probes.values()) - now, self._settings.open_s)

    def admit(self, now: float) -> int:
        """Records that a request is sent at `now`, after `allow` said that it may.

        Returns:
            The ticket to hand back to `succeeded`, `failed` or `abandoned`. It is 0 where `allow`
            would have said no: such a request is not evidence, whatever becomes of it.
        """
        if self._open_until is None:
            self._last_ticket += 1
            return self._last_ticket
        if not self.allow(now):
            return 0
        self._last_ticket += 1
        self._probes[self._last_ticket] = now + self._settings.probe_timeout_s
        return self._last_ticket

    def succeeded(self, ticket: int, now: float) -> None:
        """Records that the request with this ticket did what it should."""
        if ticket <= self._stale_up_to:
            return
        if self._open_until is not None:
            self._probes.pop(ticket, None)
            self._probes_succeeded += 1
            if self._probes_succeeded >= self._settings.half_open_probes:
                self._close()
            return
        self._failed_in_row = 0
        self._outcomes[self._roll(now)] += 1

    def failed(self, ticket: int, now: float) -> None:
        """Records that the request with this ticket failed for a reason of the pool's own."""
        if ticket <= self._stale_up_to:
            return
        if self._open_until is not None:
            self._open(now)
            return
        self._failed_in_row += 1
        bucket = self._roll(now)
        self._outcomes[bucket] += 1
        self._failed[bucket] += 1
        if self._failed_in_row >= self._settings.failures or self._too_many_failed():
            self._open(now)

    def abandoned(self, ticket: int) -> None:
        """Records that the request with this ticket ended without telling anything.

        Its client left, or it failed for a reason of its own. If it was a probe, another request
        takes its place.
        """
        self._probes.pop(ticket, None)

    def try_again(self, now: float) -> None:
        """Ends an open period at `now`: something has changed, and a probe may find it well."""
        if self._open_until is not None:
            self._open_until = min(self._open_until, now)

    def _too_many_failed(self) -> bool:
        outcomes = sum(self._outcomes)
        if outcomes < self._settings.least_outcomes:
            return False
        return sum(self._failed) >= self._settings.failure_ratio * outcomes

    def _free_probes(self, now: float) -> int:
        probes = self._probes
        for ticket in [t for t, given_away in probes.items() if given_away <= now]:
            del probes[ticket]
        return self._settings.half_open_probes - self._probes_succeeded - len(probes)

    def _roll(self, now: float) -> int:
        """The place in the window for `now`, with what has left the window forgotten."""
        bucket = int(now * _BUCKETS / self._settings.window_s)
        # Not `!=`: a clock that steps back must not empty the window.
        if bucket > self._bucket:
            for passed in range(max(self._bucket + 1, bucket - _BUCKETS + 1), bucket + 1):
                self._outcomes[passed % _BUCKETS] = self._failed[passed % _BUCKETS] = 0
            self._bucket = bucket
        return self._bucket % _BUCKETS

    def _open(self, now: float) -> None:
        # Beyond 2**32 times its length every period is at its limit; the power must not overflow.
        period = self._settings.open_s * 2.0 ** min(self._attempts, 32)
        self._open_until = now + min(period, self._settings.most_open_s)
        self._attempts += 1
        self._stale_up_to = self._last_ticket
        self._probes.clear()
        self._probes_succeeded = 0

    def _close(self) -> None:
        self._open_until = None
        self._attempts = 0
        self._failed_in_row = 0
        self._outcomes = [0] * _BUCKETS
        self._failed = [0] * _BUCKETS
        self._probes.clear()
