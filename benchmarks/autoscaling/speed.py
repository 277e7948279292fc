"""How long the simulator takes for 14 days of the largest series with 100 replicas.

::

    python -m benchmarks.autoscaling.speed

The largest series is the one with the most requests at that size. They are generated on the way,
and the time for that is in the figure.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from autoscaling.simulator.demand.servegen import ServeGenWorkload, client_rates
from autoscaling.simulator.rivals.static_peak import static_peak
from autoscaling.simulator.run import simulate
from autoscaling.simulator.scenario import Scenario
from autoscaling.simulator.supply.disruptions import never
from autoscaling.simulator.terms import ON_DEMAND, Requests
from benchmarks.autoscaling.demand_store import (
    capacity_of,
    lengths_of,
    prepare,
    service_model,
)
from benchmarks.autoscaling.grid import SERIES
from benchmarks.autoscaling.setup import DAY_S, SETUP

REPLICAS = 100


class Timed:
    """A workload that adds up how long its windows take.

    Args:
        workload: Demand.
    """

    def __init__(self, workload: ServeGenWorkload) -> None:
        self._workload = workload
        self.window_s = workload.window_s
        self.windows = workload.windows
        self.seconds = 0.0

    def window(self, index: int) -> Requests:
        """The requests of one window.

        Args:
            index: Which.
        """
        began = time.perf_counter()
        found = self._workload.window(index)
        self.seconds += time.perf_counter() - began
        return found


def main(
    traces: Annotated[Path, typer.Option(help="Directory of the shared traces.")] = Path(
        "../shared/traces"
    ),
    out: Annotated[Path, typer.Option(help="Directory for the results.")] = Path(
        "benchmarks/results"
    ),
    work: Annotated[Path, typer.Option(help="Directory for demand.")] = Path("build/autoscaling"),
    days: Annotated[float, typer.Option(min=0.1, max=14, help="Days to replay.")] = 14.0,
) -> None:
    """Replays all of it with a static fleet of 100 replicas, on one core."""
    console = Console()
    facts = {name: prepare(traces, work, SETUP, name) for name in SERIES}
    series = max(facts, key=lambda name: facts[name]["requests"])
    found = measure(traces, series, facts[series], days, console)
    file = out / "autoscaling-speed.json"
    file.write_text(json.dumps({"speed": found}, indent=1) + "\n")
    console.print_json(data=found)


def measure(
    traces: Path, series: str, facts: dict[str, Any], days: float, console: Console
) -> dict[str, Any]:
    """Replays a series, scaled so that 100 replicas carry its busiest ten minutes.

    Args:
        traces: Directory of the shared traces.
        series: Whose demand.
        facts: Of it, as prepared.
        days: How many of its days.
        console: Where to show progress.
    """
    clients = []
    for file in sorted((traces / "servegen" / f"language-{series}").glob("*.csv")):
        with file.open() as lines:
            clients.append(client_rates(lines, file.name))
    lengths = lengths_of(traces, SETUP, series)
    scale = facts["scale"] * REPLICAS / facts["busiest_replicas"]
    workload = Timed(ServeGenWorkload(clients, lengths, SETUP.demand_seed, scale))
    scenario = Scenario(
        workload=workload,
        begin_s=0.0,
        end_s=days * DAY_S,
        model=service_model(traces, SETUP),
        capacity=capacity_of(facts),
        means=(facts["mean_prompt"], facts["mean_output"]),
        slo=SETUP.slo,
        supply=never(()),
        prices={ON_DEMAND: SETUP.price},
        lead_s=180.0,
        most=REPLICAS,
        first=REPLICAS,
    )
    with Progress(console=console) as progress:
        task = progress.add_task(f"{series}, {REPLICAS} replicas", total=1.0)
        began = time.perf_counter()
        outcome = simulate(
            scenario,
            static_peak(replicas=REPLICAS),
            progress=lambda share: progress.update(task, completed=share),
        )
        seconds = time.perf_counter() - began
    return {
        "series": series,
        "days": days,
        "replicas": REPLICAS,
        "requests": outcome.requests,
        "seconds": round(seconds, 1),
        "generating_s": round(workload.seconds, 1),
        "attainment": round(outcome.attainment, 4),
    }


if __name__ == "__main__":
    typer.run(main)
