"""A replayed hour as JSON, as Markdown and as a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

GOAL = 0.01
"""Share of requests that may wait for a start where there is standby."""
_COLUMNS = {
    "share_waited_for_start": "waited for a start",
    "waited": "waited at all",
    "wait_p99_of_those_s": "p99 of their waits, s",
    "wait_most_s": "longest, s",
    "active_most": "most active",
    "woken": "woken",
    "started": "started",
    "replica_hours": "replica hours",
}
_COLOURS = ("#868e96", "#e8590c", "#5f3dc4", "#0b7285")


def write(out: Path, about: Mapping[str, str], figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes ``weights-replay.json`` and ``.md``."""
    out.mkdir(parents=True, exist_ok=True)
    document = {"about": about, "goal": GOAL, "arms": figures}
    (out / "weights-replay.json").write_text(json.dumps(document, indent=1) + "\n")
    (out / "weights-replay.md").write_text(markdown(about, figures))


def markdown(about: Mapping[str, str], figures: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["# A busy hour against a warm pool", ""]
    lines += [f"- {key}: {value}" for key, value in about.items()]
    lines += ["", f"| arm | {' | '.join(_COLUMNS.values())} |"]
    lines += ["|---|" + "---:|" * len(_COLUMNS)]
    lines += [
        f"| {name} | {' | '.join(_cell(key, arm[key]) for key in _COLUMNS)} |"
        for name, arm in figures.items()
    ]
    held = {
        name: arm["share_waited_for_start"] < GOAL
        for name, arm in figures.items()
        if name.startswith("standby")
    }
    verdicts = ", ".join(f"{'met' if met else 'MISSED'} ({name})" for name, met in held.items())
    lines += ["", f"Goal with standby: below {GOAL:.0%} wait for a start: {verdicts}.", ""]
    lines += [
        "Decisions are the core's; replicas, Serve and requests are simulated, by the second. A",
        "request waits for a start if it waits while more replicas are wanted than are awake or on",
        "standby. Waits are of those requests that waited. Without standby a replica is woken as",
        "soon as it has started.",
    ]
    return "\n".join(lines) + "\n"


def draw(path: Path, seconds: Mapping[str, Sequence[tuple[int, int, int, int]]]) -> None:
    """Draws what was active, wanted and waiting in each second."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(10, 6), layout="constrained", sharex=True, height_ratios=(2, 1)
    )
    for colour, (name, rows) in zip(_COLOURS, seconds.items(), strict=False):
        minutes = [place / 60 for place in range(len(rows))]
        upper.step(minutes, [row[0] for row in rows], where="post", color=colour, label=name)
        lower.step(minutes, [row[3] for row in rows], where="post", color=colour)
    upper.set_ylabel("active replicas")
    upper.legend(fontsize=8)
    lower.set_ylabel("requests waiting")
    lower.set_xlabel("minutes")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _cell(key: str, value: Any) -> str:
    if key == "share_waited_for_start":
        return f"{value:.2%}"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
