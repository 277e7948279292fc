"""What a forecast is."""

from dataclasses import dataclass

QUANTILES = (0.5, 0.9, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class MemberValue:
    """What one model says."""

    name: str
    """Of the model, such as `ets`."""
    value: float
    """Its point forecast, 0 or more."""
    weight: float
    """Its share in the combination, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Demand at one time in the future."""

    horizon_s: float
    """Seconds from now, above 0."""
    quantiles: tuple[float, ...]
    """Tokens a second at each of `QUANTILES`; rising, 0 or more."""
    members: tuple[MemberValue, ...] = ()
    """What it is made of."""
    reason: str = ""
    """In a few words: what decided, and how well it has been doing."""

    def at(self, quantile: float) -> float:
        """Tokens a second that are not exceeded with this chance.

        Args:
            quantile: One of `QUANTILES`.

        Raises:
            ValueError: It is none of them.
        """
        return self.quantiles[QUANTILES.index(quantile)]
