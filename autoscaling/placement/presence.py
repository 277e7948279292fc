"""How many spot nodes there are, by what is said of how long they were up."""

Place = tuple[str, str]
"""Region and availability zone."""
COUNT_S = 10.0
"""Over how long the nodes of an availability zone are counted."""
MAX_SPAN_S = 3600.0
"""Longest span that is counted, in seconds."""


class Presence:
    """Counts nodes."""

    __slots__ = ("_now", "_present", "_since")

    def __init__(self) -> None:
        self._now: dict[Place, float] = {}
        self._present: dict[Place, int] = {}
        self._since: float | None = None

    def seen(self, place: Place, span_s: float) -> float:
        """Takes that one node was up for a while.

        Args:
            place: Where it is.
            span_s: How long, in seconds, above 0.

        Returns:
            Nodes there, 1 or more. Until they have been counted, as many as have been heard of.
        """
        self._now[place] = self._now.get(place, 0.0) + span_s
        return max(1.0, self._present.get(place) or self._now[place] / span_s)

    def of(self, region: str) -> dict[str, int]:
        """Nodes by availability zone.

        Args:
            region: Which region.
        """
        return {name: count for (where, name), count in self._present.items() if where == region}

    def refresh(self, wall: float) -> None:
        """Counts, if it is time to.

        Args:
            wall: Unix time in seconds.
        """
        passed = float("inf") if self._since is None else wall - self._since
        if 0 <= passed < COUNT_S:
            return
        # After a step of the clock nothing can be said.
        if COUNT_S <= passed <= MAX_SPAN_S:
            self._present = {place: round(span / passed) for place, span in self._now.items()}
        self._now, self._since = {}, wall
