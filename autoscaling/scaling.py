"""How many replicas should take requests: it follows the work, up soon and down late."""

from autoscaling.pool_terms import PoolSettings
from autoscaling.reactive import desired_replicas


class Following:
    """The number of active replicas that the work outstanding asks for, with delays.

    Args:
        settings: Bounds, saturation and delays.
    """

    __slots__ = ("_above_since", "_below_since", "_settings", "wanted")

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._above_since: float | None = None
        self._below_since: float | None = None
        self.wanted = settings.least
        """Replicas that should be active now, from `least` to `most`."""

    def adopt(self, active: int) -> None:
        """Takes over replicas that are found active, so that none is given up unheard.

        Args:
            active: How many there are.
        """
        self.wanted = max(self.wanted, min(active, self._settings.most))

    def update(self, outstanding: float, now: float, *, stranded: bool = False) -> int:
        """Takes the work there is now, and says how many replicas should be active.

        Args:
            outstanding: Tokens on active replicas and waiting for one.
            now: Monotonic time in seconds.
            stranded: Whether requests wait while nothing is active that could take them: then
                at least one replica is wanted, and all that the work asks for, without delay.
        """
        settings = self._settings
        asked = desired_replicas(
            outstanding, settings.tokens_per_replica, self.wanted, settings.target_load
        )
        if stranded:
            asked = max(asked, 1, self.wanted)
        asked = max(settings.least, min(asked, settings.most))
        self._above_since = self._since(self._above_since, now, asked > self.wanted)
        self._below_since = self._since(self._below_since, now, asked < self.wanted)
        up, down = self._above_since, self._below_since
        if up is not None and (stranded or now - up >= settings.up_delay_s):
            self.wanted, self._above_since = asked, None
        elif down is not None and now - down >= settings.down_delay_s:
            self.wanted, self._below_since = asked, None
        return self.wanted

    @staticmethod
    def _since(since: float | None, now: float, holds: bool) -> float | None:
        if not holds:
            return None
        return now if since is None else since
