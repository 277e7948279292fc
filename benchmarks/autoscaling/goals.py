"""The goals, each with a plain sentence on whether it is met."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.autoscaling.arms import ARMS, ORACLE, OURS, SKY, STATIC, STRONG, TUNED
from benchmarks.autoscaling.grid import TARGET, World
from benchmarks.autoscaling.wording import span

Document = Mapping[str, Any]
LEADS_S = (180.0, 300.0)
"""Lead times that the goals are about."""
CHEAPER_THAN_STATIC = 0.30
WITHIN_ORACLE = 0.15
COLD_WAITS = 0.01
COVERED = (88.0, 92.0)
TICK_MS = 50.0
REPLAY_S = 300.0


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal."""

    name: str
    met: bool | None
    """None where it was not measured."""
    said: str
    """The figures, in a sentence."""


def goals(document: Document) -> list[Goal]:
    """All goals, in the order in which they are published.

    Args:
        document: Of `summary.summarise`, with `forecast`, `tick` and `speed` if there are any.
    """
    cells = [cell for cell in document["main"] if cell["world"]["lead_s"] in LEADS_S]
    return [
        _cheaper(
            f"Cheaper than the strong baseline at {TARGET:.0%} attainment",
            cells, STRONG, lambda value, high: high is not None and high < 0,
        ),
        _cheaper(
            f"At least {CHEAPER_THAN_STATIC:.0%} cheaper than static peak at {TARGET:.0%} "
            "attainment",
            cells, STATIC, lambda value, _: value is not None and value <= -CHEAPER_THAN_STATIC,
        ),
        _cheaper(
            f"Within {WITHIN_ORACLE:.0%} of the oracle with real lead time",
            cells, ORACLE, lambda value, _: value is not None and value <= WITHIN_ORACLE,
        ),
        _keeps(cells),
        _cold(cells),
        _never_worse(document),
        _coverage(document.get("forecast")),
        _tick(document.get("tick")),
        _speed(document.get("speed")),
    ]  # fmt: skip


def _cheaper(
    name: str,
    cells: Iterable[Document],
    arm: str,
    enough: Callable[[float | None, float | None], bool],
) -> Goal:
    met: list[bool | None] = []
    said = []
    for cell in cells:
        one = cell["matched"].get(arm)
        three = one.get("ours_less_this") if one else None
        if three is None:
            met.append(False)
            said.append(f"{short(cell)}: not measured")
            continue
        ours = cell["matched"][OURS]
        sure = ours["cost"][0] is not None
        met.append(sure and enough(three[0], three[2]))
        note = "" if sure else "; ours does not reach it"
        if sure and one["cost"][0] is None:
            # It has no cost at the target, so that nothing can be told of the difference.
            met[-1] = None
            note = "; the other does not reach it at the headrooms that were played"
        elif one["at_most"]:
            note += "; the other is above it at every headroom, so that its cost is an upper bound"
        said.append(f"{short(cell)}: {span(three)}{note}")
    return Goal(name, _all(met), "; ".join(said))


def _all(met: Sequence[bool | None]) -> bool | None:
    """Whether all were met; None if that cannot be told of one and no other was missed."""
    if False in met:
        return False
    return None if None in met or not met else True


def _keeps(cells: Sequence[Document]) -> Goal:
    shown, met = [], []
    for cell in cells:
        if OURS in cell["rows"]:
            value, low, high = cell["rows"][OURS]["intervals"]["attainment"]
            met.append(value >= TARGET)
            shown.append(f"{short(cell)}: {_fine(value)} ({_fine(low)} to {_fine(high)})")
    name = f"As frozen on days 1 to 7, {TARGET:.0%} attainment on the test days"
    return Goal(name, all(met) if met else None, "; ".join(shown))


def _cold(cells: Sequence[Document]) -> Goal:
    shares = {short(cell): cell["rows"][OURS]["cold_wait_share"] for cell in cells
              if OURS in cell["rows"]}  # fmt: skip
    said = "; ".join(f"{name}: {100 * share:.2f}%" for name, share in shares.items())
    met = all(share < COLD_WAITS for share in shares.values()) if shares else None
    return Goal(f"Cold-start waits under {COLD_WAITS:.0%} of requests", met, said)


def every_cell(document: Document) -> list[Document]:
    """Main, lead and side cells.

    Args:
        document: Of `summary.summarise`.
    """
    return [*document["main"], *document["leads"], *document["sides"]]


