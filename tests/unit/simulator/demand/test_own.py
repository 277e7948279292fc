import numpy as np
import pytest

from app.errors import SimulationError, TraceInvalid
from autoscaling.simulator.demand.own import RecordedWorkload, of_columns, read_demand
from autoscaling.simulator.demand.windows import gathered, past

HEADER = "time,tenant,prompt_tokens,output_tokens\n"
T0 = 1_700_000_000  # 200 s after a multiple of 600.


def read(*rows: str, header: str = HEADER) -> RecordedWorkload:
    return read_demand([header, *rows], "demand.csv")


def test_a_record_becomes_a_workload() -> None:
    found = read(f"{T0},red,100,10\n", f"{T0 + 1.5},blue,200,20\n", f"{T0 + 700},red,300,30\n")
    assert found.origin_s == T0 - 200
    assert found.windows == 2
    assert gathered(found).arrival_s.tolist() == [200, 201.5, 900]
    assert found.requests.prompt.tolist() == [100, 200, 300]
    assert found.requests.output.tolist() == [10, 20, 30]
    assert found.tenants == ("red", "blue")
    assert found.tenant.tolist() == [0, 1, 0]
    assert found.lengths.mean_prompt == 200
    assert found.notes == ()
    assert len(found) == 3


def test_columns_may_stand_in_any_order_among_others() -> None:
    found = read(
        f"x,12,{T0},7,\"a, b\",blue\n",
        header="\ufeffid, Output_Tokens ,time,prompt_tokens,text,tenant\n",
    )  # fmt: skip
    assert (found.requests.prompt.tolist(), found.requests.output.tolist()) == ([7], [12])
    assert found.tenants == ("blue",)


@pytest.mark.parametrize(
    "text",
    ["2023-11-14T22:13:20Z", "2023-11-14 22:13:20.0000000+00:00", "2023-11-14T23:13:20+01:00",
     "1700000000", "1.7e9"],
)  # fmt: skip
def test_a_time_is_read_in_every_form(text: str) -> None:
    found = read(f"{text},red,1,1\n")
    assert found.origin_s + found.requests.arrival_s[0] == T0
    assert found.notes == ()


def test_times_without_an_offset_are_utc_and_noted() -> None:
    found = read("2023-11-14T22:13:20,red,1,1\n")
    assert found.origin_s + found.requests.arrival_s[0] == T0
    assert found.notes == ("Times have no offset; they are taken as UTC.",)


def test_rows_a_little_out_of_order_are_sorted_and_counted() -> None:
    found = read(f"{T0 + 50},red,1,1\n", f"{T0},blue,2,2\n", f"{T0 + 60},red,3,3\n")
    assert found.requests.prompt.tolist() == [2, 1, 3]
    assert found.tenant.tolist() == [1, 0, 0]
    assert found.notes == ("1 of 3 rows were not in order of time, and were sorted.",)


def test_rows_far_out_of_order_are_refused_with_the_way_out() -> None:
    with pytest.raises(TraceInvalid, match=r"100 s earlier.*sort -t, -k1,1g") as caught:
        read(f"{T0 + 100},red,1,1\n", f"{T0},red,1,1\n")
    assert caught.value.line == 3
    with pytest.raises(TraceInvalid, match=r"sort -t, -k2,2\)"):
        read(
            "red,2023-11-14T22:13:20Z,1,1\n",
            "red,2023-11-14T21:13:20Z,1,1\n",
            header="tenant,time,prompt_tokens,output_tokens\n",
        )


def test_rows_that_repeat_are_counted_and_kept() -> None:
    row, other = f"{T0},red,1,1\n", f"{T0},blue,1,1\n"
    found = read(row, other, row, row, f"{T0 + 1},red,1,1\n")
    assert len(found) == 5
    assert found.notes == ("2 rows repeat another one exactly; they count as requests.",)


def test_gaps_are_listed_and_not_filled() -> None:
    found = read(f"{T0},red,1,1\n", f"{T0 + 3600},red,1,1\n", f"{T0 + 3600 + 5400},red,1,1\n")
    assert found.notes == (
        (
            "No request from 2023-11-14T23:13:20+00:00 to 2023-11-15T00:43:20+00:00 (1.5 h): "
            "taken as no demand."
        ),
    )
    counts = past(found, 0, found.windows * 600, 600).requests
    assert counts.sum() == 3
    assert not np.isnan(counts).any()


def test_of_many_gaps_the_longest_are_listed() -> None:
    times = np.cumsum([4000 + 10 * (place % 7) for place in range(30)])
    found = read(*(f"{T0 + at},red,1,1\n" for at in times))
    assert len(found.notes) == 21
    assert found.notes[-1] == "9 more spans of over an hour have no request."


