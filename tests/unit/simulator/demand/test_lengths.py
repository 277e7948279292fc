import json

import numpy as np
import pytest

from app.errors import SimulationError, TraceInvalid
from autoscaling.simulator.demand.lengths import Lengths, azure, mooncake

AZURE = [
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n",
    "2023-11-16 18:17:03.9799600,4808,10\r\n",
    "2023-11-16 18:17:04.0319600,3180,8\r\n",
    "2023-11-16 18:17:04.0781490,110,27",
]
MOONCAKE = [
    '{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}\n',
    '{"timestamp": 3000, "input_length": 7322, "output_length": 490, "hash_ids": [0, 14]}\n',
]


def pairs(*known: tuple[int, int]) -> Lengths:
    prompt, output = np.array(known, np.int32).T
    return Lengths(prompt, output)


def test_pairs_are_read_from_azure() -> None:
    found = azure(AZURE)
    assert found.prompt.tolist() == [4808, 3180, 110]
    assert found.output.tolist() == [10, 8, 27]
    assert found.mean_prompt == pytest.approx(8098 / 3)
    assert found.mean_output == 15


def test_pairs_are_read_from_mooncake() -> None:
    found = mooncake([*MOONCAKE, "\n"])
    assert found.prompt.tolist() == [6758, 7322]
    assert found.output.tolist() == [500, 490]


def test_prompt_and_output_stay_together() -> None:
    known = pairs((10, 1), (20, 2), (30, 3))
    prompt, output = known.draw(np.random.default_rng(1), 5000)
    assert np.array_equal(prompt, output * 10)
    assert np.bincount(output).tolist()[1:] == pytest.approx([5000 / 3] * 3, rel=0.1)
    assert prompt.dtype == output.dtype == np.dtype("int32")


def test_what_a_context_window_does_not_hold_is_left_out() -> None:
    assert pairs((10, 1), (20, 2), (30, 3)).within(22).prompt.tolist() == [10, 20]
    with pytest.raises(SimulationError, match="none of 1 requests has 22 tokens or fewer"):
        pairs((30, 3)).within(22)


def test_a_record_counts_by_its_requests() -> None:
    both = pairs((10, 1), (20, 2)).joined(pairs((60, 3)))
    assert both.mean_prompt == 30


@pytest.mark.parametrize("columns", [([], []), ([1, 2], [1]), ([0], [1]), ([1], [-1])])
def test_lengths_that_cannot_be_are_refused(columns: tuple[list[int], list[int]]) -> None:
    prompt, output = (np.array(column, np.int32) for column in columns)
    with pytest.raises(SimulationError):
        Lengths(prompt, output)


@pytest.mark.parametrize(
    ("lines", "line", "problem"),
    [
        ([], 1, "first line must be"),
        (["time,a,b\n"], 1, "first line must be"),
        (AZURE[:1], 0, "no request"),
        ([AZURE[0], "2023-11-16 18:17:03,4808\n"], 2, "3 columns, and has 2"),
        ([AZURE[0], "soon,4808,10\n"], 2, "'soon' is no time"),
        ([AZURE[0], AZURE[1], "2023-11-16 18:17:03,-1,10\n"], 3, "-1, but must be 1 or more"),
        ([AZURE[0], "2023-11-16 18:17:03,4808,\n"], 2, "output tokens: missing"),
        ([AZURE[0], "2023-11-16 18:17:03,nan,10\n"], 2, "'nan' is no integer"),
        ([AZURE[0], "2023-11-16 18:17:03,1.5,10\n"], 2, "'1.5' is no integer"),
        ([AZURE[0], "2023-11-16 18:17:03,20000000,10\n"], 2, "other units"),
        ([AZURE[0], "2023-11-16 18:17:03," + "9" * 200_000 + ",10\n"], 2, "no CSV"),
    ],
)
def test_a_line_of_azure_that_is_wrong_is_named(lines: list[str], line: int, problem: str) -> None:
    with pytest.raises(TraceInvalid, match=problem) as caught:
        azure(lines, "code.csv")
    assert caught.value.line == line
    assert str(caught.value).startswith("code.csv")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[" * 100_000,
        "[1]",
        "{}",
        json.dumps({"input_length": True, "output_length": 1}),
        json.dumps({"input_length": 5, "output_length": 1.5}),
        json.dumps({"input_length": 0, "output_length": 1}),
    ],
)
def test_a_line_of_mooncake_that_is_wrong_is_named(text: str) -> None:
    with pytest.raises(TraceInvalid, match="line 2"):
        mooncake([MOONCAKE[0], text])
