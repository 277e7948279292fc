"""Results as JSON, Markdown and one picture each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["noisy_report", "timing_report", "write"]

Report = Mapping[str, Any]


def write(directory: Path, name: str, report: Report, markdown: str) -> list[Path]:
    """Writes the JSON and the Markdown; returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"isolation-{name}.json", directory / f"isolation-{name}.md"]
    paths[0].write_text(json.dumps(report, indent=1) + "\n")
    paths[1].write_text(markdown)
    return paths


def _verdict(met: bool) -> str:
    return "met" if met else "missed"


def noisy_report(report: Report) -> str:
    """The noisy neighbour as Markdown."""
    ttft, ratio, jain = report["ttft_ms_of_b"], report["ttft_p99_to_alone"], report["jain"]
    lines = [
        "# A noisy neighbour",
        "",
        f"`{report['command']}`, {report['when']}, {report['machine']}.",
        "",
        (
            f"A tenant's share of the engine is {report['share_requests_per_s']:.1f} requests/s. "
            f"B, C and D offer {report['settings']['load']:.0%} of it;"
        ),
        "A as much (`shared`) or ten times its share (`noisy`). Time to B's first token in ms,",
        "what all tenants were served, and how many running requests were set aside for another:",
        "",
        "| arm | requests | p50 | p95 | p99 | p99 to alone | tokens/s | set aside |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm, figures in ttft.items():
        lines.append(
            f"| {arm} | {figures['requests']} | {figures['p50']:.1f} | {figures['p95']:.1f} "
            f"| {figures['p99']:.1f} | {ratio[arm]:.2f} | {report['tokens_per_s'][arm]:.0f} "
            f"| {report['set_aside'][arm]} |"
        )
    lines += [
        "",
        "While all are backlogged, A with ten times as many requests as each of the others:",
        "",
        "| queue | Jain's index of weighted tokens served | a | b | c | d |",
        "|---|---|---|---|---|---|",
    ]
    for arm, served in report["served_weighted_tokens"].items():
        cells = " | ".join(f"{value:.0f}" for value in served.values())
        lines.append(f"| {arm} | {jain[arm]:.4f} | {cells} |")
    lines += [
        "",
        f"Set aside meanwhile, by the fair queue: {report['set_aside_while_backlogged']}.",
        "",
        "| goal | figure | |",
        "|---|---|---|",
        (
            f"| TTFT p99 of B, noisy to alone, at most 1.5 | {ratio['noisy']:.2f} "
            f"| {_verdict(ratio['noisy'] <= 1.5)} |"
        ),
        (
            f"| Jain's index while all are backlogged, at least 0.98 | {jain['fair']:.4f} "
            f"| {_verdict(jain['fair'] >= 0.98)} |"
        ),
        "",
    ]
    return "\n".join(lines)


def timing_report(report: Report) -> str:
    """The timing attack as Markdown."""
    lines = [
        "# A timing attack on the prefix cache",
        "",
        f"`{report['command']}`, {report['when']}, {report['machine']}.",
        "",
        "AUC of telling from the time to one's own first token whether another sent a prefix of",
        f"{report['prefix_tokens']} tokens. 0.5 is guessing; the interval is 95%, by bootstrap, so",
        "that one in twenty misses 0.5 by chance.",
        "",
        "| arm | AUC | interval | TTFT p50 if sent, ms | if not | goal |",
        "|---|---|---|---|---|---|",
    ]
    for name, arm in report["arms"].items():
        low, high = arm["interval"]
        salted = name != "salts off"
        goal = _verdict(low <= 0.5 <= high) if salted else "-"
        lines.append(
            f"| {name} | {arm['auc']:.3f} | {low:.3f} to {high:.3f} | {arm['ttft_ms_sent']:.2f} "
            f"| {arm['ttft_ms_not_sent']:.2f} | {goal} |"
        )
    return "\n".join([*lines, ""])
