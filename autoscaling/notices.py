"""What the watcher of one node does about what the cloud's metadata service says, or does not say.

A notice that the node is taken away is acted on until Ray and the keeper both know of it, and the
keeper is told again while it stands, as it may have been started anew. A service that has never
answered is not there: it is asked rarely, and that is said once.
"""

from dataclasses import dataclass

UNTIL_ABSENT = 5
"""Questions in a row without an answer after which there is no such service."""
ABSENT_S = 60.0
"""Seconds between two questions to a service that is not there."""
RETRY_S = 1.0
"""Seconds between two tries to pass a notice on."""
REPEAT_S = 10.0
"""Seconds after which the keeper is told again."""
NOTICE_S = 120.0
"""Seconds that a node is taken to have left where its notice does not say, or nothing that can be
believed."""
PAST_S, AHEAD_S = 600.0, 3600.0
"""How far in the past or ahead a time may be to be believed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the service says of its node at one time."""

    action: str | None = None
    """What is going to be done to the node, such as `terminate`; None for nothing."""
    at: float | None = None
    """When, Unix time in seconds; None where it does not say."""
    rebalance: bool = False
    """Whether the node is at an elevated risk."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What is to be done now."""

    drain_s: float | None = None
    """Have Ray drain the node, which is gone in so many seconds; None for nothing to be drained."""
    tell_s: float | None = None
    """Tell the keeper that the node is gone in so many seconds; None for nothing to be told."""
    warn: bool = False
    """Tell the keeper that the node may go."""
    say: str = ""
    """A line for the log."""


class NoticeWatch:
    """Follows one node's notices.

    Args:
        poll_s: Seconds between two questions.
    """

    __slots__ = (
        "_answered",
        "_drained",
        "_failures",
        "_gone_at",
        "_poll_s",
        "_rebalance",
        "_said",
        "_told_at",
        "_tried_at",
        "_warned_at",
        "counts",
    )

    def __init__(self, poll_s: float) -> None:
        self._poll_s = poll_s
        self._answered = self._drained = self._rebalance = False
        self._failures = 0
        self._said = ""
        self._gone_at: float | None = None
        self._told_at: float | None = None
        self._tried_at: float | None = None
        self._warned_at: float | None = None
        self.counts = {"answers": 0, "failures": 0, "preempted": 0, "rebalance": 0, "withdrawn": 0}
        """What has happened so far."""

    def answered(self, seen: Seen, now: float, wall: float) -> None:
        """Takes what the service says.

        Args:
            seen: What it says.
            now: Monotonic time in seconds.
            wall: Unix time in seconds.
        """
        self._answered, self._failures = True, 0
        self.counts["answers"] += 1
        if seen.action is None:
            if self._gone_at is not None and not self._drained:
                self.counts["withdrawn"] += 1
                self._gone_at, self._said = None, "the notice was withdrawn"
            # What Ray drains it drains for good: then the node goes, whatever is said now.
        elif self._gone_at is None:
            self.counts["preempted"] += 1
            left_s = believed(seen.at, wall)
            self._gone_at = now + left_s
            self._said = f"this node is taken away ({seen.action}) in {left_s:.0f} s"
        elif seen.at is not None:
            # It may come sooner than was said, never later: others have been told.
            self._gone_at = min(self._gone_at, now + believed(seen.at, wall))
        if seen.rebalance and not self._rebalance:
            self.counts["rebalance"] += 1
            self._said = self._said or "this node is at an elevated risk of being taken away"
        self._rebalance = seen.rebalance

    def failed(self, reason: str) -> None:
        """Takes that the service has not answered, or nothing that makes sense.

        Args:
            reason: Why, in a few words.
        """
        self._failures += 1
        self.counts["failures"] += 1
        if self._failures == UNTIL_ABSENT:
            self._said = f"the metadata service does not answer: {reason}"
            if not self._answered:
                self._said += f"; it is asked each {ABSENT_S:.0f} s from now on"

    def steps(self, now: float) -> Steps:
        """What is to be done. It is given again until it is said to be done.

        Args:
            now: Monotonic time in seconds.
        """
        said, self._said = self._said, ""
        if self._gone_at is None:
            return Steps(warn=self._rebalance and self._over(self._warned_at, now), say=said)
        left_s = max(0.0, self._gone_at - now)
        drain = not self._drained and self._over(self._tried_at, now, RETRY_S)
        if drain:
            self._tried_at = now
        return Steps(
            drain_s=left_s if drain else None,
            tell_s=left_s if self._over(self._told_at, now) else None,
            say=said,
        )

    def drained(self) -> None:
        """Takes that Ray drains the node."""
        self._drained = True

    def told(self, now: float) -> None:
        """Takes that the keeper has heard that the node goes.

        Args:
            now: Monotonic time in seconds.
        """
        self._told_at = now

    def warned(self, now: float) -> None:
        """Takes that the keeper has heard that the node may go.

        Args:
            now: Monotonic time in seconds.
        """
        self._warned_at = now

    @property
    def wait_s(self) -> float:
        """Seconds until the service is to be asked again."""
        if self._gone_at is not None:
            return min(RETRY_S, self._poll_s)
        if not self._answered and self._failures >= UNTIL_ABSENT:
            return max(ABSENT_S, self._poll_s)
        return self._poll_s

    @staticmethod
    def _over(at: float | None, now: float, after_s: float = REPEAT_S) -> bool:
        return at is None or now - at >= after_s


def believed(at: float | None, wall: float) -> float:
    """Seconds that a node has left, by a notice that may say anything.

    Args:
        at: When it is taken away, Unix time in seconds, if the notice says so.
        wall: Unix time in seconds.

    Returns:
        The time, 0 or more: that it is over if it was a while ago, and the usual time if it cannot
        be believed.
    """
    # Written so that NaN is not believed either.
    if at is None or not wall - PAST_S <= at <= wall + AHEAD_S:
        return NOTICE_S
    return max(0.0, at - wall)
