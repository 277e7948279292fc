"""What admission costs: requests/s with everything on against off, on the whole service."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.gateway.cells import select_cells
from benchmarks.gateway.engine import EngineSettings
from benchmarks.gateway.fleet import running
from benchmarks.gateway.goals import Goal, Outcome
from benchmarks.gateway.prompts import PromptMaker
from benchmarks.gateway.report import failures, outcomes
from benchmarks.gateway.run import Plan, Progress, measure

__all__ = ["GOALS", "Price", "price", "to_markdown"]

OFF, ON = "tidegate", "tidegate-keys"
CELLS = ("overhead@1", "overhead@32", "short@32", "chatty@16")
GOALS = (
    *(Goal(cell, "requests_per_s", True, 0.95, 1.0, OFF) for cell in CELLS),
    Goal("overhead@1", "e2e_p50", False, 1.1, 1.05, OFF),
)
_FIGURES = ("requests_per_s", "e2e_p50", "e2e_p99", "cpu_ms_per_request")


@dataclass(frozen=True, slots=True)
class Price:
    """Samples of both arms, and the goals judged on their medians."""

    samples: list[dict[str, Any]]
    outcomes: list[Outcome]
    failures: list[str]

    def dump(self, about: Mapping[str, Any]) -> str:
        """All of it as JSON."""
        document = {
            "about": about,
            "goals": [
                {"goal": o.goal.title, "ratio": round(o.ratio, 4), "verdict": o.verdict}
                for o in self.outcomes
            ],
            "failures": self.failures,
            "samples": self.samples,
        }
        return json.dumps(document, indent=1) + "\n"


def price(model: Path, rounds: int, seconds: float, step: Callable[[str], None]) -> Price:
    """Measures both arms, interleaved.

    Args:
        model: directory of the demo model.
        rounds: how often each cell is measured on each arm.
        seconds: about so long a sample.
        step: told what is being done.

    Raises:
        RuntimeError: an arm did not start.
    """
    settings = EngineSettings(model.resolve())
    plan = Plan(cells=select_cells(CELLS), rounds=rounds, seconds=seconds)
    with running((OFF, ON), settings, step) as fleet:
        if fleet.not_run:
            raise RuntimeError(f"not started: {fleet.not_run}")
        samples = measure(fleet.arms, plan, PromptMaker(settings.model), Progress(step=step))
    return Price(samples, outcomes(samples, GOALS, ON), failures(samples))


def to_markdown(result: Price, about: Mapping[str, Any]) -> str:
    """The report to read."""
    lines = [
        "# The price of admission",
        "",
        *(f"- {name}: {value}" for name, value in about.items()),
        f"- `{ON}`: keys, limits, budgets, prices, journal, SQLite store and audit log",
        f"- `{OFF}`: `access.keys: off`; guards and the classifier are on in both",
        "",
        "| goal | measured | verdict |",
        "|---|---|---|",
        *(f"| {o.goal.title} | {o.ratio:.3f} | {o.verdict} |" for o in result.outcomes),
        "",
        "Medians over rounds:",
        "",
        "| cell | arm | requests/s | e2e p50 ms | e2e p99 ms | CPU ms a request |",
        "|---|---|---|---|---|---|",
    ]
    for cell in CELLS:
        for arm in (OFF, ON):
            own = [s for s in result.samples if (s["arm"], s["cell"]) == (arm, cell)]
            figures = (median([s["metrics"][name] for s in own]) for name in _FIGURES)
            lines.append(f"| {cell} | {arm} | " + " | ".join(f"{f:.2f}" for f in figures) + " |")
    lines += ["", *(f"- {line}" for line in result.failures or ["No request failed."])]
    return "\n".join(lines) + "\n"
