"""One run as JSON and as Markdown; pure functions of what was measured."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.disaggregated.goals import GOALS, Outcome, judge

__all__ = ["TITLES", "markdown", "outcome_line", "plain", "write"]

Report = Mapping[str, Any]

TITLES = {
    "handoff": "The hand-off from prefill to decode",
    "interference": "Running streams while long prompts arrive",
    "migration": "Streams that outlive their replica",
    "drill": "A surge of longer and more prompts",
}


def write(out: Path, name: str, about: Mapping[str, str], report: Report) -> list[Path]:
    """Writes ``disaggregated-NAME.json`` and ``.md``; returns their paths."""
    out.mkdir(parents=True, exist_ok=True)
    outcomes = judge(report, GOALS[name])
    document = {
        "about": about,
        "goals": [
            {
                "goal": o.goal.title,
                "at_most": o.goal.at_most,
                "value": o.value,
                "verdict": o.verdict,
            }
            for o in outcomes
        ],
        "result": report,
    }
    paths = [out / f"disaggregated-{name}{ending}" for ending in (".json", ".md")]
    paths[0].write_text(json.dumps(plain(document), indent=1, allow_nan=False) + "\n")
    paths[1].write_text(markdown(name, about, report))
    return paths


def plain(value: Any) -> Any:
    """NaN becomes null, figures get five digits: JSON that any reader takes."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def outcome_line(outcome: Outcome) -> tuple[str, str, str]:
    """A goal, what was measured, and the verdict, in words."""
    goal = outcome.goal
    title = f"{goal.title}: {goal.at_most:g}{goal.unit}"
    if goal.at_most:
        title = f"{goal.title}: at most {goal.at_most:g}{goal.unit}"
    value = "-" if math.isnan(outcome.value) else f"{_figure(outcome.value)}{goal.unit}"
    return title, value, outcome.verdict


def markdown(name: str, about: Mapping[str, str], report: Report) -> str:
    """The report to read."""
    lines = [f"# {TITLES[name]}", "", *(f"- {key}: {value}" for key, value in about.items())]
    lines += ["", "## Goals", ""]
    outcomes = judge(report, GOALS[name])
    lines += _table(("goal", "measured", "verdict"), [outcome_line(o) for o in outcomes])
    lines += ["", "## Figures", "", *_FIGURES[name](report)]
    return "\n".join(lines) + "\n"


def _figure(value: Any) -> str:
    if not isinstance(value, int | float) or math.isnan(value):
        return "-"
    if float(value).is_integer() or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _spread(figures: Mapping[str, Any], *names: str) -> str:
    return " / ".join(_figure(figures.get(name)) for name in names or ("p50", "p99"))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _problems(report: Report) -> list[str]:
    found = report.get("problems") or []
    return ["", *(f"- {problem}" for problem in found)] if found else []


def _handoff(report: Report) -> list[str]:
    equality, settings = report["equality"], report["settings"]
    least, most = settings["lengths"]
    lines = [
        (
            f"{equality['prompts']} prompts of {least:,} to {most:,} tokens "
            f"({equality['prompt_tokens']:,} together), {settings['concurrency']} at a time, "
            f"{settings['output_tokens']} tokens out; TTFT p50 / p99 "
            f"{_spread(equality['ttft_ms'])} ms. Of their prompt tokens, decode engines:"
        ),
        "",
    ]
    lines += _table(
        ("", "tokens", "one at a time"),
        [
            (name.removeprefix("prompt_tokens_"), f"{n:,}", f"{report['timed']['decode'][name]:,}")
            for name, n in equality["decode"].items()
        ],
    )
    lines += _problems(equality)
    lines += [
        "",
        (
            "One prompt at a time. The hand-off is from sending the request to decode until its "
            "first token, by the gateway's clock; TTFT is the client's."
        ),
        "",
    ]
    lines += _table(
        ("prompt tokens", "hand-offs", "hand-off ms p50 / p99", "TTFT ms p50 / p99"),
        [
            (
                f"{int(size):,}",
                f"{of['handoffs']}",
                _spread(of["handoff_ms"]),
                _spread(of["ttft_ms"]),
            )
            for size, of in report["times"].items()
        ],
    )
    return lines


