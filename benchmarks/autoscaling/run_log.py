"""Runs that are finished, a line each, so that an interrupted benchmark goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoscaling.simulator.outcome import Outcome
from benchmarks.autoscaling.grid import Cell


@dataclass(frozen=True, slots=True)
class Run:
    """A cell and what came of it."""

    cell: Cell
    outcome: Outcome
    seconds: float
    """That it took."""


class RunLog:
    """The finished runs of a directory.

    A line that was not written to its end is left out, and its run is made again. So are runs of
    other code: what a line follows from is part of its key.

    Args:
        path: The file, which need not be there.
        terms: All that a run follows from beside its cell, as plain data.
    """

    def __init__(self, path: Path, terms: Mapping[str, Any]) -> None:
        self._path = path
        self._terms = terms
        self._runs: dict[str, Run] = {}
        self.others = 0
        """Lines of other code or settings."""
        self.broken = 0
        """Lines that could not be read."""
        if path.is_file():
            with path.open("rb") as lines:
                self._read(lines.read())

    def _read(self, text: bytes) -> None:
        for line in text.splitlines():
            try:
                data = json.loads(line)
                cell = Cell.from_json(data["cell"])
                run = Run(cell, Outcome.from_json(data["outcome"]), float(data["seconds"]))
                key = str(data["key"])
            except (ValueError, KeyError, TypeError):
                self.broken += 1
                continue
            if key == cell.digest(self._terms):
                self._runs[key] = run
            else:
                self.others += 1
        if text and not text.endswith(b"\n"):
            # So that the next line is one of its own.
            with self._path.open("ab") as file:
                file.write(b"\n")

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs.values())

    def get(self, cell: Cell) -> Run | None:
        """The run of a cell; None if there is none yet.

        Args:
            cell: Which.
        """
        return self._runs.get(cell.digest(self._terms))

    def add(self, run: Run) -> None:
        """Keeps a run.

        Args:
            run: What came of a cell.
        """
        key = run.cell.digest(self._terms)
        data = {
            "key": key,
            "cell": run.cell.to_json(),
            "seconds": round(run.seconds, 3),
            "outcome": run.outcome.to_json(),
        }
        with self._path.open("a") as file:
            file.write(json.dumps(data, separators=(",", ":")) + "\n")
        self._runs[key] = run
