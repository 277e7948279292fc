"""The tables of the report, as lines of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.autoscaling.arms import ARMS, OURS
from benchmarks.autoscaling.goals import short
from benchmarks.autoscaling.wording import percent, points, span, table

Document = Mapping[str, Any]


def frozen_rows(cell: Document) -> list[str]:
    """Cost and service of every policy as frozen, in one world.

    Args:
        cell: Of the document.
    """
    head = (
        "policy", "headroom", "$/M tokens", "Tidegate against it", "attainment %", "in points",
        "GPU-hours", "gap to oracle", "on spot", "runs",
    )  # fmt: skip
    rows = []
    for arm, one in _ordered(cell):
        against = one.get("ours_less_this") or {}
        rows.append(
            (
                _title(arm, one),
                f"{one['headroom']:g}",
                _number(one["cost_per_million"], 3),
                span(against.get("cost")) if against else "",
                f"{100 * one['attainment']:.2f}",
                points(against.get("attainment")) if against else "",
                f"{one['gpu_hours']:,.0f}",
                percent(one["gap_to_oracle"], signed=True),
                percent(one["spot_share"]),
                str(one["runs"]),
            )
        )
    return table(head, rows)


def service_rows(cell: Document) -> list[str]:
    """Latencies, losses, steadiness and waits of every policy, in one world.

    Args:
        cell: Of the document.
    """
    head = (
        "policy", "TTFT p50/p95/p99, s", "ITL p50/p95/p99, ms", "lost or refused %",
        "preemptions a day", "retried (lost) each", "shortfall, min a day", "changes an hour",
        "reversals an hour", "cold waits %",
    )  # fmt: skip
    rows = []
    for arm, one in _ordered(cell):
        ttft, itl = one["ttft_s"], one["itl_s"]
        each = "-"
        if one["retried_a_preemption"] is not None:
            each = f"{one['retried_a_preemption']:.1f} ({one['lost_a_preemption']:.2f})"
        rows.append(
            (
                ARMS[arm].title,
                "/".join(f"{ttft[name]:.2f}" for name in ("p50", "p95", "p99")),
                "/".join(f"{1000 * itl[name]:.0f}" for name in ("p50", "p95", "p99")),
                f"{100 * one['lost_share']:.3f}",
                f"{one['preemptions_a_day']:.1f}",
                each,
                f"{one['shortfall_min_a_day']:.1f}",
                f"{one['scale_events_an_hour']:.2f}",
                f"{one['reversals_an_hour']:.2f}",
                f"{100 * one['cold_wait_share']:.2f}",
            )
        )
    return table(head, rows)


def matched_rows(cells: Sequence[Document]) -> list[str]:
    """Cost where each policy keeps the target, a column for each world.

    Args:
        cells: Main cells of the document.
    """
    rows = []
    for arm in ARMS:
        if not any(arm in cell["matched"] for cell in cells):
            continue
        title = ARMS[arm].title
        shown = [f"**{title}**" if arm == OURS else title]
        for cell in cells:
            one = cell["matched"].get(arm)
            if one is None:
                shown.append("")
            elif one["cost"][0] is None:
                shown.append(f"never (up to {100 * (1 - _least(one)):.2f}%)")
            else:
                sign = "≤ " if one["at_most"] else ""
                against = one.get("ours_less_this")
                text = f"; {span(against)}" if against else ""
                shown.append(f"{sign}{one['cost'][0]:.3f}{text}")
        rows.append(shown)
    return table(["policy", *(short(cell) for cell in cells)], rows)


def _least(one: Document) -> float:
    """The least misses of a frontier."""
    return min(float(point["misses"]) for point in one["points"])


def side_rows(cells: Sequence[Document]) -> list[str]:
    """Main policies in other worlds: cost and attainment, and ours against each.

    Args:
        cells: Lead or side cells of the document.
    """
    head = (
        "world", "policy", "$/M tokens", "attainment %", "Tidegate's cost against it",
        "attainment in points", "cold waits %",
    )  # fmt: skip
    rows = []
    for cell in cells:
        for arm, one in _ordered(cell):
            against = one.get("ours_less_this") or {}
            rows.append(
                (
                    cell["title"] if arm == OURS else "",
                    ARMS[arm].title,
                    _number(one["cost_per_million"], 3),
                    f"{100 * one['attainment']:.2f}",
                    span(against.get("cost")) if against else "",
                    points(against.get("attainment")) if against else "",
                    f"{100 * one['cold_wait_share']:.2f}",
                )
            )
    return table(head, rows)


def forecast_rows(forecast: Document) -> list[str]:
    """Ours beside the calibrated last value, by series, horizon and origins.

    Args:
        forecast: Of `borrowed.forecast_table`.
    """
    head = (
        "series and horizon", "WAPE %", "bias %", "pinball 0.5", "0.9", "0.95", "P90 covers %",
        "width %",
    )  # fmt: skip
    names = ("wape", "bias", "pinball_0.5", "pinball_0.9", "pinball_0.95", "covered", "width")
    rows = []
    for ours, last in zip(forecast["rows"], forecast["last_value"], strict=True):
        cells = [f"{ours['series']}, {ours['minutes']} min, {ours['origins']}"]
        for name in names:
            digits = 1 if name in {"wape", "bias", "covered", "width"} else 2
            cells.append(f"{ours[name]:.{digits}f} ({last[name]:.{digits}f})")
        rows.append(cells)
    return table(head, rows)


def tick_rows(tick: Document) -> list[str]:
    """Latency and CPU of a tick, by number of pools.

    Args:
        tick: Of `borrowed.tick_table`.
    """
    rows = [
        (
            f"{row['pools']:,}",
            *(f"{row['tick_ms'][name]:g}" for name in ("p50", "p99", "max")),
            f"{row['cpu_ms_per_tick']:g}",
        )
        for row in tick["rows"]
    ]
    return table(("pools", "p50, ms", "p99, ms", "greatest, ms", "CPU, ms a tick"), rows)


def _ordered(cell: Document) -> list[tuple[str, Document]]:
    """In the order in which policies are listed, ours first."""
    return [(arm, cell["rows"][arm]) for arm in ARMS if arm in cell["rows"]]


def _title(arm: str, one: Document) -> str:
    setting = f" ({one['setting']})" if one.get("setting") else ""
    title = f"{ARMS[arm].title}{setting}"
    return f"**{title}**" if arm == OURS else title


def _number(value: float | None, digits: int) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"
