"""The pure parts of the benchmarks of disaggregated pools: answers, pauses, plans, goals."""

import json
import math
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.disaggregated import drill, handoff, interference, migration
from benchmarks.disaggregated.asks import Ask, log_uniform
from benchmarks.disaggregated.client import Answer, Reply, read
from benchmarks.disaggregated.compare import Difference, compare, gap_over, gaps, longest_gap
from benchmarks.disaggregated.goals import GOALS, Goal, judge
from benchmarks.disaggregated.migration import Blow
from benchmarks.disaggregated.report import markdown, plain

READS = [(1.0, 1), (1.1, 2), (3.0, 1), (3.1, 1)]


def answer(tokens: list[int], **fields: Any) -> Answer:
    given: dict[str, Any] = {"headers": {}, "reads": [], "usage": len(tokens), "error": ""} | fields
    return Answer(ask=Ask((1, 2), len(tokens)), sent=0.0, ended=4.0, tokens=tokens, **given)


@pytest.mark.parametrize(
    ("got", "difference"),
    [
        ([1, 2, 3, 4, 5, 6], None),
        ([1, 2, 3, 3, 4, 5, 6], Difference(3, doubled=1)),
        ([1, 2, 3, 2, 3, 4, 5, 6], Difference(3, doubled=2)),
        ([1, 2, 4, 5, 6], Difference(2, lost=1)),
        ([1, 2, 3], Difference(3, lost=3)),
        ([1, 2, 3, 9, 5, 6], Difference(3)),
        ([1, 2, 3, 4, 5, 6, 6], Difference(6, doubled=1)),
        ([], Difference(0, lost=6)),
    ],
)
def test_what_differs_is_explained(got: list[int], difference: Difference | None) -> None:
    assert compare([1, 2, 3, 4, 5, 6], got) == difference


def test_gaps() -> None:
    assert gaps(READS) == pytest.approx([0.1, 1.9, 0.1])
    assert gap_over(READS, 2.0) == pytest.approx(1.9)
    assert gap_over(READS, 0.5) is None
    assert gap_over(READS, 3.1) is None
    assert longest_gap(READS, 2.9, 3.05) == pytest.approx(1.9)
    assert longest_gap(READS, 3.2, 4.0) is None


def event(**choice: Any) -> bytes:
    document = {"choices": [{"index": 0, "text": "x", "finish_reason": None} | choice]}
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def reply(pieces: list[bytes], **fields: Any) -> Reply:
    timed = [(float(place), piece) for place, piece in enumerate(pieces)]
    return Reply(Ask((1,), 3), status=200, pieces=timed, **fields)


END = b'data: {"choices": [], "usage": {"completion_tokens": 3}}\n\ndata: [DONE]\n\n'


def test_a_stream_cut_anywhere_is_read_as_tokens() -> None:
    whole = event(token_ids=[5]) + event(token_ids=[6, 7], finish_reason="length") + END
    for cut in range(len(whole)):
        found = read(reply([whole[:cut], whole[cut:]]))
        assert (found.tokens, found.usage, found.error) == ([5, 6, 7], 3, "")
        assert sum(count for _, count in found.reads) == 3


def test_what_is_no_whole_answer_says_why() -> None:
    begun = event(token_ids=[5])
    assert "ended before" in read(reply([begun])).error
    assert "ended before" in read(reply([begun, b"data: [DONE]\n\n"])).error
    assert read(reply([begun], broken="connection closed")).error == "connection closed"
    lost = b'data: {"error": {"code": "engine_lost"}}\n\n'
    assert "engine_lost" in read(reply([begun, lost, END])).error
    refused = Reply(Ask((1,), 3), status=503, pieces=[(0.0, b"no capacity")])
    assert "503" in read(refused).error
    assert math.isnan(read(refused).ttft)


def test_without_ids_an_event_counts_as_one_token() -> None:
    asked = reply([event(), event(finish_reason="length"), END])
    asked.ask = replace(asked.ask, ids=False)
    found = read(asked)
    assert found.error == ""
    assert found.tokens == []
    assert [count for _, count in found.reads] == [1, 1]


def test_each_stream_counts_once() -> None:
    expected = {0: [1, 2, 3], 1: [4, 5, 6]}
    found = migration.verdicts(
        [
            (0, answer([1, 2, 3])),
            (1, answer([4, 5, 5, 6])),
            (1, answer([4, 5, 7])),
            (0, answer([1, 2, 3], usage=4)),
            (0, answer([1], error="engine_lost")),
        ],
        expected,
    )
    counts = {name: found[name] for name in ("broken", "unequal", "doubled", "miscounted")}
    assert counts == dict.fromkeys(counts, 1)
    assert found["streams"] == 5
    assert len(found["problems"]) == 4