def test_a_request_without_output_counts_as_one_token() -> None:
    found = read(f"{T0},red,9,0\n")
    assert found.requests.output.tolist() == [1]
    assert found.notes == ("1 requests without output count as 1 output token each.",)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("1700000000,red,1\n", "3 columns, fewer than the header"),
        (",red,1,1\n", "time: missing"),
        ("now,red,1,1\n", "'now' is neither ISO 8601 nor Unix time"),
        ("nan,red,1,1\n", "'nan' is no time"),
        ("inf,red,1,1\n", "'inf' is no time"),
        ("-5,red,1,1\n", "before 1970"),
        ("1700000000000,red,1,1\n", "milliseconds"),
        ("1700000000000000,red,1,1\n", "microseconds"),
        ("1700000000000000000,red,1,1\n", "nanoseconds"),
        ("2023-11-14T22:13:20Z,red,1,1\n", "ISO 8601 with an offset, but those before are Unix"),
        ("1700000000, ,1,1\n", "tenant: missing"),
        (f"1700000000,{'x' * 300},1,1\n", "longer than 256"),
        ("1700000000,red,,1\n", "prompt_tokens: missing"),
        ("1700000000,red,0,1\n", "prompt_tokens: 0, but must be 1 or more"),
        ("1700000000,red,-4,1\n", "prompt_tokens: -4, but must be 1 or more"),
        ("1700000000,red,1,-1\n", "output_tokens: -1, but must be 0 or more"),
        ("1700000000,red,1.5,1\n", "prompt_tokens: '1.5' is no integer"),
        ("1700000000,red,1e3,1\n", "prompt_tokens: '1e3' is no integer"),
        ("1700000000,red,1,NaN\n", "output_tokens: 'NaN' is no integer"),
        ("1700000000,red,10000001,1\n", "more than 10,000,000 in a request; other units"),
        ("1700000000,red,²,1\n", "is no integer"),
        (f"1700000000,red,{'9' * 5000},1\n", "is no integer"),
    ],
)
def test_a_row_that_is_wrong_is_named(row: str, problem: str) -> None:
    with pytest.raises(TraceInvalid, match=problem) as caught:
        read(f"{T0},red,1,1\n", row)
    assert caught.value.line == 3
    assert str(caught.value).startswith("demand.csv, line 3: ")


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("time,tenant,prompt_tokens\n", "'output_tokens' is missing"),
        (f"{T0},red,1,1\n", "'time' is missing"),
        ("time,time,tenant,prompt_tokens,output_tokens\n", "'time' is named twice"),
    ],
)
def test_a_header_that_is_wrong_is_named(header: str, problem: str) -> None:
    with pytest.raises(TraceInvalid, match=problem) as caught:
        read(f"{T0},red,1,1\n", header=header)
    assert caught.value.line == 1


@pytest.mark.parametrize("lines", [[], ["\n"], [HEADER], [HEADER, "\n"]])
def test_an_empty_record_is_refused(lines: list[str]) -> None:
    with pytest.raises(TraceInvalid, match="there is no request in it"):
        read_demand(lines)


def test_a_record_over_many_years_is_refused() -> None:
    with pytest.raises(TraceInvalid, match=r"spans .* days, more than 1,098; other units"):
        read("0,red,1,1\n", f"{T0},red,1,1\n")


def test_a_field_without_end_is_refused() -> None:
    with pytest.raises(TraceInvalid, match="no CSV"):
        read(f"{T0},{'x' * 200_000},1,1\n")


def test_progress_is_told_in_lines() -> None:
    told: list[int] = []
    rows = [f"{T0 + place},red,1,1\n" for place in range(120_000)]
    read_demand([HEADER, *rows], progress=told.append)
    assert told == [50_000, 100_000, 120_001]


def test_a_part_keeps_the_windows() -> None:
    found = read(f"{T0},red,1,1\n", f"{T0 + 700},blue,2,2\n", f"{T0 + 1500},red,3,3\n")
    part = found.of_tenant("blue")
    assert (part.windows, len(part)) == (3, 1)
    assert part.window(1).prompt.tolist() == [2]
    large = found.only(found.requests.prompt > 1)
    assert gathered(large).arrival_s.tolist() == [900, 1700]
    with pytest.raises(SimulationError, match="tenant 'green'"):
        found.of_tenant("green")
    with pytest.raises(SimulationError, match="3 requests"):
        found.only(np.array([True]))


def test_columns_of_another_source_make_the_same_workload() -> None:
    read_one = read(f"{T0},red,1,1\n", f"{T0 + 9},blue,2,2\n", f"{T0 + 9},blue,2,2\n")
    made = of_columns(
        [T0 + 9, T0, T0 + 9], [1, 0, 1], ["red", "blue"], [2, 1, 2], [2, 1, 2], notes=["Said."]
    )
    assert made.requests.arrival_s.tolist() == read_one.requests.arrival_s.tolist()
    assert made.tenant.tolist() == read_one.tenant.tolist() == [0, 1, 1]
    assert made.notes == ("Said.", *read_one.notes)


@pytest.mark.parametrize(
    ("time", "tenant", "prompt", "problem"),
    [
        ([], [], [], "no request"),
        ([1.0], [0, 0], [1], "differ in length"),
        ([float("nan")], [0], [1], "line 1: time"),
        ([1.0], [1], [1], "tenant: 1, but must be 0 to 0"),
        ([1.0], [0], [0], "prompt tokens: 0"),
        ([1.0], [0], [1.5], "must be integers"),
        ([1.0], [0], [2**40], "prompt tokens: 1,099,511,627,776"),
    ],
)
def test_columns_that_are_wrong_are_named(
    time: list[float], tenant: list[int], prompt: list[int], problem: str
) -> None:
    with pytest.raises(SimulationError, match=problem):
        of_columns(time, tenant, ["red"], prompt, [1] * len(prompt))
