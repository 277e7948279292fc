"""Where ours loses, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.autoscaling.arms import ARMS, INSTANT, ORACLE, OURS
from benchmarks.autoscaling.goals import behind, every_cell
from benchmarks.autoscaling.grid import TARGET
from benchmarks.autoscaling.wording import points, span

Document = Mapping[str, Any]


def losses(document: Document) -> str:
    """A paragraph on the cells where ours loses, on either axis, and to whom.

    Args:
        document: Of `summary.summarise`.
    """
    found: list[str] = []
    for cell in every_cell(document):
        for arm in cell["rows"]:
            role = ARMS[arm].role
            if arm == OURS or role == "ablation" or arm in {ORACLE, INSTANT}:
                continue
            axes = behind(cell, arm)
            if not axes:
                continue
            against = cell["rows"][arm]["ours_less_this"]
            parts = []
            if "cost" in axes:
                parts.append(f"costs {span(against['cost'])}")
            if "attainment" in axes:
                parts.append(f"keeps the SLO {points(against['attainment'])} points")
            both = ": worse on both axes" if len(axes) == 2 else ""
            found.append(
                f"In {cell['title']} Tidegate {' and '.join(parts)} against "
                f"{ARMS[arm].title}{both}."
            )
    for cell in document["main"]:
        for arm, one in cell["matched"].items():
            three = one.get("ours_less_this")
            if arm != ORACLE and three and three[1] is not None and three[1] > 0:
                found.append(
                    f"At {TARGET:.0%} attainment in {cell['title']} Tidegate costs {span(three)} "
                    f"against {ARMS[arm].title}."
                )
    if not found:
        return (
            "In no cell is Tidegate worse than another policy that can be had, on cost or on "
            "attainment, beyond noise."
        )
    return " ".join(found)
