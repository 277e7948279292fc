"""Where results are written, and how they read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

Results = dict[str, Any]


def write(out: Path, part: str, found: Mapping[str, Any]) -> None:
    """Puts one part of the results beside the others, and the page of all of them.

    Args:
        out: directory for the results.
        part: `tick`, `month` or `drill`.
        found: what was measured.
    """
    file = out / "foresight.json"
    results: Results = json.loads(file.read_text()) if file.is_file() else {}
    taken = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    results[part] = {"taken": taken, **found}
    file.write_text(json.dumps(results, indent=1) + "\n")
    (out / "foresight.md").write_text(page(results))
    if "month" in results:
        plot(results["month"], out / "foresight-month.png")
    Console().print(f"written: {out / 'foresight.md'}")


def page(results: Results) -> str:
    """The results as Markdown.

    Args:
        results: by part.
    """
    parts = [("tick", _tick), ("month", _month), ("drill", _drill)]
    text = "# Looking ahead: what it costs, and what comes of it\n"
    return text + "".join(make(results[name]) for name, make in parts if name in results)


def _tick(found: Results) -> str:
    rows = [
        f"| {row['pools']:,} | "
        + " | ".join(
            f"{row[name]['p50']} / {row[name]['p99']} / {row[name]['max']}"
            for name in ("tick_ms", "take_ms", "heard_ms")
        )
        + f" | {row['cpu_ms_per_tick']} | {row['mib']} |"
        for row in found["rows"]
    ]
    fits = [ms for row in found["rows"] for ms in row["fit_ms"]]
    fit = f"{min(fits):,.0f} to {max(fits):,.0f} ms" if fits else "not measured"
    return f"""
## A tick

Taken {found["taken"]}, {found["ticks"]} ticks a second apart, in one process. Times in ms: p50, p99, greatest.

| pools | tick | a gateway's message | the keeper's news | CPU a second | memory, MiB |
|---|---|---|---|---|---|
{chr(10).join(rows)}

A fit, which is made in a process beside it: {fit}.
"""  # noqa: E501


def _month(found: Results) -> str:
    rows = found["rows"]
    shown = [row for row in rows if row["day"] in {1, 2, 3, 7, 14, 21, 28, len(rows)}]
    lines = [
        f"| {row['day']} | {row['mib']} | {row['state_kib_per_pool']} | {row['fits']} |"
        for row in shown
    ]
    return f"""
## A month

Taken {found["taken"]}: {found["pools"]} pools, a message and a tick for each minute, {found["seconds"]:,.0f} s in all.

| after day | resident, MiB | state a pool, KiB | fits that day |
|---|---|---|---|
{chr(10).join(lines)}

![memory by day](foresight-month.png)
"""  # noqa: E501


def _drill(found: Results) -> str:
    lines = [f"| {name} | {value} |" for name, value in found["figures"].items()]
    return f"""
## On a cluster

Taken {found["taken"]}: {found["about"]}

| | |
|---|---|
{chr(10).join(lines)}
"""


def plot(month: Results, file: Path) -> None:
    """Draws memory by day.

    Args:
        month: what was measured.
        file: where to draw it.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    days = [row["day"] for row in month["rows"]]
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    axes.plot(days, [row["mib"] for row in month["rows"]], label="resident")
    axes.set(xlabel="simulated days", ylabel="MiB", title=f"The planner of {month['pools']} pools")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(file, dpi=110)
    plt.close(figure)
