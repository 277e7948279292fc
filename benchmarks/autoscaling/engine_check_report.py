"""The page and the picture of the check against a real engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.autoscaling.engine_check_compare import TIMES

Document = Mapping[str, Any]
NAME = "autoscaling-engine-check"
_TITLES = {
    "ttft_p50": "TTFT p50",
    "ttft_p95": "TTFT p95",
    "itl_p50": "mean ITL p50",
    "itl_p95": "mean ITL p95",
}
_MEASURED, _SIMULATED = "#0b7285", "#e8590c"
_QUIET_CORES = 0.1


def write(out: Path, document: Document) -> list[Path]:
    """Writes the JSON, the page and the picture.

    Args:
        out: Directory for the results.
        document: Of the benchmark.

    Returns:
        The files.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{NAME}.{kind}" for kind in ("json", "md", "png")]
    paths[0].write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    paths[1].write_text(markdown(document))
    draw(paths[2], document)
    return paths


def markdown(document: Document) -> str:
    """The page.

    Args:
        document: Of the benchmark.
    """
    lines = ["# The simulator's engine beside a real one", "", *_verdict(document), ""]
    lines += [f"![quantiles, simulated and measured]({NAME}.png)", ""]
    lines += ["## Latencies", "", *_latencies(document), ""]
    lines += ["## Requests within a promise", "", *_kept(document), ""]
    lines += ["## What the engine carries", "", *_carried(document), ""]
    lines += ["## What was measured of it", "", *_steps(document), ""]
    lines += ["## What the simulator does not express", "", *_missing(document), ""]
    lines += ["## How it was done", "", *_done(document)]
    return "\n".join(lines) + "\n"


def _verdict(document: Document) -> list[str]:
    said = []
    for load in document["loads"]:
        found = "; ".join(f"{_TITLES[name]} {_signed(load['errors'][name])}" for name in TIMES)
        said.append(f"- At {_came(document, load):.0%} of what the engine carries: {found}.")
    worst, name, share = max(
        (abs(load["errors"][name]), name, _came(document, load))
        for load in document["loads"]
        for name in TIMES
    )
    points = max(abs(each) for load in document["loads"] for each in load["errors"]["kept"])
    more = document["backlog"]["simulated"] / document["backlog"]["measured"] - 1
    return [
        (
            "Simulated against measured, on requests that the service times were not made from "
            "(+10% is a tenth too long):"
        ),
        "",
        *said,
        f"- Requests a second of a full engine: {_signed(more)}.",
        (
            f"- The largest error of a time is {worst:.0%} ({_TITLES[name]} at {share:.0%}), of a "
            f"share of requests within a promise {100 * points:.1f} points."
        ),
    ]


def _came(document: Document, load: Document) -> float:
    """What arrived, as a share of what the engine carries: chance has made it other than meant."""
    return float(load["rate"] / document["backlog"]["measured"])


def _latencies(document: Document) -> list[str]:
    lines = ["| load | | measured, ms | simulated, ms | error | the engine from itself |"]
    lines += ["|---|---|---|---|---|---|"]
    for load in document["loads"]:
        title = f"{_came(document, load):.0%}, {load['rate']:.2f} requests/s"
        for name in TIMES:
            again = "" if load["spread"] is None else f"{load['spread'][name]:.1%}"
            lines.append(
                f"| {title} | {_TITLES[name]} | {1e3 * load['measured'][name]:.1f} | "
                f"{1e3 * load['simulated'][name]:.1f} | {_signed(load['errors'][name])} | {again} |"
            )
    return [
        *lines,
        "",
        (
            "The last column is how far rounds of the same arrivals on the real engine are from "
            "each other: the longest time over the shortest, less 1. An error below it may be "
            "chance."
        ),
    ]


def _kept(document: Document) -> list[str]:
    lines = ["| load | TTFT, ms | ITL, ms | measured | simulated | points |", "|---|" + "---|" * 5]
    for load in document["loads"]:
        for place, slo in enumerate(document["promises"]):
            lines.append(
                f"| {_came(document, load):.0%} | {1e3 * slo['ttft_s']:.0f} | "
                f"{1e3 * slo['itl_s']:.1f} | "
                f"{load['measured']['kept'][place]:.1%} | "
                f"{load['simulated']['kept'][place]:.1%} | "
                f"{100 * load['errors']['kept'][place]:+.1f} |"
            )
    return [
        *lines,
        "",
        (
            "Thresholds are 1.5, 2 and 3 times what the longest prompt and a step take alone, as "
            "they were measured first."
        ),
    ]


