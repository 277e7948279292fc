"""How urgently a request is served."""

from enum import StrEnum


class Tier(StrEnum):
    """Priority bands, most urgent first."""

    CRITICAL = "critical"
    STANDARD = "standard"
    BATCH = "batch"

    @property
    def band(self) -> int:
        """0 for the most urgent."""
        return list(Tier).index(self)
