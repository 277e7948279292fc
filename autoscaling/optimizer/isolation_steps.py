"""The ladder of isolation that a fleet is priced along."""

from collections.abc import Collection
from dataclasses import dataclass

from autoscaling.optimizer.terms import LEVELS, FleetProfile, Stream, Zone


@dataclass(frozen=True, slots=True)
class IsolationStep:
    """How strictly streams are kept apart. Each step allows less than the one before."""

    name: str
    meaning: str
    """In a few words, for people."""
    floor: str = "medium"
    """Weakest level of any zone."""
    one_zone: bool = False
    """Whether all streams are in one zone of the level `floor`, whatever they ask for."""
    apart: bool = False
    """Whether each tenant has pools of its own."""

    def zones(self, profile: FleetProfile) -> tuple[Zone, ...]:
        """Zones with their levels under this step, lowest first.

        Args:
            profile: Whose.
        """
        if self.one_zone:
            return (Zone("all", self.floor),)
        return tuple(
            Zone(zone.name, max(zone.isolation, self.floor, key=LEVELS.index), zone.hosted)
            for zone in profile.zones
        )

    def tenants(
        self, stream: Stream, zone: Zone, alone: Collection[tuple[str, str]]
    ) -> tuple[str, ...]:
        """Whose pools a stream could be in; empty for those that tenants share.

        An engine of the level `maximum` serves one tenant at a time. Two tenants that are busy at
        once then need replicas each, so they are counted as pools of their own.

        Args:
            stream: Which.
            zone: Where it would be served, as this step has it.
            alone: Tenants and models of streams that share with no other tenant; a tenant's other
                streams could join them.
        """
        if self.one_zone:
            return ("",)
        if self.apart or zone.isolation == "maximum" or not stream.shared:
            return (stream.tenant,)
        return ("", stream.tenant) if (stream.tenant, stream.model) in alone else ("",)


ONE_ZONE = IsolationStep("none", "one zone of level medium, all tenants share", one_zone=True)
AS_ASKED = IsolationStep("as asked", "the zones and levels of the profile")
HIGH = IsolationStep("high", "every zone high or above", floor="high")
APART = IsolationStep("apart", "high, and pools of its own for each tenant", "high", apart=True)
MAXIMUM = IsolationStep(
    "maximum", "one tenant at a time in every engine, no prefix cache", "maximum", apart=True
)
STEPS = (ONE_ZONE, AS_ASKED, HIGH, APART, MAXIMUM)
"""Weakest first."""
