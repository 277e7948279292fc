from __future__ import annotations

import numpy as np
import pytest

from app.errors import SimulationError
from autoscaling.simulator.supply.disruptions import always, never, regional_loss
from autoscaling.simulator.supply.generator import SITES, generate


def test_a_region_is_lost_for_a_while_and_no_other_one() -> None:
    supply = generate(1, 1, 8)
    lost = regional_loss(supply, "us-west-2", 3600, 7200)
    inside = np.array([site.region == "us-west-2" for site in SITES])
    assert lost.replicas[60:120, inside].sum() == 0
    assert supply.replicas[60:120, inside].sum() > 0
    assert np.array_equal(lost.replicas[:, ~inside], supply.replicas[:, ~inside])
    assert np.array_equal(lost.replicas[:60], supply.replicas[:60])
    assert np.array_equal(lost.replicas[120:], supply.replicas[120:])


def test_a_part_of_a_row_is_lost_as_a_whole() -> None:
    lost = regional_loss(generate(1, 1, 8), "us-west-2", 3601, 3661)
    assert lost.at(3600)[4:7].sum() == 0
    assert lost.at(3719)[4:7].sum() == 0


@pytest.mark.parametrize(
    ("begin_s", "end_s"), [(-60, 60), (60, 60), (120, 60), (0, 86401), (float("nan"), 60)]
)
def test_a_time_that_is_not_in_the_supply_is_refused(begin_s: float, end_s: float) -> None:
    with pytest.raises(SimulationError, match="within the supply"):
        regional_loss(generate(1, 1, 8), "us-west-2", begin_s, end_s)


def test_an_unknown_region_is_refused_with_those_there_are() -> None:
    with pytest.raises(SimulationError, match="eu-west-1, us-east-1, us-west-2"):
        regional_loss(generate(1, 1, 8), "mars", 0, 60)


def test_always_is_there_at_any_time_and_never_at_none() -> None:
    supply = always(SITES, 7).rolled(12345)
    for at_s in (0.0, 59.0, 86400.0 * 30):
        assert supply.at(at_s).tolist() == [7] * 9
        assert never(SITES).at(at_s).tolist() == [0] * 9


def test_always_refuses_what_makes_no_sense() -> None:
    with pytest.raises(SimulationError, match="-1 replicas"):
        always(SITES, -1)
    with pytest.raises(SimulationError, match="above 0"):
        always(SITES, 1, step_s=0)
