"""What one series is forecast by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from app.config.scaling import ForecastConfig

LAST_VALUE = "last_value"
"""The model that every other one has to beat."""
FITTED = ("prophet", "ets", "theta")
"""Models that are fitted beside the actor."""
LONGEST_S = 3600.0
"""The furthest horizon in seconds."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something known ahead that changes demand."""

    name: str
    """Events of one name are alike."""
    start: float
    """When it begins, Unix time in seconds."""
    end: float
    """When it is over, Unix time in seconds."""
    factor: float | None = None
    """What demand is multiplied by meanwhile; None if that is to be learned."""


@dataclass(frozen=True, slots=True)
class ForecastSettings:
    """How one series is forecast."""

    step_s: float = 60.0
    """Length of a bin in seconds."""
    seasons_s: tuple[float, ...] = (86400.0, 604800.0)
    """Periods after which demand repeats, in seconds, shortest first."""
    timezone: str = "UTC"
    """Where days and holidays begin."""
    holidays: str | None = None
    """Country whose public holidays are known."""
    events: tuple[Event, ...] = ()
    """What else is known ahead."""
    members: tuple[str, ...] = (LAST_VALUE, "seasonal_naive", *FITTED)
    """Models that are combined; the last value is there even if it is not named."""
    fit_every_s: float = 600.0
    """Seconds between two fits of ETS and Theta."""
    season_fit_every_s: float = 21600.0
    """Seconds between two fits of Prophet."""

    @classmethod
    def of(cls, config: ForecastConfig) -> Self:
        """The settings that the configuration asks for.

        Args:
            config: `scaling.forecast`.
        """
        return cls(
            step_s=float(config.step_s),
            seasons_s=tuple(sorted(config.seasons_s)),
            timezone=config.timezone,
            holidays=config.holidays,
            events=tuple(
                Event(one.name, one.start.timestamp(), one.end.timestamp(), one.factor)
                for one in config.events
            ),
            members=tuple(config.members),
            fit_every_s=config.fit_every_s,
            season_fit_every_s=config.season_fit_every_s,
        )

    @property
    def mark(self) -> str:
        """What a saved state must agree in to be of use; events and holidays may change."""
        return f"{self.step_s:g} {self.seasons_s} {self.timezone} {sorted(self.members)}"
