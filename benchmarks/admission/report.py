"""One run as JSON and as Markdown: the goals, how they were met, and every figure."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["Goal", "about", "write"]


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure and what it must be."""

    title: str
    measured: str
    met: bool


def about(command: str, store: str) -> dict[str, str]:
    """What was run, on what."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("sqlalchemy", "msgspec", "uvloop"))
    return {
        "taken": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command,
        "machine": f"{os.cpu_count()} cores, {_cpu_name()}; the load runs on them too",
        "versions": f"Python {platform.python_version()}, {packages}",
        "store": store,
        "set-up": "the ledger in a process of its own, gateways' clients over TCP, no engines",
    }


def write(
    out: Path,
    stem: str,
    title: str,
    meta: Mapping[str, str],
    goals: Sequence[Goal],
    result: Mapping[str, Any],
) -> None:
    """Writes ``STEM.json`` and ``STEM.md``."""
    out.mkdir(parents=True, exist_ok=True)
    document = {"about": meta, "goals": [asdict(goal) for goal in goals], "result": result}
    (out / f"{stem}.json").write_text(json.dumps(document, indent=1) + "\n")
    lines = [f"# {title}", "", *(f"- {key}: {value}" for key, value in meta.items())]
    lines += ["", "## Goals", "", "| goal | measured | verdict |", "|---|---|---|"]
    lines += [f"| {g.title} | {g.measured} | {'met' if g.met else 'missed'} |" for g in goals]
    lines += ["", "## Figures", "", "| figure | value |", "|---|---|"]
    lines += [f"| {name} | {_plain(value)} |" for name, value in result.items()]
    (out / f"{stem}.md").write_text("\n".join(lines) + "\n")


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return " / ".join(f"{key} {_plain(each)}" for key, each in value.items())
    return f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
