"""The command: ``python -m benchmarks.weights.replay``, a busy hour against a warm pool."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from autoscaling.warm_pool import PoolSettings
from benchmarks.weights.replay_report import GOAL, draw, write
from benchmarks.weights.replayed_hour import Speed, compare, read_trace


def main(
    traces: Annotated[
        Path, typer.Option(help="CSV with TIMESTAMP, ContextTokens and GeneratedTokens.")
    ],
    cold: Annotated[float, typer.Option(help="Measured seconds to ready, nothing cached.")],
    cached: Annotated[float, typer.Option(help="The same from the node's cache.")],
    wake: Annotated[float, typer.Option(help="The same from standby.")],
    out: Annotated[Path, typer.Option(help="Directory for the results.")] = Path(
        "benchmarks/results"
    ),
    least: Annotated[int, typer.Option(help="Replicas that are always active.")] = 5,
    most: Annotated[int, typer.Option(help="Most replicas.")] = 15,
    standby: Annotated[int, typer.Option(help="Replicas on standby.")] = 2,
    tokens: Annotated[int, typer.Option(help="Tokens that saturate a replica.")] = 16384,
    up_delay: Annotated[float, typer.Option(help="Seconds before more are woken.")] = 5.0,
    prompt_tokens_s: Annotated[float, typer.Option(help="Prompt tokens a second.")] = 8000.0,
    token_s: Annotated[float, typer.Option(help="Seconds between two tokens.")] = 0.03,
    lead_in: Annotated[float, typer.Option(help="Seconds that are not counted.")] = 300.0,
    length: Annotated[float, typer.Option(help="Seconds of the trace.")] = 3600.0,
) -> None:
    """Share of requests that wait for a replica to be started, with standby and without.

    [b]Example[/b]

      python -m benchmarks.weights.replay --traces AzureLLMInferenceTrace_conv.csv
      --cold 300 --cached 90 --wake 3
    """
    requests = read_trace(traces, length)
    settings = PoolSettings(least, most, standby, tokens, up_delay_s=up_delay)
    speed = Speed(prompt_tokens_s, token_s)
    outcomes = compare(
        requests,
        settings,
        cold_s=cold,
        cached_s=cached,
        standby_s=wake,
        speed=speed,
        lead_in_s=lead_in,
    )
    about = {
        "taken": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "demand": f"{traces.name}: {len(requests)} requests; the first {lead_in:g} s are played "
        "and not counted",
        "pool": f"{least} to {most} replicas, {standby} on standby, {tokens} tokens saturate one",
        "seconds to ready": f"{cold:g} cold, {cached:g} from the cache, {wake:g} from standby",
        "replica": f"{prompt_tokens_s:g} prompt tokens/s, {token_s:g} s between two tokens",
        "command": "python -m benchmarks.weights.replay --traces FILE "
        f"--cold {cold:g} --cached {cached:g} --wake {wake:g} --least {least} --most {most} "
        f"--standby {standby} --tokens {tokens} --up-delay {up_delay:g} "
        f"--prompt-tokens-s {prompt_tokens_s:g} --token-s {token_s:g} --lead-in {lead_in:g}",
    }
    figures = {name: outcome.figures() for name, outcome in outcomes.items()}
    write(out, about, figures)
    draw(out / "weights-replay.png", {name: one.seconds for name, one in outcomes.items()})
    for name, one in outcomes.items():
        print(f"{name:20} {one.waited_for_start:6} of {one.requests} waited for a start")
    if any(one.share >= GOAL for name, one in outcomes.items() if name.startswith("standby")):
        raise typer.Exit(1)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command()(main)
    app(prog_name="python -m benchmarks.weights.replay")
