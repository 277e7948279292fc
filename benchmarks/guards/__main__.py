"""Runs the command: ``python -m benchmarks.guards``."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from app.classification.judge import Judge
from benchmarks.guards.labelled import Score, disagreements, halves, load, score
from benchmarks.guards.report import to_markdown
from benchmarks.guards.speed import SIZES, costs, texts

_STEPS = 4
app = typer.Typer(add_completion=False, context_settings={"max_content_width": 100})
console = Console(soft_wrap=True, markup=False, highlight=False)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Folder for guards.json and guards.md.")] = Path(
        "benchmarks/results"
    ),
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each timing.")] = 15,
) -> None:
    """Counts what guards find of a labelled set, and measures what they cost.

    Takes about half a minute, for example: python -m benchmarks.guards --rounds 5 --out /tmp
    """
    judge = Judge()
    entries = load()
    tuned, held_out = halves(entries)
    total = len(SIZES) * len(texts()) * _STEPS
    measured = [
        asdict(cost)
        for cost in track(costs(rounds), "timing", total, console=console, transient=True)
    ]
    results: dict[str, Any] = {
        "taken": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": f"Python {platform.python_version()}, google-re2 {version('google-re2')}",
        "lines": len(entries),
        "empty": sum(not entry.labels for entry in entries),
        "rounds": rounds,
        "scores": {
            "held_out": _scores(score(held_out, judge)),
            "tuned": _scores(score(tuned, judge)),
        },
        "disagreements": [
            {"line": line, "wrong": wrong, "missed": missed}
            for line, wrong, missed in disagreements(held_out, judge)
        ],
        "costs": measured,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "guards.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    markdown = to_markdown(results)
    (out / "guards.md").write_text(markdown, encoding="utf-8")
    console.print(markdown)


def _scores(by_kind: dict[str, Score]) -> dict[str, dict[str, float | None]]:
    return {
        kind: asdict(each) | {"precision": each.precision, "recall": each.recall}
        for kind, each in by_kind.items()
    }


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.guards")
