"""The results as JSON and as Markdown."""

from __future__ import annotations

from typing import Any

_NUMBER = "{:,.0f}"
_SAID = (
    "`benchmarks/guards/labelled.jsonl`: {lines} texts written by hand, {empty} of them with "
    "nothing to be found, most of these hard negatives. Patterns were tuned on the odd lines; the "
    "figures are of the even ones alone. A finding is right if it is of the same kind, and begins "
    "and ends where the label does. Whoever wrote the texts knew what such patterns look for, so "
    "other people's texts will fare worse, above all for injection and exhaustion, which are "
    "heuristics."
)
_MEASURED = (
    "Microseconds a request on one core, the median of {rounds} rounds. `judge` holds `find`, zone "
    "markers, task and risk. `AnswerFilter` gets 200 pushes a kB."
)


def to_markdown(results: dict[str, Any]) -> str:
    scored = results["scores"]
    lines = [
        "# Guards",
        "",
        f"- taken: {results['taken']}",
        f"- machine: {results['machine']}",
        f"- versions: {results['versions']}",
        "- command: `python -m benchmarks.guards`",
        "",
        "## Precision and recall",
        "",
        _SAID.format(**results),
        "",
        "| kind | right | wrong | missed | precision | recall |",
        "|---|---|---|---|---|---|",
    ]
    for kind, each in scored["held_out"].items():
        lines.append(
            f"| {kind} | {each['right']} | {each['wrong']} | {each['missed']} "
            f"| {_share(each['precision'])} | {_share(each['recall'])} |"
        )
    lines += ["", "On the lines that were tuned on:", ""]
    lines += ["| kind | precision | recall |", "|---|---|---|"]
    for kind, each in scored["tuned"].items():
        lines.append(f"| {kind} | {_share(each['precision'])} | {_share(each['recall'])} |")
    lines += [
        "",
        "Lines of the held-out half where findings and labels differ: "
        + (
            "; ".join(
                f"{each['line']} ("
                + ", ".join(
                    [f"wrong: {kind}" for kind in each["wrong"]]
                    + [f"missed: {kind}" for kind in each["missed"]]
                )
                + ")"
                for each in results["disagreements"]
            )
            or "none"
        )
        + ".",
        "",
        "## Cost",
        "",
        _MEASURED.format(**results),
        "",
    ]
    sizes = sorted({each["size"] for each in results["costs"]})
    lines += [
        "| step | text | " + " | ".join(f"{size // 1000} kB" for size in sizes) + " |",
        "|---|---|" + "---|" * len(sizes),
    ]
    rows: dict[tuple[str, str], dict[int, float]] = {}
    for each in results["costs"]:
        rows.setdefault((each["what"], each["text"]), {})[each["size"]] = each["us"]
    for (what, text), by_size in sorted(rows.items()):
        figures = " | ".join(_NUMBER.format(by_size[size]) for size in sizes)
        lines.append(f"| {what} | {text} | {figures} |")
    return "\n".join((*lines, ""))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
