"""What was seen of spot nodes of one place: losses and exposure by age, and the rates they make."""

import math
from typing import Any

from autoscaling.placement.presence import Place

AGES_S = (0.0, 600.0, 3600.0, 21600.0)
"""Where each age bucket begins, in seconds."""
PRIOR = tuple(-math.log1p(-lost) / 600.0 for lost in (0.26, 0.14, 0.04, 0.01))
"""Losses a second in each age bucket."""
WEIGHT = 12.0
"""Losses that a prior counts for: the public probes for a region, a region for its availability
zones. With fewer, a bad day is enough for spot nodes not to be used for days."""
MAX_EXPOSURE_S = 30 * 86400.0
"""Most experience that counts, should nobody say what time it is."""

Rates = tuple[float, ...]


class Cell:
    """Losses and seconds of exposure by age bucket."""

    __slots__ = ("exposed", "lost")

    def __init__(self) -> None:
        self.lost = [0.0] * len(AGES_S)
        self.exposed = [0.0] * len(AGES_S)

    def rates(self, prior: Rates) -> Rates:
        """Losses a second by age bucket.

        Args:
            prior: What is believed without experience.
        """
        return tuple(
            (WEIGHT + lost) / (WEIGHT / rate + exposed)
            for lost, exposed, rate in zip(self.lost, self.exposed, prior, strict=True)
        )

    def add(self, bucket: int, lost: float, exposed: float) -> None:
        """Takes experience.

        Args:
            bucket: Of the age.
            lost: Losses.
            exposed: Seconds.
        """
        self.lost[bucket] += lost
        self.exposed[bucket] += exposed
        if self.exposed[bucket] > MAX_EXPOSURE_S:
            self.exposed[bucket] /= 2
            self.lost[bucket] /= 2

    def fade(self, factor: float) -> None:
        """Forgets a part of the experience.

        Args:
            factor: What is left of it, 0 to 1.
        """
        self.lost = [amount * factor for amount in self.lost]
        self.exposed = [amount * factor for amount in self.exposed]


def sensible(seconds: float) -> bool:
    """Whether it is a number from 0 on.

    Args:
        seconds: What somebody said.
    """
    return math.isfinite(seconds) and seconds >= 0


def cell_of(entry: Any) -> tuple[Place, Cell]:
    """Experience that was kept, and of which place.

    Args:
        entry: Region, availability zone, losses and exposure.

    Raises:
        ValueError: It is something else.
    """
    if not isinstance(entry, list) or len(entry) != 4:
        raise ValueError("a site is not a list of region, availability zone, losses and exposure")
    region, name, *columns = entry
    if not all(isinstance(text, str) for text in (region, name)):
        raise ValueError("a site's region or availability zone is no text")
    for column in columns:
        good = isinstance(column, list) and len(column) == len(AGES_S)
        if not good or not all(isinstance(x, float | int) and sensible(x) for x in column):
            raise ValueError(f"{region} {name}: losses and exposure are not numbers from 0 on")
    cell = Cell()
    cell.lost, cell.exposed = ([float(x) for x in column] for column in columns)
    return (region, name), cell