def _carried(document: Document) -> list[str]:
    backlog = document["backlog"]
    meant = ", ".join(f"{load['share']:.0%}" for load in document["loads"])
    real, said = backlog["measured"], backlog["simulated"]
    return [
        (
            f"{backlog['requests']} requests that come at once end at {real:.2f} a second while "
            f"every place is taken; in the simulator at {said:.2f} a second "
            f"({_signed(said / real - 1)}). The loads are shares of the measured figure, "
            f"meant to be {meant}; Poisson arrivals made them what they are."
        )
    ]


def _steps(document: Document) -> list[str]:
    lines = ["| prompt tokens | sequences | first token of the last, ms | step, ms |"]
    lines += ["|---|---|---|---|"]
    for each in document["steps"]:
        lines.append(
            f"| {each['prompt']:,} | {each['batch']} | {1e3 * each['prompt_s']:.1f} | "
            f"{1e3 * each['token_s']:.2f} |"
        )
    return lines


def _missing(document: Document) -> list[str]:
    by_prompt = document["full_batch_by_prompt"]
    batch = document["steps"][-1]["batch"]
    grown = ", ".join(f"{1e3 * step:.2f} ms after {prompt:,}" for prompt, step in by_prompt)
    return [
        (
            f"- Length: a step of {batch} sequences is the same for it whatever they have behind "
            f"them. Measured: {grown} prompt tokens."
        ),
        (
            "- A prompt that comes while a step runs waits for its end; in the simulator it is "
            "begun at once."
        ),
        (
            "- Prompts that wait together are read in one step if they fit; in the simulator they "
            "are read one after the other, each with what a step costs whatever is in it."
        ),
        (
            "- A chunk of a prompt and the tokens of others share a step and what it costs; in the "
            "simulator their times add up."
        ),
        "- How many sequences are in a step, and prompts longer than a step, it does express.",
    ]


def _done(document: Document) -> list[str]:
    rounds = [each for load in document["loads"] for each in load["rounds"]]
    late = max(max(each["late_s"]) for each in rounds)
    foreign = max(each["foreign_cpu"] for each in rounds)
    (least, most), (fewest, longest) = document["lengths"]["prompt"], document["lengths"]["output"]
    counts = ", ".join(str(load["simulated"]["requests"]) for load in document["loads"])
    lines = [
        (
            "- Service times come from medians of the steps above, by what reads splitwise-sim's "
            "table (`autoscaling/simulator/perf_tables.py`). Nothing was fitted to what is "
            "compared."
        ),
        (
            f"- Held out: Poisson arrivals, {counts} requests a round, prompts of {least:,} to "
            f"{most:,} and answers of {fewest:,} to {longest:,} tokens, logarithms of lengths even."
        ),
        (
            "- TTFT is from sending to the first token, mean ITL from there to the last one, "
            "divided by the tokens after the first. Quantiles of both sides are those of the "
            "simulator's histograms, whose bins are 0.8% wide."
        ),
        f"- The latest request was sent {1e3 * late:.1f} ms after its time. Other processes took "
        f"{foreign:.2f} cores at most"
        + (": the machine was not quiet." if foreign > _QUIET_CORES else "."),
    ]
    return lines + [f"- {name}: {said}" for name, said in document["about"].items()]


def draw(path: Path, document: Document) -> None:
    """Quantiles of both sides, a column for each load.

    Args:
        path: File to write.
        document: Of the benchmark.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    loads = document["loads"]
    figure, axes = plt.subplots(
        2, len(loads), figsize=(4.2 * len(loads), 6.6), layout="constrained", squeeze=False,
        sharey=True,
    )  # fmt: skip
    for column, load in enumerate(loads):
        found = load["quantiles"]
        for line, (name, label) in enumerate((("ttft", "TTFT"), ("itl", "mean ITL"))):
            panel = axes[line][column]
            for side, colour in (("measured", _MEASURED), ("simulated", _SIMULATED)):
                times = [1e3 * value for value in found[f"{name}_{side}"]]
                panel.plot(times, [100 * at for at in found["share"]], color=colour, label=side)
            panel.set_xscale("log" if name == "ttft" else "linear")
            panel.set_xlabel(f"{label}, ms")
            panel.grid(alpha=0.25)
        axes[0][column].set_title(
            f"{_came(document, load):.0%} of what it carries\n"
            f"{load['rate']:.2f} requests/s, {load['measured']['requests']} measured",
            fontsize=10,
        )
    for line in range(2):
        axes[line][0].set_ylabel("requests, %")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _signed(share: float) -> str:
    return f"{share:+.0%}" if abs(share) >= 0.1 else f"{share:+.1%}"
