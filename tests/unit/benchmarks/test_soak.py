"""Telling a gateway's stalls from the engine's."""

from pathlib import Path

import pytest

from benchmarks.gateway.soak import (
    Incident,
    Silence,
    Stall,
    incidents,
    read_silences,
    unexplained,
)


def test_overlapping_stalls_are_one_incident() -> None:
    stalls = [Stall(10.0, 0.5), Stall(20.0, 0.3), Stall(10.25, 0.5)]
    assert incidents(stalls) == [Incident(10.0, 0.75, 2, 0.5), Incident(20.0, 0.3, 1, 0.3)]
    assert incidents([]) == []


def test_a_stall_is_the_engines_if_little_is_left_without_its_silence() -> None:
    stall = Stall(10.0, 0.5)
    assert unexplained([stall], [Silence(9.9, 0.4)], 0.25) == []
    assert unexplained([stall], [Silence(10.4, 5.0)], 0.25) == [stall]
    assert unexplained([stall], [], 0.25) == [stall]


def test_what_two_silences_share_counts_once() -> None:
    stall = Stall(10.0, 0.5)
    assert unexplained([stall], [Silence(10.0, 0.2), Silence(10.0, 0.2)], 0.25) == [stall]


def test_engine_gaps_are_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "gaps"
    file.write_text('{"began": 1.5, "lasted": 0.3}\n{"began": 2, "lasted": 1}\n')
    assert read_silences(file) == [Silence(1.5, 0.3), Silence(2.0, 1.0)]
    file.write_text('{"began": 1.5}\n')
    with pytest.raises(ValueError, match="line 1"):
        read_silences(file)