def _interference(report: Report) -> list[str]:
    settings = report["settings"]
    lines = [
        (
            f"{settings['running']} streams of short prompts run all the time; in every other "
            f"block prompts of {settings['long_tokens']:,} tokens arrive beside them, one every "
            f"{settings['long_every_s']:g} s. {settings['rounds']} blocks of "
            f"{settings['seconds']:g} s of each kind, taking turns. p50 / p99 in ms; ITL and TTFT "
            "are those of the streams with short prompts."
        ),
        "",
    ]
    header = ("engines", "ITL", "TTFT", "TTFT of long", "tokens/s", "requests", "long", "errors")
    lines += _table(
        header,
        [
            (
                name,
                _spread(of["itl_ms"]),
                _spread(of["ttft_ms"]),
                _spread(of["long_ttft_ms"]),
                _figure(of["tokens_per_s"]),
                f"{of['requests']}",
                f"{of['long_prompts']}",
                f"{of['errors']}",
            )
            for name, of in report["blocks"].items()
        ],
    )
    wins = report["colocated_wins"]
    lines += ["", "Where colocated engines do better, by more than one in twenty:", ""]
    lines += [f"- {win}" for win in wins] or ["- nowhere"]
    return lines


def _migration(report: Report) -> list[str]:
    settings = report["settings"]
    lines = [
        (
            f"{settings['concurrency']} greedy streams at a time over two replicas, "
            f"{settings['output_tokens'][0]} to {settings['output_tokens'][1]} tokens each. A "
            "replica dies by SIGKILL as soon as both are ready; drained: it is told "
            f"{settings['notice_s']:g} s before. Every answer is compared with the one to the same "
            "prompt undisturbed."
        ),
        "",
    ]
    names = ("streams", "broken", "unequal", "doubled", "miscounted", "pauses")
    rows = []
    for arm in ("killed", "drained"):
        of = report[arm]
        rows.append(
            (
                arm,
                f"{len(of['blows'])}",
                *(_figure(of[name]) for name in names),
                ", ".join(f"{way} {count}" for way, count in of["moves"].items()) or "none",
                _spread(of["pause_ms"], "p50", "p99", "max"),
                _spread(of["others_gap_ms"]),
            )
        )
    header = ("", "times", *names, "moved", "pause ms p50 / p99 / most", "others' gap then, ms")
    lines += _table(header, rows)
    lines += [
        "",
        (
            "A pause is the gap between two reads of a stream that was moved. Undisturbed, a gap "
            f"is {_spread(report['calm_gap_ms'])} ms (p50 / p99)."
        ),
    ]
    for arm in ("killed", "drained"):
        lines += _problems(report[arm])
    return lines


def _drill(report: Report) -> list[str]:
    settings, phases = report["settings"], report["phases"]
    lines = [
        (
            f"{report['requests']:,} requests, {report['lost']} lost; zones "
            f"{', '.join(report['zones'])}. The surge lasts {settings['surge_s']:g} s and grows "
            f"over its first {settings['ramp_s']:g} s. Small requests ({settings['small_tokens']} "
            f"tokens in, {settings['small_output_tokens']} out) come at a steady "
            f"{settings['small_per_s']:g} a second. Latencies are p50 / p99 in ms."
        ),
        "",
    ]
    header = ("phase", "requests/s", "prompt tokens/s", "TTFT of small", "TTFT of load", "lost")
    lines += _table(
        header,
        [
            (
                phase,
                _figure(of["load_requests_per_s"]),
                _figure(of["load_prompt_tokens_per_s"]),
                _spread(of["small_ttft_ms"]),
                _spread(of["load_ttft_ms"]),
                f"{of['lost']}",
            )
            for phase, of in phases.items()
        ],
    )
    return lines + _problems(report)


_FIGURES = {
    "handoff": _handoff,
    "interference": _interference,
    "migration": _migration,
    "drill": _drill,
}
