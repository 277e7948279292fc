"""The ladder of zones, and the one rule on it: a request's zone is only ever raised."""

from collections.abc import Sequence

from app.errors import UnknownZone, ZoneForbidden
from app.security.identity import Identity

ZONE_HEADER = "x-tidegate-zone"


class ZoneLadder:
    """The fleet's zones from the lowest to the highest.

    Args:
        zones: zone names, lowest first; at least one, each once.
        default: the zone of a request that asks for none.
    """

    def __init__(self, zones: Sequence[str], default: str) -> None:
        self._rank = {zone: rank for rank, zone in enumerate(zones)}
        if len(self._rank) != len(zones) or default not in self._rank:
            raise ValueError(f"zones {list(zones)} must be distinct and hold {default!r}")
        self._default = default

    def asked(self, zone: str | None, identity: Identity) -> str:
        """The zone that a request asks for, checked against who asks.

        Raises:
            UnknownZone: the fleet has no such zone.
            ZoneForbidden: the zone is above the highest one of the identity.
        """
        zone = zone or self._default
        if zone not in self._rank:
            raise UnknownZone(
                f"there is no zone {zone[:64]!r}; this service has {', '.join(self._rank)}",
                param=ZONE_HEADER,
            )
        self._permit(zone, identity, f"zone {zone!r} was asked for")
        return zone

    def raised(self, zone: str, floor: str | None, identity: Identity) -> str:
        """The zone of a request whose text belongs to `floor` at least; never below `zone`.

        Raises:
            ZoneForbidden: the text belongs above the highest zone of the identity. A floor that
                the fleet does not know counts as above every zone.
        """
        if floor is None:
            return zone
        if floor not in self._rank:
            raise ZoneForbidden(f"the text belongs to zone {floor!r}, which this service lacks")
        if self._rank[floor] <= self._rank[zone]:
            return zone
        self._permit(floor, identity, f"the text belongs to zone {floor!r}")
        return floor

    def _permit(self, zone: str, identity: Identity, reason: str) -> None:
        if self._rank[zone] > self._rank.get(identity.max_zone, -1):
            raise ZoneForbidden(
                f"{reason}, but the highest zone for user {identity.user!r} of tenant "
                f"{identity.tenant!r} is {identity.max_zone!r}",
                param=ZONE_HEADER,
            )
