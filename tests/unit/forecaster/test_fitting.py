import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from autoscaling.demand.terms import Series
from autoscaling.forecast.fitting import FitJob, FitResult, fit
from autoscaling.forecast.settings import Event, ForecastSettings
from deployments.fit_wire import decode_job, decode_result, encode_job, encode_result
from deployments.fitting import FitProcess, Fitting

ROOT = Path(__file__).parents[3]
SETTINGS = ForecastSettings(
    holidays="DE", events=(Event("launch", 1.0, 2.0), Event("sale", 3.0, 4.0, 2.5))
)
LOUD = """
import sys
print("a library says hello")
import deployments.fit_worker as worker
worker.fit = lambda job: (print("and more"), worker.__dict__["plain"](job))[1]
from autoscaling.forecast.fitting import FitResult
worker.plain = lambda job: FitResult(job.model, job.series.end, values=(1.0,), id=job.id)
worker.main()
"""


def job(model: str = "none", name: str = "1") -> FitJob:
    series = Series(600.0, 60.0, np.array([1.0, np.nan, 3.0]))
    return FitJob(model, SETTINGS, series, 660.0, 7, name)


@pytest.fixture
def process() -> Iterator[FitProcess]:
    made = FitProcess(limit_s=60.0)
    yield made
    made.kill()


def test_jobs_and_results_travel_whole() -> None:
    before = job("ets")
    after = decode_job(encode_job(before))
    assert (after.model, after.settings, after.start, after.count, after.id) == (
        *("ets", SETTINGS, 660.0, 7),
        "1",
    )
    assert (after.series.start, after.series.step_s) == (600.0, 60.0)
    assert np.array_equal(after.series.values, before.series.values, equal_nan=True)
    result = FitResult("ets", 5.0, 1.0, 60.0, (1.0, 2.5), 0.3, "", "x")
    assert decode_result(encode_result(result)) == result
    for garbage in (b"", b"\xc1", encode_result(result)[:-3]):
        with pytest.raises(ValueError, match=r".+"):
            decode_result(garbage)


def test_the_process_makes_fits_one_after_the_other(process: FitProcess) -> None:
    first, pid = process.fit(job(name="1")), process.pid
    second = process.fit(job(name="2"))
    assert [first, second] == [fit(job(name="1")), fit(job(name="2"))]
    assert "KeyError" in first.error
    assert process.pid == pid
    assert process.pause_s == 0
    process.kill()
    assert "KeyError" in process.fit(job()).error
    assert process.pid not in {None, pid}


def test_what_the_process_imports_is_neither_ray_nor_an_engine() -> None:
    program = (
        "import sys, deployments.fit_worker\n"
        "heavy = {'ray', 'vllm', 'torch', 'pandas', 'prophet', 'statsforecast'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_libraries_print_comes_between_no_results(tmp_path: Path) -> None:
    program = tmp_path / "loud.py"
    program.write_text(LOUD.replace('print("a library says hello")\n', ""))
    process = FitProcess(60.0, (sys.executable, str(program)))
    try:
        for name in ("1", "2"):
            assert process.fit(job(name=name)).values == (1.0,)
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("program", "limit_s", "said"),
    [
        ("import time; time.sleep(60)", 0.2, "took longer than 0.2 s"),
        ("import sys; sys.stdin.buffer.read(10)", 30.0, "the process has ended"),
        ("import os, time; os.write(1, b'x' * 100); time.sleep(60)", 30.0, "talked nonsense"),
        ("import os, time; os.write(1, b'\\0\\0\\0\\1\\xc1'); time.sleep(60)", 30.0, "Error"),
    ],
)
def test_a_process_that_hangs_dies_or_lies_is_a_fit_that_failed(
    program: str, limit_s: float, said: str
) -> None:
    process = FitProcess(limit_s, (sys.executable, "-I", "-S", "-c", program))
    result = process.fit(job())
    assert said in result.error
    assert (result.model, result.id, result.end, result.values) == ("none", "1", 780.0, ())
    assert process.pid is None


def test_the_more_fits_have_failed_in_a_row_the_longer_is_the_pause() -> None:
    process = FitProcess(5.0, ("/bin/false",))
    pauses = []
    for _ in range(4):
        process.fit(job())
        pauses.append(process.pause_s)
    assert pauses == [1.0, 10.0, 60.0, 60.0]
    missing = FitProcess(5.0, ("/no/such/program",))
    assert "FileNotFoundError" in missing.fit(job()).error


async def test_fits_are_made_in_turn_and_never_block_the_loop() -> None:
    done: list[FitResult] = []
    slow = "import time; time.sleep(0.3)"
    process = FitProcess(30.0, (sys.executable, "-I", "-S", "-c", slow))
    fitting = Fitting(done.append, process)
    fitting.add([job(name=str(number)) for number in range(40)])
    assert not fitting.room
    task = asyncio.create_task(fitting.run())
    beats = 0
    while not done:
        await asyncio.sleep(0.01)
        beats += 1
    assert beats > 5
    assert done[0].id == "0"
    task.cancel()
    fitting.close()
