"""Which losses of spot nodes come alone, and which take an availability zone or a region.

Losses in a region within two minutes are one event. Half of an availability zone's nodes or more
(two at least) are a shock of it; half of a region's availability zones or more (two at least) are a
shock of the region. What an event cannot tell, such as the loss of the only node, changes nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WINDOW_S = 120.0
MAX_REGIONS = 64


@dataclass(frozen=True, slots=True)
class Shares:
    """How a spot node's risk of being lost divides."""

    region: float
    """Share of it that takes the whole region."""
    zone: float
    """Share of it that takes the availability zone and no other one."""

    @property
    def alone(self) -> float:
        """Share of it that takes the node alone."""
        return 1.0 - self.region - self.zone


PRIOR = Shares(region=0.43, zone=0.3)
"""Of the region: the mean correlation between availability zones of a region in public spot
availability probes (9 AWS availability zones, V100, 45.5 days), taken for the share of losses that
they have in common. Of the zone no public figure is known; it is set to about half of the rest."""
WEIGHT = 10.0
"""Events that the prior counts for."""


@dataclass(slots=True)
class _Event:
    began: float
    present: dict[str, int]
    lost: dict[str, int] = field(default_factory=dict)


class Shocks:
    """Learns the shares from losses.

    Every time that is passed in is Unix time in seconds.
    """

    __slots__ = ("_events", "_seen")

    def __init__(self) -> None:
        self._events: dict[str, _Event] = {}
        self._seen = [0.0, 0.0, 0.0]

    def lost(
        self, region: str, availability_zone: str, present: Mapping[str, int], wall: float
    ) -> int:
        """Takes the loss of one node.

        Args:
            region: Where it was.
            availability_zone: Where it was.
            present: Nodes by availability zone of the region, before it was lost.
            wall: Unix time in seconds.

        Returns:
            Nodes that were in the availability zone when the event began, 1 or more.
        """
        self.refresh(wall)
        if region not in self._events:
            if len(self._events) >= MAX_REGIONS:
                return max(1, present.get(availability_zone, 0))
            self._events[region] = _Event(wall, dict(present))
        event = self._events[region]
        event.lost[availability_zone] = event.lost.get(availability_zone, 0) + 1
        return max(event.present.get(availability_zone, 0), event.lost[availability_zone])

    def refresh(self, wall: float) -> None:
        """Lets the time pass: judges the events that are over.

        Args:
            wall: Unix time in seconds.
        """
        for region in list(self._events):
            # A clock that was set back ends an event too.
            if not 0 <= wall - self._events[region].began < WINDOW_S:
                for place, amount in enumerate(self._judge(self._events.pop(region))):
                    self._seen[place] += amount

    @property
    def shares(self) -> Shares:
        """What is known of the shares."""
        prior = (PRIOR.region, PRIOR.zone, PRIOR.alone)
        region, zone, alone = (
            WEIGHT * share + seen for share, seen in zip(prior, self._seen, strict=True)
        )
        return Shares(region / (region + zone + alone), zone / (region + zone + alone))

    def fade(self, factor: float) -> None:
        """Forgets a part of what was learned.

        Args:
            factor: What is left of it, 0 to 1.
        """
        self._seen = [amount * factor for amount in self._seen]

    def state(self) -> list[float]:
        """What was learned, plain."""
        return list(self._seen)

    def restore(self, state: Any) -> None:
        """Takes what was learned earlier.

        Args:
            state: From `state`.

        Raises:
            ValueError: It is something else.
        """
        if not isinstance(state, list) or len(state) != 3:
            raise ValueError("`shocks` is not a list of three numbers")
        if not all(isinstance(x, float | int) and math.isfinite(x) and x >= 0 for x in state):
            raise ValueError("`shocks` holds something else than numbers from 0 on")
        self._seen = [float(x) for x in state]

    def _judge(self, event: _Event) -> tuple[float, float, float]:
        """What an event says of regions, availability zones and single nodes.

        Each is a rate at which one node is lost, so a shock of one of three availability zones
        counts for a third, and one of ten nodes for a tenth.
        """
        nodes = {
            name: max(event.present.get(name, 0), event.lost.get(name, 0))
            for name in event.present.keys() | event.lost.keys()
        }
        nodes = {name: count for name, count in nodes.items() if count}
        whole = {
            name
            for name, lost in event.lost.items()
            if lost >= max(min(2, nodes[name]), nodes[name] / 2)
        }
        if len(whole) >= max(2, len(nodes) / 2):
            return 1.0, 0.0, 0.0
        now = self.shares
        region = zone = alone = 0.0
        for name, lost in event.lost.items():
            if name not in whole:
                alone += lost / sum(nodes.values())
            elif nodes[name] == 1 and len(nodes) > 1:
                zone += now.zone / (now.zone + now.alone) / len(nodes)
                alone += now.alone / (now.zone + now.alone) / len(nodes)
            elif nodes[name] > 1 and len(nodes) > 1:
                zone += 1.0 / len(nodes)
            elif nodes[name] > 1:
                region += now.region / (now.region + now.zone)
                zone += now.zone / (now.region + now.zone)
        return region, zone, alone
