"""Versions only go up, whichever process verified them."""

from pathlib import Path

import pytest

from app.errors import WeightsUnavailable
from app.weights.versions import VersionFloor
from tests.unit.weights.processes import outputs, running

RAISE = """
import sys
from pathlib import Path
from app.weights.versions import VersionFloor
floor = VersionFloor(Path(sys.argv[1]))
for version in range(1, 21):
    floor.raise_to(f"model-{sys.argv[2]}", version)
    floor.raise_to("shared", version * 4 + int(sys.argv[2]))
"""


def test_it_only_goes_up(tmp_path: Path) -> None:
    floor = VersionFloor(tmp_path / "cache")
    assert floor.get("tiny") == 0
    floor.raise_to("tiny", 3)
    floor.raise_to("tiny", 2)
    assert floor.get("tiny") == 3
    assert floor.get("other") == 0
    assert VersionFloor(tmp_path / "cache").get("tiny") == 3


def test_processes_do_not_lose_each_others(tmp_path: Path) -> None:
    with running(RAISE, *([str(tmp_path), str(number)] for number in range(4))) as processes:
        outputs(processes)
    floor = VersionFloor(tmp_path)
    assert [floor.get(f"model-{number}") for number in range(4)] == [20] * 4
    assert floor.get("shared") == 83


@pytest.mark.parametrize("text", ["", "{", "[]", '{"tiny": "3"}', '{"tiny": -1}', '{"tiny": true}'])
def test_a_broken_file_is_not_taken_for_an_empty_one(tmp_path: Path, text: str) -> None:
    floor = VersionFloor(tmp_path)
    (tmp_path / "versions.json").write_text(text)
    with pytest.raises(WeightsUnavailable, match=r"versions\.json.*remove it"):
        floor.get("tiny")
    with pytest.raises(WeightsUnavailable):
        floor.raise_to("tiny", 9)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text('{"tiny": 0}')
    (tmp_path / "versions.json").symlink_to(tmp_path / "other")
    with pytest.raises(WeightsUnavailable):
        VersionFloor(tmp_path).get("tiny")