def kept_cells(document: Document) -> str:
    """In how many of all cells ours and the closest rivals keep the target as frozen.

    Args:
        document: Of `summary.summarise`.
    """
    cells = every_cell(document)
    said = []
    for arm in (OURS, STRONG, SKY, TUNED):
        rows = [cell["rows"][arm] for cell in cells if arm in cell["rows"]]
        if rows:
            kept = sum(one["attainment"] >= TARGET for one in rows)
            said.append(f"{ARMS[arm].title} in {kept} of {len(rows)}")
    return f"Cells in which {TARGET:.0%} are kept as frozen: {', '.join(said)}."


def behind(cell: Document, arm: str) -> list[str]:
    """On which axes ours is worse than a policy beyond noise: `cost`, `attainment`.

    Args:
        cell: Of the document.
        arm: The policy.
    """
    against = cell["rows"].get(arm, {}).get("ours_less_this")
    if against is None:
        return []
    found = []
    if against["cost"][1] is not None and against["cost"][1] > 0:
        found.append("cost")
    if against["attainment"][2] is not None and against["attainment"][2] < 0:
        found.append("attainment")
    return found


def _never_worse(document: Document) -> Goal:
    cells = [cell for cell in every_cell(document) if TUNED in cell["rows"]]
    lost = {cell["title"]: behind(cell, TUNED) for cell in cells}
    lost = {title: axes for title, axes in lost.items() if axes}
    name = "Never worse than the tuned Ray Serve-like on either axis beyond noise"
    if not cells:
        return Goal(name, None, "not measured")
    said = f"in {len(cells) - len(lost)} of {len(cells)} cells"
    if lost:
        said += "; worse in " + "; ".join(
            f"{title} ({' and '.join(axes)})" for title, axes in lost.items()
        )
    return Goal(name, not lost, said)


def _coverage(forecast: Document | None) -> Goal:
    name = f"P90 covers {COVERED[0]:.0f} to {COVERED[1]:.0f}%"
    if not forecast:
        return Goal(name, None, "run `make bench-forecast`")
    cells = [
        (f"{row['series']}, {row['minutes']} min, {row['origins']}", row["covered"])
        for row in forecast["rows"]
    ]
    outside = [f"{cell}: {value:.1f}%" for cell, value in cells
               if not COVERED[0] <= value <= COVERED[1]]  # fmt: skip
    said = f"in {len(cells) - len(outside)} of {len(cells)} cells"
    return Goal(name, not outside, said + (f"; outside: {'; '.join(outside)}" if outside else ""))


def _tick(tick: Document | None) -> Goal:
    name = f"A tick under {TICK_MS:.0f} ms for 100 pools"
    rows = [row for row in tick["rows"] if row["pools"] == 100] if tick else []
    if not rows:
        return Goal(name, None, "run `python -m benchmarks.foresight.tick`")
    each = rows[0]["tick_ms"]
    said = f"p50 {each['p50']:g} ms, p99 {each['p99']:g} ms, greatest {each['max']:g} ms"
    return Goal(name, each["p99"] < TICK_MS, f"{said}; judged by p99")


def _speed(speed: Document | None) -> Goal:
    name = "14 days of the largest series with 100 replicas in under 5 minutes on one core"
    if not speed:
        return Goal(name, None, "run `python -m benchmarks.autoscaling.speed`")
    said = (
        f"{speed['requests']:,} requests in {speed['seconds']:.0f} s, "
        f"{speed['generating_s']:.0f} s of it generating them"
    )
    return Goal(name, speed["seconds"] < REPLAY_S, said)


def short(cell: Document) -> str:
    """A main cell's name for sentences.

    Args:
        cell: Of the document.
    """
    world = cell["world"]
    return f"{world['series']} at {world['lead_s']:g} s"


def brief(cell: Document) -> str:
    """Any cell's name for lists: what is as in main worlds is left out.

    Args:
        cell: Of the document.
    """
    world, plain = cell["world"], World(cell["world"]["series"], cell["world"]["lead_s"])
    said = f"{world['series']} {world['lead_s']:g} s"
    if world["notice_s"] != plain.notice_s:
        said += f" notice {world['notice_s']:g} s"
    if world["discount"] != plain.discount:
        said += f" spot -{100 * world['discount']:.0f}%"
    return f"{said} {world['injection']}" if world["injection"] else said


def _fine(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.2f}%"
