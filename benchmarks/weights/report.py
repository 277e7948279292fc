"""The figures of several runs as one page and one picture.

::

    python -m benchmarks.weights.report benchmarks/results

reads `weights-{speed,loading,fetching,fetching-moto,tampering}.json` there, as far as they exist,
and writes `weights.md` and `weights-loading.png`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

Document = Any
GOAL = 1.05
MIB = 1024**2


def main(
    results: Annotated[Path, typer.Argument(help="Directory of the results.")] = Path(
        "benchmarks/results"
    ),
) -> None:
    """Write the page."""
    lines = ["# Weights: signing, loading, fetching, tampering", ""]
    parts: dict[str, Callable[[Document], list[str]]] = {
        "speed": _speed,
        "loading": _loading,
        "fetching": _fetching,
        "fetching-moto": _fetching,
        "tampering": _tampering,
    }
    for name, section in parts.items():
        file = results / f"weights-{name}.json"
        if file.is_file():
            document = json.loads(file.read_text())
            lines += [*section(document), ""]
            if name == "loading":
                _draw(document, results / "weights-loading.png")
    (results / "weights.md").write_text("\n".join(lines).rstrip() + "\n")
    print("\n".join(lines))


def _speed(document: Document) -> list[str]:
    size = document["bytes"] / 1024**3
    return [
        "## Signing and verifying",
        "",
        (
            f"{size:.2f} GiB in {document['files']} files on {document['cores']} cores "
            f"({document['at']}), medians of {len(next(iter(document['seconds'].values())))} runs."
        ),
        "",
        "| | GiB/s |",
        "|---|---:|",
        *(f"| {name} | {speed:.2f} |" for name, speed in document["gib_per_s"].items()),
    ]


def _loading(document: Document) -> list[str]:
    gib = document[0]["verified"]["loader_bytes"] / 1024**3
    summary = (
        f"A model of {gib:.2f} GiB of random weights, loaded into vLLM's CPU worker, from the "
        "configuration to the loaded model; medians. The ratio is the median of those within "
        f"each round; the goal is at most {GOAL:g}."
    )
    lines = [
        "## Loading with verification and without",
        "",
        summary,
        "",
        "| model | page cache | unverified (s) | verified (s) | ratio | rounds | goal |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for entry in document:
        met = "met" if entry["ratio"] <= GOAL else "missed"
        plain, checked = entry["unverified"], entry["verified"]
        lines.append(
            f"| {entry['model']} | {entry['page_cache']} | {plain['total_s']:.2f} | "
            f"{checked['total_s']:.2f} | {entry['ratio']:.3f} | {plain['runs']} | {met} |"
        )
    return lines


def _fetching(document: Document) -> list[str]:
    settings = document["settings"]
    size = settings["bytes"] / MIB
    summary = (
        f"{size:.0f} MiB over {settings['connections']} connections, by ranges of "
        f"{settings['part'] / MIB:.0f} MiB. Tidegate hashes what it fetches, `aws s3 cp` does not."
    )
    lines = [
        f"## Fetching from a server of {settings['server']}",
        "",
        summary,
        "",
        "| | median MiB/s | best | runs |",
        "|---|---:|---:|---:|",
    ]
    for name, arm in document["arms"].items():
        best = size / min(arm["seconds"])
        lines.append(f"| {name} | {arm['median_mib_s']:.0f} | {best:.0f} | {len(arm['seconds'])} |")
    return lines


def _tampering(document: Document) -> list[str]:
    return [
        "## Tampering",
        "",
        (
            f"{document['mutations']} mutations of {document['model']} ({document['at']}), "
            f"{document['between_check_and_load']} of them between check and load: "
            f"**{document['accepted']} accepted**. Untouched: {document['untouched_accepted']} of "
            f"{document['untouched']} accepted."
        ),
        "",
        "| mutation | refused as |",
        "|---|---|",
        *(
            f"| {name} | {', '.join(f'{reason} ({count})' for reason, count in found.items())} |"
            for name, found in sorted(document["results"].items())
        ),
    ]


def _draw(document: Document, file: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    entries = document
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    places = range(len(entries))
    for shift, what in ((-0.2, "unverified"), (0.2, "verified")):
        axes.bar(
            [place + shift for place in places],
            [entry[what]["total_s"] for entry in entries],
            width=0.38,
            label=what,
        )
    labels = [f"{each['model']}\n{each['page_cache']} ({each['ratio']:.2f})" for each in entries]
    axes.set_xticks(list(places), labels)
    axes.set_ylabel("seconds to load")
    axes.legend()
    figure.savefig(file, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    typer.run(main)
