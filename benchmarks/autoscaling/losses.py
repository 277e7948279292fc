"""Where ours loses: first at the same attainment, then as frozen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.autoscaling.arms import ARMS, INSTANT, ORACLE, OURS
from benchmarks.autoscaling.goals import brief, every_cell
from benchmarks.autoscaling.grid import TARGET
from benchmarks.autoscaling.wording import percent, span, table

Document = Mapping[str, Any]
_KINDS = (
    ("both", "worse on both"),
    ("dear", "dearer, SLO alike"),
    ("late", "late more often, cost alike"),
    ("dear-timely", "dearer, late less often"),
    ("late-cheap", "late more often, cheaper"),
)
"""How ours can be worse beyond noise as frozen; the last two are other points of the frontier."""


@dataclass(slots=True)
class _Rival:
    """What was found against one rival as frozen."""

    cells: int = 0
    lost: dict[str, list[str]] = field(default_factory=dict)
    """Cells by kind."""
    costs: list[float] = field(default_factory=list)
    """Where ours is dearer."""
    points: list[float] = field(default_factory=list)
    """Where ours is late more often."""


def losses(document: Document) -> str:
    """A paragraph and tables, in Markdown, on all in which ours is worse beyond noise, and to whom.

    Args:
        document: Of `summary.summarise`.
    """
    told, dear = _matched(document["main"])
    lines = [told]
    if dear:
        lines += ["", *table((f"at {TARGET:.0%} attainment, against", "Tidegate's cost"), dear)]
    return "\n".join([*lines, "", *_as_frozen(_frozen(every_cell(document)))]).rstrip()


def _as_frozen(rivals: Mapping[str, _Rival]) -> list[str]:
    """A sentence, and a row for each rival against which anything is worse."""
    pairs = sum(one.cells for one in rivals.values())
    lost = {arm: one for arm, one in rivals.items() if one.lost}
    if not lost:
        return [f"As frozen Tidegate is worse in none of {pairs} comparisons beyond noise."]
    count = {kind: sum(len(one.lost.get(kind, ())) for one in lost.values()) for kind, _ in _KINDS}
    said = (
        f"As frozen, in {pairs} comparisons (a rival in a cell), Tidegate is worse on both axes in "
        f"{count['both']}, dearer with the SLO kept alike in {count['dear']} and late more often "
        f"at like cost in {count['late']}. In {count['dear-timely']} it is dearer and late less "
        f"often, in {count['late-cheap']} late more often and cheaper: other points of a frontier, "
        "which only the comparison at the same attainment can judge."
    )
    head = ("as frozen, against", "cells", *(title for _, title in _KINDS), "by", "where")
    return [said, "", *table(head, [_row(arm, one) for arm, one in lost.items()])]


def _rival(arm: str) -> bool:
    """Whether it is a policy that can be had and is not ours."""
    return arm != OURS and ARMS[arm].role != "ablation" and arm not in {ORACLE, INSTANT}


def _matched(cells: Iterable[Document]) -> tuple[str, list[Sequence[str]]]:
    """A sentence on all comparisons at the target, and rows where ours is dearer."""
    told, cheaper, vague = 0, 0, 0
    never: dict[str, list[str]] = {}
    rows: list[Sequence[str]] = []
    for cell in cells:
        ours = cell["matched"].get(OURS)
        for arm, one in cell["matched"].items():
            three = one.get("ours_less_this")
            if not _rival(arm) or three is None or ours is None:
                continue
            named = f"{ARMS[arm].title}, {brief(cell)}"
            if one["cost"][0] is None:
                never.setdefault(ARMS[arm].title, []).append(brief(cell))
                continue
            told += 1
            if three[0] is None:
                rows.append((named, f"never reaches it; the other costs ${one['cost'][0]:.3f}"))
            elif three[1] is None or three[2] is None:
                vague += 1
                if three[0] > 0:
                    rows.append((named, span(three)))
            elif three[2] < 0:
                cheaper += 1
            elif three[1] > 0:
                rows.append((named, span(three)))
    said = (
        f"At {TARGET:.0%} attainment, in main worlds, against rivals that reach it: Tidegate is "
        f"cheaper beyond noise in {cheaper} of {told} comparisons, dearer or never there in "
        f"{len(rows)}{' (below)' if rows else ''}"
    )
    said += f"; without an interval: {vague}." if vague else "."
    if never:
        each = "; ".join(f"{title} ({', '.join(names)})" for title, names in never.items())
        said += f" Never there at any headroom that was played: {each}."
    return said, rows


def _frozen(cells: Iterable[Document]) -> dict[str, _Rival]:
    found: dict[str, _Rival] = {}
    for cell in cells:
        for arm, one in cell["rows"].items():
            against = one.get("ours_less_this")
            if not _rival(arm) or against is None:
                continue
            rival = found.setdefault(arm, _Rival())
            rival.cells += 1
            kind = _kind(against)
            if kind is None:
                continue
            rival.lost.setdefault(kind, []).append(brief(cell))
            if kind in {"both", "dear", "dear-timely"}:
                rival.costs.append(against["cost"][0])
            if kind in {"both", "late", "late-cheap"}:
                rival.points.append(against["attainment"][0])
    return {arm: found[arm] for arm in ARMS if arm in found}


def _kind(against: Mapping[str, Sequence[float | None]]) -> str | None:
    """Of `_KINDS`; None where ours is worse on no axis beyond noise."""
    cost, attainment = _sign(against["cost"]), -_sign(against["attainment"])
    if cost <= 0 and attainment <= 0:
        return None
    if cost > 0 and attainment > 0:
        return "both"
    if cost > 0:
        return "dear-timely" if attainment < 0 else "dear"
    return "late-cheap" if cost < 0 else "late"


def _sign(three: Sequence[float | None]) -> int:
    """Of a difference beyond noise; 0 within it."""
    _, low, high = three
    if low is not None and low > 0:
        return 1
    return -1 if high is not None and high < 0 else 0


def _row(arm: str, one: _Rival) -> list[str]:
    by = []
    if one.costs:
        by.append("cost " + _range([percent(each, signed=True) for each in _ends(one.costs)]))
    if one.points:
        by.append(_range([f"{100 * each:+.2f}" for each in _ends(one.points)]) + " points")
    where = [f"{said}: {_cells(one.lost[kind], one.cells)}" for kind, said in _KINDS
             if kind in one.lost]  # fmt: skip
    counts = [str(len(one.lost.get(kind, ()))) for kind, _ in _KINDS]
    return [ARMS[arm].title, str(one.cells), *counts, ", ".join(by), "; ".join(where)]


def _cells(names: Sequence[str], of: int) -> str:
    return "all" if len(names) == of > 1 else ", ".join(names)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _range(two: Sequence[str]) -> str:
    return two[0] if two[0] == two[1] else f"{two[0]} to {two[1]}"
