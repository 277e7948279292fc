"""Plays cells in worker processes, and keeps what comes of them in the log."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from statistics import median
from typing import TypeVar

from benchmarks.autoscaling.arms import ARMS
from benchmarks.autoscaling.brackets import Line, missing
from benchmarks.autoscaling.grid import TARGET, Cell, Plan, World
from benchmarks.autoscaling.run_log import Run, RunLog
from benchmarks.autoscaling.stages import Search, tunings
from benchmarks.autoscaling.tuning import Frozen, Tried

Told = Callable[[Run], None]
T = TypeVar("T")


class Failed(Exception):
    """Cells that could not be played; the others are in the log."""

    def __init__(self, failures: Sequence[tuple[Cell, BaseException]]) -> None:
        self.failures = failures
        cell, error = failures[0]
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        super().__init__(
            f"{cell.arm} at headroom {cell.headroom:g} in {cell.world.title}, alignment "
            f"{cell.alignment}, {cell.span}: {type(error).__name__}: {error}{more}"
        )


def pool_of(workers: int) -> ProcessPoolExecutor:
    """Processes that play.

    Args:
        workers: How many.
    """
    return ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=quiet_threads
    )


class Player:
    """Plays cells, some at a time; what is in the log already is not played again.

    Args:
        play: Plays one cell.
        log: Of finished runs.
        pool: Where it is played.
    """

    def __init__(self, play: Callable[[Cell], Run], log: RunLog, pool: Executor) -> None:
        self._play, self._log, self._pool = play, log, pool
        self._failures: list[tuple[Cell, BaseException]] = []
        self.told: Told = lambda _: None
        """Called with each run that was played now."""

    def play(self, cells: Iterable[Cell]) -> None:
        """Plays cells in their order.

        Args:
            cells: Which.

        Raises:
            Failed: Some could not be played; all others are done first.
        """
        going = {self._submit(cell): cell for cell in cells if self._log.get(cell) is None}
        while going:
            done, _ = wait(going, return_when=FIRST_COMPLETED)
            for future in done:
                self._take(going.pop(future), future)
        self._check()

    def tune(self, plan: Plan) -> dict[tuple[World, str], Frozen]:
        """Chooses headrooms and variants: each search asks for the next cells when it knows enough.

        Args:
            plan: How much is played.

        Raises:
            Failed: Some cells could not be played.
        """
        searches = [Search(one, len(ARMS[one.arm].variants)) for one in tunings(plan)]
        going: dict[Future[Run], tuple[Cell, Search]] = {}
        waiting = list(searches)
        while waiting or going:
            for search in waiting:
                self._advance(search, going)
            waiting = self._landed(going)
        self._check()
        return {(one.tuning.world, one.tuning.arm): one.frozen() for one in searches}

    def bracket(self, lines: Iterable[Line]) -> None:
        """Plays frontiers: each asks for the next headroom when it knows the one before.

        Args:
            lines: Which.

        Raises:
            Failed: Some cells could not be played; the frontiers without them are done first.
        """
        going: dict[Future[Run], tuple[Cell, Line]] = {}
        waiting = list(lines)
        while waiting or going:
            for line in waiting:
                taken = {cell for cell, _ in going.values()}
                taken.update(cell for cell, _ in self._failures)
                for cell in missing(line, self._log.get):
                    if cell not in taken:
                        going[self._submit(cell)] = (cell, line)
            waiting = self._landed(going)
        self._check()

    def _landed(self, going: dict[Future[Run], tuple[Cell, T]]) -> list[T]:
        """Waits for the next runs that end, and takes them; whose they are if they ended well."""
        if not going:
            return []
        done, _ = wait(going, return_when=FIRST_COMPLETED)
        ended = [(future, *going.pop(future)) for future in done]
        return [whose for future, cell, whose in ended if self._take(cell, future)]

    def _advance(self, search: Search, going: dict[Future[Run], tuple[Cell, Search]]) -> None:
        """Tells a search what is known, as far as it asks, and has the rest played."""
        while cells := search.cells():
            runs = [self._log.get(cell) for cell in cells]
            known = [run for run in runs if run is not None]
            if len(known) == len(cells):
                asks = search.asks
                assert asks is not None
                search.now.told(asks[1], tried(known))
                continue
            under_way = {cell for cell, _ in going.values()}
            for cell, run in zip(cells, runs, strict=True):
                if run is None and cell not in under_way:
                    going[self._submit(cell)] = (cell, search)
            return

    def _submit(self, cell: Cell) -> Future[Run]:
        return self._pool.submit(self._play, cell)

    def _take(self, cell: Cell, future: Future[Run]) -> bool:
        error = future.exception()
        if error is not None:
            self._failures.append((cell, error))
            return False
        run = future.result()
        self._log.add(run)
        self.told(run)
        return True

    def _check(self) -> None:
        if self._failures:
            raise Failed(self._failures)


def tried(runs: Sequence[Run]) -> Tried:
    """What runs of tuning came to, without their first day.

    Args:
        runs: Of one headroom, by alignment.
    """
    days = [day for run in runs for day in run.outcome.days]
    requests, tokens = sum(day.requests for day in days), sum(day.tokens for day in days)
    met = sum(day.met for day in days)
    cost = 1e6 * sum(day.cost for day in days) / tokens if tokens else float("inf")
    return Tried(met / requests if requests else TARGET, cost)


def quiet_threads() -> None:
    """Has numerical libraries use one thread: runs are what is parallel."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def seconds_by_arm(log: RunLog, plan: Plan) -> Mapping[str, float]:
    """Wall time of a run of seven days, by arm: the median of what was measured, or a guess.

    Args:
        log: Finished runs.
        plan: How many days they have.
    """
    spans = {"tune": plan.tune_days, "test": plan.test_days}
    measured: dict[str, list[float]] = {}
    for run in log:
        begin, end = spans[run.cell.span]
        measured.setdefault(run.cell.arm, []).append(run.seconds * 7 / (end - begin))
    return {
        name: median(measured[name]) if name in measured else arm.seconds
        for name, arm in ARMS.items()
    }
