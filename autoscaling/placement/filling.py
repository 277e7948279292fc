"""On-demand replicas that stand in for spot replicas: at once, and for a while longer than needed.

And sites where spot replicas are asked for in vain: after a while they are not, until later.
"""

from collections import deque
from collections.abc import Mapping
from statistics import median

from autoscaling.plan_terms import Site

PATIENCE_S = 60.0
"""Seconds without another node after which a site may be taken to have none."""
KNOWN = 50
"""Waits for a node that are remembered."""
FEW = 5
"""Waits from which on they say what is usual."""
AGAIN_S = 3600.0
"""Seconds after which it is asked again."""


class Filling:
    """How many on-demand replicas stand in.

    Every time that is passed in is monotonic, in seconds.

    Args:
        back_s: Seconds for which fewer must have been enough before they are fewer.
    """

    __slots__ = ("_back_s", "_least", "_since", "count")

    def __init__(self, back_s: float) -> None:
        self._back_s = back_s
        self._since: float | None = None
        self._least = 0
        self.count = 0
        """Those that stand in now."""

    def update(self, wanted: int, most: int, now: float) -> int:
        """How many stand in from now on.

        Args:
            wanted: Replicas that are missing.
            most: Most that may stand in.
            now: Monotonic time in seconds.
        """
        self.count = min(self.count, most)
        wanted = min(wanted, most)
        if wanted >= self.count:
            self.count, self._since = wanted, None
            return self.count
        if self._since is None:
            self._since, self._least = now, wanted
        self._least = max(self._least, wanted)
        if now - self._since >= self._back_s:
            self.count, self._since = self._least, None
        return self.count


class Scarcity:
    """Which sites have nothing: they are asked for longer than nodes usually take to come.

    Every time that is passed in is monotonic, in seconds.
    """

    __slots__ = ("_seen_at", "_until", "_waiting", "_waits")

    def __init__(self) -> None:
        self._waiting: dict[Site, tuple[float, int]] = {}
        self._until: dict[Site, float] = {}
        self._waits: deque[float] = deque(maxlen=KNOWN)
        self._seen_at = float("-inf")

    def update(
        self, planned: Mapping[Site, int], running: Mapping[Site, int], lead_s: float, now: float
    ) -> None:
        """Takes what was planned and what has come of it.

        Args:
            planned: Replicas by site.
            running: Replicas whose node is there.
            lead_s: Seconds that one takes to be ready.
            now: Monotonic time in seconds.
        """
        patience = self._patience(lead_s)
        waiting = {}
        for site, count in planned.items():
            here = running.get(site, 0)
            since, before = self._waiting.get(site, (now, here))
            if here > before:
                # It came after the last look; there may be others.
                self._waits.append(max(0.0, self._seen_at - since))
                since = now
            if here >= count:
                continue
            if now - since >= patience:
                self._until[site] = now + AGAIN_S
            else:
                waiting[site] = since, here
        self._waiting, self._seen_at = waiting, now
        self._until = {site: until for site, until in self._until.items() if until > now}

    def _patience(self, lead_s: float) -> float:
        """Seconds; while little is known, those that a whole start takes, of which a node is part.

        Args:
            lead_s: Those.
        """
        known = len(self._waits) >= FEW
        return max(PATIENCE_S, 2 * median(self._waits) if known else lead_s)

    @property
    def sites(self) -> frozenset[Site]:
        """Those that have no more than what runs there."""
        return frozenset(self._until)