def test_pauses_are_those_of_the_streams_that_were_moved() -> None:
    streams = [
        answer([1], reads=[(0.0, 1), (2.0, 1)]),
        answer([1], reads=[(0.9, 1), (1.1, 1)]),
        answer([1], reads=[(0.0, 1), (9.0, 1)], error="broken"),
        answer([1], reads=[(5.0, 1), (9.0, 1)]),
    ]
    blow = Blow("pair--spot", 1.0, 1.0, {"continue": 1, "fail": 1}, 16.0)
    found = migration.pauses(streams, [blow])
    assert found["pause_ms_samples"] == [2000.0]
    assert found["others_gap_ms"]["p50"] == pytest.approx(200.0)
    warned = Blow("pair--spot", 0.2, 1.0, {"continue": 2}, 16.0)
    assert migration.pauses(streams, [warned])["pause_ms_samples"] == [2000.0, 200.0]


def test_the_surge_multiplies_prompts_and_requests() -> None:
    settings = drill.Settings(calm_s=400, surge_s=400, ramp_s=0)
    tokens: Counter[str] = Counter()
    requests: Counter[str] = Counter()
    small: Counter[str] = Counter()
    for at, length, kind in drill.moments(settings, random.Random(1)):
        phase = drill.phase_at(settings, at)
        if kind == drill.SMALL:
            small[phase] += 1
            assert length == settings.small_tokens
        else:
            requests[phase] += 1
            tokens[phase] += length
    assert requests["surge"] / requests["before"] == pytest.approx(2.2, rel=0.05)
    assert tokens["surge"] / tokens["before"] == pytest.approx(9.5, rel=0.25)
    assert small["surge"] / small["before"] == pytest.approx(1, rel=0.05)


def test_the_surge_grows_over_its_ramp() -> None:
    settings = drill.Settings(calm_s=10, surge_s=20, ramp_s=10)
    assert [drill.surge_at(settings, at) for at in (9.9, 10, 15, 25, 30)] == [0, 0, 0.5, 1, 0]


def test_lengths_are_spread_evenly_over_magnitudes() -> None:
    rng = random.Random(2)
    found = [log_uniform(rng, 10, 8000) for _ in range(2000)]
    assert min(found) >= 10
    assert max(found) <= 8000
    assert sum(each < 283 for each in found) / len(found) == pytest.approx(0.5, abs=0.05)


def test_arrivals_have_their_rate() -> None:
    found = interference.arrivals(random.Random(3), 4000, 2.0)
    assert len(found) == pytest.approx(2000, rel=0.1)
    assert found == sorted(found)


def test_colocated_wins_where_a_ratio_says_so() -> None:
    ratios = {"alone": {"itl_ms p50": 1.5, "itl_ms p99": 0.5, "tokens_per_s": 0.9}}
    assert interference.colocated_wins(ratios) == [
        "itl_ms p50, alone: 1.50 times colocated",
        "tokens_per_s, alone: 0.90 times colocated",
    ]


def test_equality_counts_what_failed_apart_from_what_differs() -> None:
    answers = [(0, answer([1, 2])), (1, answer([3])), (2, answer([], error="HTTP 503"))]
    found = handoff.equality(answers, [[1, 2], [4], [5]])
    assert (found["prompts"], found["failed"], found["unequal"]) == (3, 1, 1)


@pytest.mark.parametrize(
    ("report", "verdict"),
    [
        ({"top": 3.0, "base": {"p99": 2.0}}, "met"),
        ({"top": 3.1, "base": {"p99": 2.0}}, "missed"),
        ({"top": 3.1, "base": {}}, "not measured"),
        ({"top": None, "base": {"p99": 2.0}}, "not measured"),
        ({"top": 1.0, "base": {"p99": 0}}, "not measured"),
    ],
)
def test_ratios_are_judged_only_where_both_were_measured(
    report: dict[str, Any], verdict: str
) -> None:
    (outcome,) = judge(report, [Goal("x", ("top",), 1.5, ("base", "p99"))])
    assert outcome.verdict == verdict


def test_every_measurement_has_goals() -> None:
    assert set(GOALS) == {"handoff", "interference", "migration", "drill"}


def test_a_report_of_blocks_can_be_read_and_says_where_colocated_wins() -> None:
    def sample(scale: float) -> dict[str, Any]:
        return {
            "itl": [0.01 * scale, 0.02 * scale],
            "ttft": [0.1 * scale],
            "long_ttft": [1.0],
            "tokens_per_s": 100 / scale,
            "errors": [],
            "cores": 1.5,
        }

    samples = {
        block: [sample(1 if block.engines == interference.SPLIT else 2)] * 2
        for block in interference.BLOCKS
    }
    report = interference.report_of(interference.Settings(), samples, {})
    assert report["ratios"]["long prompts"]["itl_ms p50"] == pytest.approx(0.5)
    assert report["colocated_wins"] == []
    text = markdown("interference", {"taken": "now"}, plain(report))
    assert "| disaggregated, long prompts | 15 / 20 |" in text
    assert "- nowhere" in text
    assert "missed" not in text
    json.dumps(plain(report), allow_nan=False)


def test_a_figure_that_was_not_measured_is_null_and_no_number() -> None:
    assert plain({"a": [math.nan, 1.0]}) == {"a": [None, 1.0]}
