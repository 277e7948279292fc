"""What is played: worlds, cells, and how many of them a plan asks for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

TARGET = 0.99
"""Share of requests that has to keep to the SLO."""
SERIES = ("m-large", "m-small")
INJECTIONS = ("crowd", "blind", "regional")
"""A flash crowd, lost metrics, and a region without spot capacity."""
LADDER = (
    0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4, 1.6, 1.8, 2.1, 2.5, 3.0,
    3.5, 4.0,
)  # fmt: skip
"""Headrooms that a policy may be given, least first."""


@dataclass(frozen=True, slots=True)
class World:
    """All that is the same for the policies that are compared."""

    series: str
    """Whose demand: of `SERIES`."""
    lead_s: float = 180.0
    """Seconds from a node to a replica that is ready, on average."""
    notice_s: float = 120.0
    """Seconds from the notice of a preemption to the loss of the node."""
    discount: float = 0.6
    """Share of the on-demand price that spot nodes save."""
    injection: str = ""
    """Of `INJECTIONS`, or none."""

    @property
    def title(self) -> str:
        """For tables."""
        said = f"{self.series}, lead {self.lead_s:g} s, notice {self.notice_s:g} s"
        what = {"": "", "crowd": ", flash crowd", "blind": ", lost metrics"}
        end = what.get(self.injection, ", regional loss of spot")
        return f"{said}, spot -{100 * self.discount:.0f}%{end}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One run."""

    world: World
    arm: str
    """Name of the policy, of `arms.ARMS`."""
    variant: int
    """Which of the arm's settings, from 0."""
    headroom: float
    """Scales the capacity that the policy asks for; 1 is as documented."""
    alignment: int
    """Which draw of the spot supply goes with the demand; a seed of its own."""
    span: str
    """`tune` or `test`."""

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """From what `to_json` gave.

        Args:
            data: Plain data.
        """
        return cls(**{**data, "world": World(**data["world"])})

    def digest(self, terms: Mapping[str, Any]) -> str:
        """The same for the same run, on any machine.

        Args:
            terms: All else that the run follows from, as plain data.
        """
        text = json.dumps([self.to_json(), terms], sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is played."""

    series: tuple[str, ...] = SERIES
    leads_s: tuple[float, ...] = (180.0, 300.0)
    """Lead times of the main worlds; the first is that of all others but `side_leads_s`."""
    side_leads_s: tuple[float, ...] = (60.0, 600.0)
    notices_s: tuple[float, ...] = (0.0, 30.0)
    """Beside the main one."""
    discounts: tuple[float, ...] = (0.45, 0.8)
    """Beside the main one."""
    injections: tuple[str, ...] = INJECTIONS
    tune_days: tuple[int, int] = (0, 7)
    """First and last day of tuning, the last not included; the first is a warm-up."""
    test_days: tuple[int, int] = (7, 14)
    alignments: int = 20
    """Of main arms in main worlds."""
    later_alignments: int = 8
    """The same at lead times after the first, if that is fewer."""
    others: tuple[str, ...] = ()
    """Other arms that are played; none named: all."""
    ablations: tuple[str, ...] = ()
    """What is left out of ours in turn; none named: all."""
    other_alignments: int = 1
    """Of the other arms in main worlds, frozen and for their frontiers; those that come close to
    ours have as many as a frontier."""
    ablation_alignments: int = 1
    minor_series: int = 1
    """For how many series, from the first, ablations, notices and discounts are played."""
    side_alignments: int = 1
    """In worlds with another lead time, notice or discount."""
    injection_alignments: int = 2
    sweep_alignments: int = 2
    """For which main arms are played at other headrooms as well."""
    sweep: tuple[int, ...] = ()
    """Headrooms that are played for each frontier in any case: steps on the ladder from the frozen
    one. Those that it takes to have the target between two come by themselves."""
    sweep_most: int = 8
    """Steps from the frozen headroom that a frontier goes at most, each way."""
    tuning_alignments: int = 1
    other_tuning_alignments: int = 1
    tune_ablations: bool = False
    """Whether ablations have a headroom of their own; otherwise that of ours."""

    def __post_init__(self) -> None:
        """Refuses what cannot be played.

        Raises:
            ValueError: A number is out of its range; says which.
        """
        for name in ("series", "leads_s", "injections"):
            values = getattr(self, name)
            known = {"series": SERIES, "injections": INJECTIONS}.get(name)
            if known and not set(values) <= set(known):
                raise ValueError(f"{name} are of {', '.join(known)}; not {values}")
        if not self.series or not self.leads_s:
            raise ValueError("there has to be at least one series and one lead time")
        for name in ("tune_days", "test_days"):
            begin, end = getattr(self, name)
            if not 0 <= begin < end <= 14:
                raise ValueError(f"{name} {begin} to {end} are not within the 14 days of demand")
        if self.tune_days[1] > self.test_days[0]:
            raise ValueError("test days must come after the days of tuning")
        counts = ("alignments", "sweep_alignments", "tuning_alignments", "other_tuning_alignments")
        for name in counts:
            if not 1 <= getattr(self, name) <= 200:
                raise ValueError(f"{name} is 1 to 200, not {getattr(self, name)}")
        if not 0 <= self.sweep_most <= len(LADDER):
            raise ValueError(f"sweep_most is 0 to {len(LADDER)}, not {self.sweep_most}")
        if self.sweep_alignments > self.alignments:
            raise ValueError("sweep_alignments are among alignments: there cannot be more of them")

    def main_worlds(self) -> tuple[World, ...]:
        """Where every policy is compared."""
        return tuple(World(series, lead) for series in self.series for lead in self.leads_s)

    def lead_worlds(self) -> tuple[World, ...]:
        """The other lead times."""
        return tuple(World(series, lead) for series in self.series for lead in self.side_leads_s)

    def side_worlds(self) -> tuple[World, ...]:
        """Worlds in which the policies of the first main lead time are met by something else."""
        lead = self.leads_s[0]
        return tuple(
            world
            for place, series in enumerate(self.series)
            for world in (
                *(World(series, lead, notice_s=notice) for notice in self.notices_s),
                *(World(series, lead, discount=discount) for discount in self.discounts),
                *(World(series, lead, injection=injection) for injection in self.injections),
            )
            if world.injection or place < self.minor_series
        )


FULL = Plan()
REDUCED = Plan(
    leads_s=(180.0,),
    side_leads_s=(),
    notices_s=(),
    discounts=(),
    injections=("crowd",),
    tune_days=(4, 7),
    test_days=(7, 10),
    alignments=2,
    others=("serve-default", "dynamo-kalman", "skyserve"),
    ablations=("without-conformal", "without-lead", "without-survival", "without-reactive"),
    other_alignments=1,
    injection_alignments=1,
    sweep_alignments=2,
    sweep_most=4,
)
"""Three days of test, few alignments, one side world a series."""
