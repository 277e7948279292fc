"""Spot supply as others recorded it: what they held is taken for what can be held.

Both formats are lists of changes. A row of the supply is the fewest that were held in its time, so
that no loss falls between two rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

from app.errors import SimulationError, TraceInvalid
from autoscaling.plan_terms import Site
from autoscaling.simulator.supply.changes import rows
from autoscaling.simulator.supply.named_span import NamedSpan, named_span
from autoscaling.simulator.terms import SpotSupply

MAX_LINES = 1_000_000
MAX_NODES = 100_000
UNITS_S = {"hours": 3600.0, "seconds": 1.0, "milliseconds": 0.001}

_SHORTEST_S, _LONGEST_S = 60.0, 7 * 86400.0


def bamboo(
    what: str, lines: Iterable[str], site: Site, *, unit: str = "", step_s: float = 60.0
) -> SpotSupply:
    """Reads a trace of instances held, as uclasystem/bamboo published them (AWS, 2020).

    A row is a time and a number of instances; each change is two rows of one time, with the number
    before and after. Nothing in such a file says what its times are in: some are in hours and some
    in seconds (their repository has both forms of one trace, a factor of 3,600 apart, the former
    drawn over "hours since start"). The file's name says when it begins and ends, and only one unit
    fits that.

    Args:
        what: The file's name.
        lines: Its lines.
        site: Where this supply is to be.
        unit: One of `UNITS_S`; empty for the one that fits the name.
        step_s: Seconds of a row of the supply.

    Returns:
        The supply, up to the last change or to the end that the name tells.

    Raises:
        TraceInvalid: The lines are no such trace, rows are missing, or no unit fits the name.
        SimulationError: There is no such unit, or a step has no length.
    """
    times: list[float] = []
    held: list[int] = []
    for number, line in _numbered(what, lines):
        time, count = _row(what, number, line)
        if times and time < times[-1]:
            raise TraceInvalid(
                what, number, f"goes back from {times[-1]:g} to {time:g}: sort it by time"
            )
        if times and time > times[-1] and count != held[-1]:
            raise TraceInvalid(
                what,
                number,
                f"begins at {count} instances and the row before ends at {held[-1]}: rows are "
                "missing between them, and what happened there is not known",
            )
        times.append(time)
        held.append(count)
    if not times:
        raise TraceInvalid(what, 0, "has no rows: it is empty")
    if times[0] != 0:
        raise TraceInvalid(what, 1, f"begins at {times[0]:g}: times are since its beginning, 0")
    span = named_span(what)
    unit_s = _unit_s(what, unit, times[-1], span)
    end_s = max(times[-1] * unit_s, span.until_s if span is not None else 0.0)
    return rows(what, [time * unit_s for time in times], held, end_s, site, step_s)


def spotserve(what: str, lines: Iterable[str], site: Site, *, step_s: float = 60.0) -> SpotSupply:
    """Reads a trace of nodes that come and go, as Hsword/SpotServe published them.

    A line is `[milliseconds, "add" or "remove", {"nodes": [...]}]`, or `milliseconds,add,node` with
    one node. A line `DONE` is the end; lines `other` are about load and change no node.

    Args:
        what: The file's name.
        lines: Its lines.
        site: Where this supply is to be.
        step_s: Seconds of a row of the supply.

    Raises:
        TraceInvalid: The lines are no such trace, or their times cannot be milliseconds.
        SimulationError: A step has no length.
    """
    times: list[float] = [0.0]
    held: list[int] = [0]
    nodes: set[str] = set()
    end_s: float | None = None
    for number, line in _numbered(what, lines):
        at_s, action, names = _event(what, number, line)
        if at_s < times[-1]:
            raise TraceInvalid(
                what, number, f"goes back from {times[-1]:g} to {at_s:g} s: sort it by time"
            )
        if end_s is not None:
            raise TraceInvalid(what, number, "comes after the line DONE")
        if action == "DONE":
            end_s = at_s
        elif action != "other":
            _change(what, number, nodes, action, names)
        times.append(at_s)
        held.append(len(nodes))
    if len(times) == 1:
        raise TraceInvalid(what, 0, "has no rows: it is empty")
    if not _SHORTEST_S <= times[-1] <= _LONGEST_S:
        raise TraceInvalid(
            what,
            0,
            f"spans {times[-1]:,.3g} s if its times are milliseconds, and must span a minute to "
            "seven days: are they in other units?",
        )
    return rows(what, times, held, times[-1] + step_s if end_s is None else end_s, site, step_s)


def _numbered(what: str, lines: Iterable[str]) -> Iterable[tuple[int, str]]:
    for number, line in enumerate(lines, start=1):
        if number > MAX_LINES:
            raise TraceInvalid(what, number, f"it has more than {MAX_LINES:,} lines: cut it")
        if line.strip():
            yield number, line.strip()


def _row(what: str, number: int, line: str) -> tuple[float, int]:
    fields = line.split(",")
    try:
        time, count = float(fields[0]), float(fields[1])
    except (ValueError, IndexError):
        raise TraceInvalid(what, number, f"{line[:80]!r} is not `time,instances`") from None
    if len(fields) != 2 or not math.isfinite(time) or time < 0:
        raise TraceInvalid(what, number, f"{line[:80]!r} is not `time,instances` from 0 on")
    if not (0 <= count <= MAX_NODES and count == int(count)):
        raise TraceInvalid(
            what, number, f"{fields[1][:20]!r} instances: a whole number from 0 to {MAX_NODES:,}"
        )
    return time, int(count)


def _unit_s(what: str, unit: str, last: float, span: NamedSpan | None) -> float:
    if unit and unit not in UNITS_S:
        raise SimulationError(f"there is no unit {unit!r}: it is one of {', '.join(UNITS_S)}")
    if span is None:
        if not unit:
            raise TraceInvalid(
                what,
                0,
                "its name says no begin and end (`2020-11-20-1930-to-2020-11-21-2200`), so that "
                "nothing tells hours from seconds: name it so or give `unit`",
            )
        return UNITS_S[unit]
    # A single row says what was held all the time, in whatever unit.
    fitting = [name for name, size_s in UNITS_S.items() if last == 0 or span.fits(last * size_s)]
    if not fitting or (unit and unit not in fitting):
        raise TraceInvalid(
            what,
            0,
            f"its last time, {last:g}, is no length in {unit or ', '.join(UNITS_S)} of the "
            f"{span.shortest_s / 3600:g} to {span.longest_s / 3600:g} hours that its name tells",
        )
    return UNITS_S[unit or fitting[0]]


def _event(what: str, number: int, line: str) -> tuple[float, str, list[str]]:
    problem = TraceInvalid(
        what,
        number,
        f'{line[:80]!r} is neither `[ms, "add" or "remove", {{"nodes": [...]}}]` nor `ms,add,node`',
    )
    try:
        if line.startswith("["):
            time, action, about = json.loads(line)
            names = about["nodes"]
        else:
            time, action, name = line.split(",")
            names = [name.strip()]
        at_s = float(time) / 1000.0
    except (ValueError, TypeError, KeyError, RecursionError):
        raise problem from None
    if (
        not isinstance(action, str)
        or action not in {"add", "remove", "other", "DONE"}
        or not isinstance(names, list)
    ):
        raise problem
    if action in {"add", "remove"} and not all(isinstance(name, str) and name for name in names):
        raise problem
    if not (math.isfinite(at_s) and at_s >= 0):
        raise TraceInvalid(what, number, f"its time is {time}: it must be 0 ms or more")
    return at_s, action, names


def _change(what: str, number: int, nodes: set[str], action: str, names: list[str]) -> None:
    for name in names:
        if (name in nodes) == (action == "add"):
            there = "is there already" if action == "add" else "is not there"
            raise TraceInvalid(what, number, f"the node {name[:40]!r} {there}: rows are missing")
        if action == "add":
            nodes.add(name)
        else:
            nodes.remove(name)
    if len(nodes) > MAX_NODES:
        raise TraceInvalid(what, number, f"more than {MAX_NODES:,} nodes")
