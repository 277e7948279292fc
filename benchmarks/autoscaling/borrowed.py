"""What other benchmarks have measured and this report shows: forecasts and ticks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_OURS = "Tidegate"
_ORIGINS = {"hourly": "an origin each hour", "all": "an origin each bin"}
_MEASURES = ("wape", "bias", "pinball_0.5", "pinball_0.9", "pinball_0.95", "covered", "width")


def forecast_table(results: Path) -> dict[str, Any] | None:
    """Ours and the calibrated last value by series, horizon and origins.

    Args:
        results: Directory with `forecast.json`.

    Returns:
        None if it is not there.
    """
    file = results / "forecast.json"
    if not file.is_file():
        return None
    found = json.loads(file.read_text())
    rows: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for key, origins in _ORIGINS.items():
        for series, cells in found.get(key, {}).items():
            for minutes, cell in cells.items():
                for model, into in ((_OURS, rows), ("last value, calibrated", others)):
                    figures = cell["models"][model]
                    into.append(
                        {
                            "series": series,
                            "minutes": int(minutes),
                            "origins": origins,
                            **{name: figures[name] for name in _MEASURES},
                        }
                    )
    return {"rows": rows, "last_value": others, "taken": found["about"]["taken"]}


def tick_table(results: Path) -> dict[str, Any] | None:
    """Latency and CPU of the planner's ticks by number of pools.

    Args:
        results: Directory with `foresight.json`.

    Returns:
        None if it is not there.
    """
    return _part(results / "foresight.json", "tick")


def speed_of(results: Path) -> dict[str, Any] | None:
    """How fast the simulator replays.

    Args:
        results: Directory with `autoscaling-speed.json`.

    Returns:
        None if it is not there.
    """
    return _part(results / "autoscaling-speed.json", "speed")


def _part(file: Path, part: str) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    found: dict[str, Any] | None = json.loads(file.read_text()).get(part)
    return found
