"""One deployment's warm pool as far as it counts replicas: `Following`, and what it is fed."""

from __future__ import annotations

from collections.abc import Sequence

from autoscaling.pool_terms import Phase, PoolSettings, Report
from autoscaling.scaling import Following

_ONE = Report(replica="", phase=Phase.ACTIVE, age_s=0.0)


class SimulatedPool:
    """What `MarketGroup` needs of a pool. Nothing is recycled.

    Args:
        settings: How many replicas there are, and how fast that follows the load.
        reactive: Whether the work outstanding counts.
    """

    __slots__ = ("_active", "_following", "_reactive", "_settings", "_stranded", "going", "work")

    def __init__(self, settings: PoolSettings, *, reactive: bool = True) -> None:
        self._settings = settings
        self._following = Following(settings)
        self._reactive = reactive
        self._active = 0
        self._stranded = False
        self.going = 0
        """Replicas on nodes that go."""
        self.work = 0.0
        """Tokens outstanding."""

    @property
    def wanted(self) -> int:
        """Replicas that should take requests."""
        return self._following.wanted

    @property
    def most(self) -> int:
        """Most replicas, those on standby among them."""
        return self._settings.most

    @property
    def standby(self) -> int:
        """Replicas that should stand by beside those."""
        return min(self._settings.standby, self._settings.most - self._following.wanted)

    @property
    def reactive(self) -> int:
        """Replicas that the work outstanding asks for by itself."""
        return self._following.reactive

    @property
    def active(self) -> Sequence[Report]:
        """As many as take requests; which they are does not matter here."""
        return (_ONE,) * self._active

    @property
    def doomed(self) -> Sequence[Report]:
        """As many as are on nodes that go."""
        return (_ONE,) * self.going

    def see(self, active: int, going: int, work: float, now: float, *, stranded: bool) -> None:
        """Takes what there is.

        Args:
            active: Replicas that take requests, on nodes that stay.
            going: How many more than before are on nodes that go; below 0 where they have gone.
            work: Tokens outstanding here.
            now: The time in seconds.
            stranded: Whether requests wait while nothing takes them.
        """
        self._active = active
        self.going = max(0, self.going + going)
        self.work = work if self._reactive else 0.0
        self._stranded = stranded
        self._following.update(self.work, now, stranded=stranded)

    def follow(self, now: float) -> None:
        """Lets what was asked for take effect.

        Args:
            now: The time in seconds.
        """
        self._following.update(self.work, now, stranded=self._stranded)

    def ask(self, active: int, now: float, *, covered: bool = False) -> None:
        """Takes how many active replicas are asked for, see `Following.ask`."""
        self._following.ask(active, now, covered=covered)

    def hold(self, least: int) -> None:
        """Wants at least so many, in the place of doomed ones elsewhere."""
        self._following.hold(least)

    def cover(self, active: int) -> None:
        """Takes that others stand in for doomed ones; which leave by themselves here."""
