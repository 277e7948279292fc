"""On a real cluster: a load that repeats, and a spot node that is taken away.

::

    python -m benchmarks.foresight.drill --periods 8

The load is quiet and busy in turn, and a third replica, on standby while it is quiet, is needed for
it. What is looked at is when it is active, against when the load rises. Then a fake metadata
service says that the spot node goes, under a load that never ceases.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.foresight.results import write
from tests.cluster.fleet import Fleet, until
from tests.cluster.processes import adopting_orphans
from tests.cluster.settings import SMALL_POOL, base_config, foresight, short_folder
from tests.metadata_service import MetadataServer

POOL = SMALL_POOL
ON_DEMAND, SPOT = f"{POOL}--on-demand", f"{POOL}--spot"
TOKENS = 75
NOTICE_S = 90.0
console = Console()


@dataclass(slots=True)
class Load:
    """A request a second while the load is high, and what became of each.

    Args:
        fleet: whom to ask.
        period_s: after how long it repeats.
        busy_s: how much of that it is high.
    """

    fleet: Fleet
    period_s: float
    busy_s: float
    always: bool = False
    done: int = 0
    lost: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _asking: list[threading.Thread] = field(default_factory=list)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="load")
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._ended.set()
        assert self._thread is not None
        for thread in (self._thread, *self._asking):
            thread.join(120)

    def _run(self) -> None:
        while not self._ended.wait(1.0):
            if self.always or time.time() % self.period_s < self.busy_s:
                thread = threading.Thread(target=self._ask)
                self._asking.append(thread)
                thread.start()

    def _ask(self) -> None:
        text = f"Tell me of the sea, {secrets.token_hex(4)}."
        answer = self.fleet.post(self.fleet.chat(text, max_tokens=TOKENS, ignore_eos=True))
        if answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] == TOKENS:
            self.done += 1
        else:
            self.lost.append(answer.text[:200])


def main(
    out: Annotated[Path, typer.Option(help="Directory for the results.")] = Path(
        "benchmarks/results"
    ),
    periods: Annotated[int, typer.Option(help="How often the load rises.")] = 8,
    period_s: Annotated[float, typer.Option(help="Seconds after which it repeats.")] = 50.0,
    busy_s: Annotated[float, typer.Option(help="Seconds that it is high.")] = 20.0,
) -> None:
    """How long before the rise replicas are ready, and what a preemption costs.

    [b]Example[/b]

      python -m benchmarks.foresight.drill --periods 8
    """
    with (
        adopting_orphans(),
        MetadataServer() as metadata,
        short_folder() as folder,
        Fleet(foresight(base_config(), metadata.url, period_s), folder, orderly=False) as fleet,
    ):
        rises = _rises(fleet, periods, period_s, busy_s)
        notice = _preempted(fleet, metadata, period_s)
    about = (
        f"a load that is high for {busy_s:g} of every {period_s:g} s; while it is quiet the third "
        "replica is on standby. Two cores serve and make the load."
    )
    leads = ", ".join("not in time" if lead is None else f"{lead:+.0f} s" for lead in rises["lead"])
    figures = {
        "active before the rise, by rise (negative: after it)": leads,
        "measured lead time by the end": f"{rises['lead_time_s']:.0f} s",
        "requests, lost": f"{rises['requests']}, {rises['lost']}",
        "from the notice to the keeper knowing": f"{notice['known_s']:.1f} s",
        "from the notice to the spot replica's end": f"{notice['gone_s']:.1f} s",
        "requests under the notice, lost": f"{notice['requests']}, {notice['lost']}",
    }
    write(out, "drill", {"about": about, "figures": figures, "rises": rises, "notice": notice})


def _counts(fleet: Fleet) -> dict[str, Any]:
    status = fleet.deployment("keeper").status.remote().result(timeout_s=30)
    found: dict[str, Any] = status["pools"]
    return found


def _active(fleet: Fleet) -> int:
    counts = _counts(fleet)
    return int(counts[ON_DEMAND]["active"]) + int(counts[SPOT]["active"])


def _plan(fleet: Fleet) -> Mapping[str, Any]:
    view = fleet.deployment("forecaster").view.remote("plan", POOL).result(timeout_s=30)
    found: Mapping[str, Any] = view["groups"][POOL]
    return found


def _rises(fleet: Fleet, periods: int, period_s: float, busy_s: float) -> dict[str, Any]:
    """For each rise, how long before it the third replica was active; None if it never was."""
    leads: list[float | None] = []
    with Load(fleet, period_s, busy_s) as load, Progress(console=console) as progress:
        task = progress.add_task("rises", total=periods)
        first = (time.time() // period_s + 1) * period_s
        for number in range(periods + 1):
            rise = first + number * period_s
            ready_at: float | None = None
            while time.time() < rise + busy_s / 2:
                there = _active(fleet) >= 3
                if not there:
                    ready_at = None
                elif ready_at is None:
                    ready_at = time.time()
                time.sleep(0.5)
            leads.append(None if ready_at is None else round(rise - ready_at, 1))
            progress.advance(task)
    planned = _plan(fleet)
    return {
        "lead": leads,
        "lead_time_s": planned["lead_time_s"],
        "reason": planned["reason"],
        "requests": load.done + len(load.lost),
        "lost": len(load.lost),
        "losses": load.lost[:5],
    }


def _preempted(fleet: Fleet, metadata: MetadataServer, period_s: float) -> dict[str, Any]:
    until(lambda: _counts(fleet)[SPOT]["active"] == 1, 120)
    with Load(fleet, period_s, period_s, always=True) as load:
        time.sleep(10)
        metadata.preempt(in_s=NOTICE_S)
        began = time.monotonic()
        until(lambda: _counts(fleet)[SPOT]["doomed"] >= 1, 60, every_s=0.1)
        known = time.monotonic() - began
        until(lambda: _gone(fleet), NOTICE_S + 60, every_s=0.2)
        gone = time.monotonic() - began
        time.sleep(5)
    return {
        "known_s": round(known, 1),
        "gone_s": round(gone, 1),
        "requests": load.done + len(load.lost),
        "lost": len(load.lost),
        "losses": load.lost[:5],
    }


def _gone(fleet: Fleet) -> bool:
    counts = _counts(fleet)[SPOT]
    return not any(counts[state] for state in ("active", "doomed", "draining"))


if __name__ == "__main__":
    typer.run(main)
