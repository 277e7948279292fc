"""How many replicas should take requests: as the work asks, or more if somebody looks ahead."""

from autoscaling.pool_terms import PoolSettings
from autoscaling.reactive import desired_replicas, needed_replicas

ASK_S = 30.0
"""Seconds for which what somebody has asked for is gone by."""


class Following:
    """The number of active replicas: what the work outstanding asks for, or what was asked ahead.

    By itself it follows the work, up soon and down late. What was asked comes at once, upwards and
    downwards, since whoever asks has waited already; the work keeps what it needs. An ask that
    nobody repeats leaves everything where it is, and the work takes over from there.

    Args:
        settings: Bounds, saturation and delays.
    """

    __slots__ = (
        "_above_since",
        "_ask",
        "_asked_at",
        "_below_since",
        "_covered",
        "_floor",
        "_settings",
        "reactive",
        "wanted",
    )

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._above_since: float | None = None
        self._below_since: float | None = None
        self._ask = 0
        self._asked_at: float | None = None
        self._covered = False
        self._floor = 0
        self.wanted = settings.least
        """Replicas that should be active now, from `least` to `most`."""
        self.reactive = 0
        """Replicas that the work outstanding needs by itself, up to `most`."""

    def adopt(self, active: int) -> None:
        """Takes over replicas that are found active, so that none is given up unheard.

        Args:
            active: How many there are.
        """
        self.wanted = max(self.wanted, min(active, self._settings.most))

    def ask(self, active: int, now: float, *, covered: bool = False) -> None:
        """Takes how many replicas somebody who looks ahead asks for.

        Args:
            active: Replicas; what is beyond the bounds is cut.
            now: Monotonic time in seconds.
            covered: Whether what was asked of the whole group, as far as it is active, carries the
                group's work: then this part of it need not carry its own.
        """
        self._ask = self._bounded(active)
        self._asked_at, self._covered = now, covered

    def asked(self, now: float) -> int | None:
        """What was asked for, if that is not too long ago.

        Args:
            now: Monotonic time in seconds.
        """
        fresh = self._asked_at is not None and now - self._asked_at < ASK_S
        return self._ask if fresh else None

    def hold(self, least: int) -> None:
        """Wants at least so many until told otherwise; afterwards nothing drops by itself.

        Args:
            least: Replicas; 0 for none.
        """
        self._floor = least

    def update(self, outstanding: float, now: float, *, stranded: bool = False) -> int:
        """Takes the work there is now, and says how many replicas should be active.

        Args:
            outstanding: Tokens on active replicas and waiting for one.
            now: Monotonic time in seconds.
            stranded: Whether requests wait while nothing is active that could take them: then
                at least one replica is wanted, and all that the work asks for, without delay.
        """
        settings = self._settings
        needed = needed_replicas(outstanding, settings.tokens_per_replica, settings.target_load)
        self.reactive = min(max(needed, int(stranded)), settings.most)
        self._follow(outstanding, now, stranded=stranded)
        ask = self.asked(now)
        if ask is not None:
            # Once nobody asks any more, the delay begins anew.
            self._below_since = None
            carried = 0 if self._covered and not stranded else self.reactive
            self.wanted = max(ask, min(self.wanted, carried))
        self.wanted = self._bounded(max(self.wanted, self._floor))
        return self.wanted

    def _follow(self, outstanding: float, now: float, *, stranded: bool) -> None:
        settings = self._settings
        asked = desired_replicas(
            outstanding, settings.tokens_per_replica, self.wanted, settings.target_load
        )
        if stranded:
            asked = max(asked, 1, self.wanted)
        asked = self._bounded(asked)
        self._above_since = self._since(self._above_since, now, asked > self.wanted)
        self._below_since = self._since(self._below_since, now, asked < self.wanted)
        up, down = self._above_since, self._below_since
        if up is not None and (stranded or now - up >= settings.up_delay_s):
            self.wanted, self._above_since = asked, None
        elif down is not None and now - down >= settings.down_delay_s:
            self.wanted, self._below_since = asked, None

    def _bounded(self, count: int) -> int:
        return max(self._settings.least, min(count, self._settings.most))

    @staticmethod
    def _since(since: float | None, now: float, holds: bool) -> float | None:
        if not holds:
            return None
        return now if since is None else since
