"""Tables of measured latencies."""

from typing import Any

import pytest

from app.errors import SimulationError, TraceInvalid
from autoscaling.simulator.perf_tables import sageserve, splitwise

HEADER = (
    "model,hardware,prompt_size,batch_size,token_size,peak_power,average_power,prompt_time,"
    "token_time,e2e_time,tensor_parallel"
)
CHOSEN: dict[str, Any] = {
    "model": "m", "hardware": "h100", "tensor_parallel": 4, "kv_tokens": 1000, "max_seqs": 8,
}  # fmt: skip


def row(prompt: int, batch: int, tokens: int, prompt_time: float, token_time: float) -> str:
    return f"m,h100,{prompt},{batch},{tokens},0,0,{prompt_time},{token_time},0,4"


MILLISECONDS = [
    HEADER,
    row(128, 1, 128, 50, 29),
    row(512, 1, 128, 60, 30),
    row(512, 1, 128, 61, 31),
    row(512, 1, 256, 999, 35),
    row(512, 2, 128, 120, 30),
    row(512, 4, 128, 240, 40),
    row(1024, 1, 128, 110, 30),
]


def test_splitwise_is_in_milliseconds_and_medians_count() -> None:
    made = splitwise(MILLISECONDS, **CHOSEN)
    assert made.prefill_tokens == (128, 512, 1024)
    assert made.prefill_s == pytest.approx((0.05, 0.061, 0.11))
    # A batch of 2 was measured as faster than 1: it is not. Beyond 4 the last line goes on.
    assert made.itl_s[1:] == pytest.approx(
        (0.031, 0.031, 0.0355, 0.04, 0.0445, 0.049, 0.0535, 0.058)
    )
    assert made.kv_tokens == 1000


def test_sageserve_is_in_seconds_and_of_whole_answers() -> None:
    rows = [HEADER, row(512, 1, 100, 0.06, 3.0), row(512, 2, 100, 0.06, 4.0)]
    made = sageserve(rows, **{**CHOSEN, "max_seqs": 2})
    assert made.itl_s[1:] == pytest.approx((0.03, 0.04))
    assert made.prefill_s == pytest.approx((0.06,))


def test_the_tables_are_not_taken_for_each_other() -> None:
    seconds = [HEADER, row(128, 1, 128, 0.026, 1.09)]
    with pytest.raises(TraceInvalid, match=r"splitwise, line 2: .* other units"):
        splitwise(seconds, **CHOSEN)
    with pytest.raises(TraceInvalid, match=r"sageserve, line 2: .* other units"):
        sageserve([HEADER, row(512, 1, 128, 196.2, 54.9)], **CHOSEN)
    with pytest.raises(TraceInvalid, match="a token in 30 s"):
        splitwise([HEADER, row(512, 1, 128, 100, 30_000)], **CHOSEN)


def test_more_sequences_than_the_table_tells_of_are_refused() -> None:
    with pytest.raises(SimulationError, match="up to 4 sequences, which tells of 1 to 8"):
        splitwise(MILLISECONDS, **{**CHOSEN, "max_seqs": 9})


def test_what_the_table_does_not_have_is_said_with_what_it_has() -> None:
    with pytest.raises(SimulationError, match=r"no m h100 8 .*: m h100 4"):
        splitwise(MILLISECONDS, **{**CHOSEN, "tensor_parallel": 8})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "line 1: the header lacks model"),
        ([HEADER], "there are no rows"),
        ([HEADER, "m,h100,512"], "line 2: prompt_size|line 2: batch_size"),
        ([HEADER, row(0, 1, 1, 50, 30)], "prompt_size must be a whole number above 0"),
        ([HEADER, row(512, 1, 1, -50, 30)], "prompt_time must be a number above 0"),
        ([HEADER, row(512, 1, 1, float("nan"), 30)], "prompt_time"),
        ([HEADER, row(512, 1, 1, 50, 30).replace("512", "12.5")], "whole number"),
    ],
)
def test_lines_that_are_none_are_named(lines: list[str], message: str) -> None:
    with pytest.raises(TraceInvalid, match=message):
        splitwise(lines, **CHOSEN)


def test_one_batch_size_tells_nothing_of_others() -> None:
    with pytest.raises(SimulationError, match="too few batch sizes"):
        splitwise([HEADER, row(512, 1, 128, 60, 30)], **CHOSEN)
