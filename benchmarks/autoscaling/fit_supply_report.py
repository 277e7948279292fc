"""The fit of generated spot supply as JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from autoscaling.simulator.supply.facts import Facts
from benchmarks.autoscaling import fit_supply_search as stages

YES, NEARLY, NO = "yes", "within 10%", "**NO**"
_AGES = ("under 10 min", "under 1 h", "under 6 h", "longer")

UNKNOWN = (
    "Not known from public figures, and so not fitted: which availability zone is in which region "
    "beyond the two facts above; how often nodes of several availability zones are lost within the "
    "same minutes; how partial losses go with complete ones (here they are independent); any cycle "
    "of day or week (here there is none). The missing part comes from five traces of one account, "
    "of which one of 89 hours has most of the losses; they were capped at what was asked for, so "
    "that changes above that were not seen, and each is taken to have held its last number until "
    "the end that its name tells."
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one recorded trace says of losses that leave some instances."""

    name: str
    hours: float
    up_h: float
    most: int
    per_h: float
    share: float | None
    """None where there was no such loss."""
    level: float


def table(found: Sequence[Facts], goal: stages.Partial) -> list[dict[str, Any]]:
    """One row a fact: what it is, what was measured, and whether it lies in the spread.

    Args:
        found: Of each generated supply.
        goal: What recorded traces say.
    """

    def row(name: str, fact: float | tuple[float, float], of: Callable[[Facts], float]) -> None:
        values = np.array([of(one) for one in found])
        low, high = (float(np.quantile(values, share)) for share in (0.05, 0.95))
        mean = float(values.mean())
        if isinstance(fact, tuple):
            fits = YES if fact[0] <= mean <= fact[1] else NO
        else:
            near = NEARLY if abs(mean / fact - 1.0) <= 0.1 else NO
            fits = YES if low <= fact <= high else near
        rows.append({"fact": name, "is": fact, "mean": mean, "p5": low, "p95": high, "fits": fits})

    rows: list[dict[str, Any]] = []
    row("best availability zone is up", stages.BEST, lambda one: one.best)
    row(
        "an availability zone is up, on average (follows from the last two chances)",
        stages.MEAN,
        lambda one: float(np.mean(one.zones)),
    )
    row("any of 4 of one region", stages.ANY_OF_FOUR, lambda one: one.any_of[stages.FOUR])
    row("any of 3 of another", stages.ANY_OF_THREE, lambda one: one.any_of[stages.THREE])
    for place, fact in enumerate(stages.AT_LEAST):
        row(f"at least {place + 1} of 9", fact, partial(_at_least, place))
    row("correlation within a region", stages.WITHIN, lambda one: one.within)
    row("correlation across regions", stages.ACROSS, lambda one: one.across)
    for place, (age, fact) in enumerate(zip(_AGES, stages.LOSS_BY_AGE, strict=True)):
        row(
            f"lost within 10 min, up for {age}",
            fact,
            partial(_loss, place),
        )
    row("up in 1 h, being up", stages.UP_IF_UP, lambda one: one.up_if_up)
    row("up in 1 h, being down", stages.UP_IF_DOWN, lambda one: one.up_if_down)
    row("mean life of a node, hours", stages.NODE_LIFE_H, lambda one: one.node_life_h)
    row("median run of a node, minutes", stages.NODE_RUN_MIN, lambda one: one.node_run_min)
    row("partial losses an hour", goal.per_h, lambda one: one.partial_per_h)
    row("share of nodes that one takes", goal.share, lambda one: one.partial_share)
    row("nodes there are of the most", goal.level, lambda one: one.level)
    return rows


def _at_least(place: int, one: Facts) -> float:
    return one.at_least[place]


def _loss(place: int, one: Facts) -> float:
    return one.loss_by_age[place]


def write(out: Path, document: Mapping[str, Any]) -> None:
    """Writes `autoscaling-supply.json` and `.md`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "autoscaling-supply.json").write_text(json.dumps(document, indent=1) + "\n")
    (out / "autoscaling-supply.md").write_text(markdown(document))


def markdown(document: Mapping[str, Any]) -> str:
    lines = ["# Generated spot supply beside what was measured of real supply", ""]
    lines += [f"- {key}: {value}" for key, value in document["about"].items()]
    lines += [
        "",
        "| quantity | fact | generated, mean | 5% to 95% | fits |",
        "|---|---|---|---|---|",
    ]
    for row in document["facts"]:
        spread = f"{row['p5']:.3g} to {row['p95']:.3g}"
        lines.append(
            f"| {row['fact']} | {_fact(row['is'])} | {row['mean']:.3g} | {spread} | {row['fits']} |"
        )
    lines += ["", *_sentences(document["facts"])]
    lines += ["", "## Settings", "", "| setting | value |", "|---|---|"]
    lines += [f"| {name} | {_value(value)} |" for name, value in document["settings"].items()]
    lines += ["", "## Instances held, as recorded", ""]
    lines += ["| trace | hours | with any | most | partial losses/h | share taken | of the most |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for one in document["recorded"]:
        share = "" if one["share"] is None else f"{one['share']:.2f}"
        lines.append(
            f"| {one['name']} | {one['hours']:.1f} | {one['up_h']:.1f} | {one['most']} | "
            f"{one['per_h']:.2f} | {share} | {one['level']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    missed = [row["fact"] for row in rows if row["fits"] == NO]
    nearly = [row["fact"] for row in rows if row["fits"] == NEARLY]
    verdict = (
        "A figure fits where it lies within the spread of supplies as long as the public set; a "
        "range, where the mean lies inside. Otherwise it is said if the mean is within a tenth of "
        f"it. Within a tenth: {'; '.join(nearly) or 'none'}. Does not fit: "
        f"{'; '.join(missed) or 'none'}."
    )
    return [verdict, "", UNKNOWN]


def _fact(fact: Any) -> str:
    return f"{fact[0]:g} to {fact[1]:g}" if isinstance(fact, list | tuple) else f"{fact:.3g}"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "(" + ", ".join(map(_value, value)) + ")"
    return f"{value:g}"
