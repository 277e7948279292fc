"""The command: ``python -m benchmarks.autoscaling.fit_supply``."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from autoscaling.plan_terms import Site
from autoscaling.simulator.supply.facts import facts
from autoscaling.simulator.supply.generator import DEFAULTS, SupplySettings
from autoscaling.simulator.supply.recorded import bamboo
from benchmarks.autoscaling import fit_supply_search as stages
from benchmarks.autoscaling.fit_supply_points import rounded
from benchmarks.autoscaling.fit_supply_report import Recorded, markdown, table, write

_DAYS = 45.5
"""As long as the public set of probes."""
_START = SupplySettings(
    available=((0.60, 0.52, 0.44, 0.36), (0.905, 0.85, 0.75), (0.85, 0.70)),
    common=0.20,
    regional=0.40,
    paces=(0.04, 0.4, 3.0),
    shared_mix=(0.7, 0.2, 0.1),
    own_mix=(0.6, 0.25, 0.15),
    missing_pace=5.0,
    whole=0.7,
    missing=0.2,
)
"""A guess by hand: what the search begins at must not be what it found the last time."""


def main(
    traces: Annotated[Path, typer.Option(help="Directory with bamboo-aws/*.csv.")] = Path(
        "../shared/traces"
    ),
    out: Annotated[Path, typer.Option(help="Directory for the results.")] = Path(
        "benchmarks/results"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of supplies and steps.")] = 1,
    supplies: Annotated[int, typer.Option(min=2, help="That the result is measured on.")] = 40,
    fit: Annotated[bool, typer.Option(help="Fit; otherwise only measure the defaults.")] = True,
) -> None:
    """Fits generated spot supply to public facts, and measures it beside them.

    [b]Examples[/b]

      python -m benchmarks.autoscaling.fit_supply
      python -m benchmarks.autoscaling.fit_supply --no-fit --out /tmp/results
    """
    console = Console()
    recorded = _recorded(traces)
    goal = _partial(recorded)
    settings = DEFAULTS
    if fit:
        with console.status("Fitting, about two minutes"):
            settings = _fitted(goal, seed)
    with console.status(f"Measuring {supplies} supplies of {_DAYS} days"):
        seeds = range(1000 * (seed + 1), 1000 * (seed + 1) + supplies)
        found = stages.measured(settings, _DAYS, goal.most, seeds)
    document = {
        "about": _about(traces, seed, supplies, fit),
        "settings": asdict(settings),
        "facts": table(found, goal),
        "recorded": [asdict(one) for one in recorded],
    }
    write(out, document)
    console.print(markdown(document), markup=False, highlight=False)
    if settings != DEFAULTS:
        console.print("This is not what SupplySettings has for its defaults.", style="yellow")


def _fitted(goal: stages.Partial, seed: int) -> SupplySettings:
    """Shares and paces twice: correlations of 45.5 days are not those of all time."""
    within, across = stages.WITHIN, stages.ACROSS
    settings = _START
    for turn in range(2):
        settings = stages.fit_shares(settings, within, across, 400, seed)
        settings = stages.fit_paces(settings, 120.0, 300, seed + turn)
        found = stages.measured(settings, _DAYS, 1, range(100, 160))
        within += stages.WITHIN - float(np.mean([one.within for one in found]))
        across += stages.ACROSS - float(np.mean([one.across for one in found]))
    return rounded(stages.fit_missing(settings, goal, 15.0, 300, seed))


def _recorded(traces: Path) -> list[Recorded]:
    files = sorted((traces / "bamboo-aws").glob("*.csv"))
    if not files:
        raise typer.BadParameter(
            f"{traces / 'bamboo-aws'} has no *.csv: say where the traces are with --traces"
        )
    rows = []
    for file in files:
        with file.open(encoding="utf-8") as lines:
            supply = bamboo(file.name, lines, Site("spot"))
        found = facts(supply)
        rows.append(
            Recorded(
                name=file.stem.removeprefix("aws-spot-instances-"),
                hours=len(supply.replicas) * supply.step_s / 3600.0,
                up_h=float((supply.replicas > 0).sum()) * supply.step_s / 3600.0,
                most=int(supply.replicas.max()),
                per_h=found.partial_per_h,
                share=None if math.isnan(found.partial_share) else found.partial_share,
                level=found.level,
            )
        )
    return rows


def _partial(recorded: list[Recorded]) -> stages.Partial:
    """All hours with instances together; a share counts as often as there were such losses."""
    up_h = sum(one.up_h for one in recorded)
    losses = sum(one.per_h * one.up_h for one in recorded)
    taken = sum(one.share * one.per_h * one.up_h for one in recorded if one.share is not None)
    return stages.Partial(
        per_h=losses / up_h,
        share=taken / losses,
        level=sum(one.level * one.up_h for one in recorded) / up_h,
        most=max(one.most for one in recorded),
    )


def _about(traces: Path, seed: int, supplies: int, fit: bool) -> dict[str, str]:
    return {
        "facts": "of a public set of spot availability probes that is not redistributable (9 AWS "
        "availability zones, V100, 45.5 days, a probe each 195 s), as the README of the shared "
        "traces sums it up, and of preemption traces there (32 s probes, 4 availability zones)",
        "instances held": "uclasystem/bamboo (MIT), AWS in 2020",
        "measured": f"{supplies} supplies of {_DAYS} days with seeds that the fit has not seen: "
        "the mean, and from the 5th to the 95th percentile, since the facts are of one such span",
        "fit": f"random search with the seed {seed}" if fit else "none: the defaults as they are",
        "command": f"python -m benchmarks.autoscaling.fit_supply --traces {traces} --seed {seed} "
        f"--supplies {supplies}" + ("" if fit else " --no-fit"),
    }


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command()(main)
    app(prog_name="python -m benchmarks.autoscaling.fit_supply")
