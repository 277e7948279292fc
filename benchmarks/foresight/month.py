"""Whether the forecaster's memory stays flat: a month of demand, as fast as it can be told.

::

    python -m benchmarks.foresight.month --pools 20 --days 30
"""

from __future__ import annotations

import gc
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import msgspec
import psutil
import typer
from rich.progress import Progress

from autoscaling.fleet_planner import FleetPlanner
from autoscaling.forecast.fitting import fit
from benchmarks.foresight.results import write
from benchmarks.foresight.synthetic import BEGIN_S, DAY_S, Demand, fleet_of, news_of


def main(
    out: Annotated[Path, typer.Option(help="Directory for the results.")] = Path(
        "benchmarks/results"
    ),
    pools: Annotated[int, typer.Option(help="Pools.")] = 20,
    days: Annotated[int, typer.Option(help="Days.")] = 30,
    fits_a_day: Annotated[int, typer.Option(help="Fits that are made a day.")] = 40,
) -> None:
    """Memory of the planner by day, and the size of what it stores.

    [b]Example[/b]

      python -m benchmarks.foresight.month --pools 4 --days 7
    """
    fleet = fleet_of(pools)
    planner, demand, news = FleetPlanner(fleet), Demand(fleet), news_of(fleet)
    rows = []
    began = time.monotonic()
    # Fits leave what libraries keep in their own process, as in production.
    with ProcessPoolExecutor(1) as fitting, Progress(transient=True) as progress:
        task = progress.add_task("days", total=days)
        for day in range(days):
            begin, made = BEGIN_S + day * DAY_S, 0
            for wall, message in demand.messages(begin, begin + DAY_S, 60.0):
                planner.take(message, wall)
                planner.heard(news, wall)
                planner.tick(wall, wall)
                for job in planner.due():
                    if made < fits_a_day:
                        made += 1
                        planner.fitted(fitting.submit(fit, job).result())
            gc.collect()
            stored = sum(
                len(msgspec.msgpack.encode(planner.state(name))) for name in planner.states()
            )
            rows.append(
                {
                    "day": day + 1,
                    "mib": round(psutil.Process().memory_info().rss / 2**20, 1),
                    "state_kib_per_pool": round(stored / 1024 / pools, 1),
                    "fits": made,
                }
            )
            progress.advance(task)
    seconds = round(time.monotonic() - began, 1)
    write(out, "month", {"pools": pools, "seconds": seconds, "rows": rows})


if __name__ == "__main__":
    typer.run(main)
