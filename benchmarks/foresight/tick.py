"""How long a tick takes: the forecaster's core for 10, 100, 1,000 and 10,000 pools.

::

    python -m benchmarks.foresight.tick --pools 10,100,1000
"""

from __future__ import annotations

import resource
import statistics
import time
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.progress import track

from autoscaling.fleet_planner import FleetPlanner
from autoscaling.forecast.fitting import fit
from benchmarks.foresight.results import write
from benchmarks.foresight.synthetic import BEGIN_S, Demand, fleet_of, news_of

_HISTORY_S = 3 * 3600.0
_FITS = 8


def main(
    out: Annotated[Path, typer.Option(help="Directory for the results.")] = Path(
        "benchmarks/results"
    ),
    pools: Annotated[str, typer.Option(help="Numbers of pools.")] = "10,100,1000,10000",
    ticks: Annotated[int, typer.Option(help="Ticks that are measured of each.")] = 180,
) -> None:
    """Latency and CPU time of the planner's ticks.

    [b]Example[/b]

      python -m benchmarks.foresight.tick --pools 10,100 --ticks 60
    """
    rows = [measure(int(count), ticks) for count in pools.split(",")]
    write(out, "tick", {"ticks": ticks, "rows": rows})


def measure(pools: int, ticks: int) -> dict[str, Any]:
    """One row: a fleet that has had demand for hours, looked at for a while.

    Args:
        pools: how many.
        ticks: how many are measured, a second apart.
    """
    # Of a large fleet a shorter past: its bins take the same memory either way.
    history_s = _HISTORY_S if pools <= 100 else 600.0
    before = psutil.Process().memory_info().rss
    fleet = fleet_of(pools)
    planner, demand, news = FleetPlanner(fleet), Demand(fleet), news_of(fleet)
    fits: list[float] = []
    begin = BEGIN_S
    coming = demand.messages(begin, begin + history_s, 10.0)
    steps = int(history_s / 10.0)
    for wall, message in track(coming, f"{pools} pools: history", total=steps, transient=True):
        planner.take(message, wall)
        planner.tick(wall, wall)
    took: dict[str, list[float]] = {"take": [], "heard": [], "tick": []}
    cpu = _cpu()
    for wall, message in demand.messages(begin + history_s, begin + history_s + ticks, 1.0):
        for name, call in (
            ("take", lambda m=message, w=wall: planner.take(m, w)),
            ("heard", lambda w=wall: planner.heard(news, w)),
            ("tick", lambda w=wall: planner.tick(w, w)),
        ):
            began = time.perf_counter()
            call()
            took[name].append(1000 * (time.perf_counter() - began))
        for job in planner.due():
            # Made beside the actor in production; here a few, so that forecasts have their models.
            if len(fits) < _FITS:
                spent = _cpu()
                began = time.perf_counter()
                planner.fitted(fit(job))
                fits.append(1000 * (time.perf_counter() - began))
                cpu += _cpu() - spent
    return {
        "pools": pools,
        "cpu_ms_per_tick": round(1000 * (_cpu() - cpu) / ticks, 2),
        "mib": round((psutil.Process().memory_info().rss - before) / 2**20, 1),
        "fit_ms": [round(each, 1) for each in fits],
    } | {
        f"{name}_ms": {
            "p50": round(statistics.median(values), 2),
            "p99": round(sorted(values)[int(0.99 * (len(values) - 1))], 2),
            "max": round(max(values), 2),
        }
        for name, values in took.items()
    }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    typer.run(main)
