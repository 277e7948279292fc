import json

import msgspec
import pytest

from app.config import FleetConfig
from autoscaling.fleet_planner import FLEET, FleetPlanner
from tests.unit.planning.fleets import ON_DEMAND, POOL, SPOT, fleet, message, news

BEGIN = 1_800_000_000.0
PERIOD_S, BUSY_S = 60.0, 20.0


class Tide:
    """A fleet whose demand is 75 output tokens a second for 20 of every 60 seconds."""

    def __init__(self, config: FleetConfig, spot: int | None = None) -> None:
        self.planner = FleetPlanner(config)
        self.at = 0.0
        self.spot = spot
        self.coming = 0
        self.active = 1
        self.asks: dict[str, int] = {}

    def run(self, seconds: float, tokens: float | None = None) -> list[tuple[float, int]]:
        """Goes on; the time into the period and the replicas asked for, each second."""
        seen = []
        for _ in range(int(seconds)):
            self.at += 1
            wall = BEGIN + self.at
            busy = (self.at - 0.5) % PERIOD_S < BUSY_S
            arrived = (75.0 if busy else 0.0) if tokens is None else tokens
            self.planner.take(message(int(self.at), arrived), wall)
            begun = [12.0] * (self.at == 1)
            said = news(self.active, self.spot, *begun, coming=self.coming)
            self.planner.heard(said, wall)
            asks = self.planner.tick(wall, self.at)
            self.asks = {name: ask.active for name, ask in asks.items()}
            self.active = self.asks[ON_DEMAND]
            seen.append((self.at % PERIOD_S, sum(self.asks.values())))
        return seen


def test_a_rise_that_repeats_is_planned_before_it_comes() -> None:
    tide = Tide(fleet(on_demand={"min_replicas": 1, "max_replicas": 5}))
    first = tide.run(PERIOD_S)
    # Of the first rise nobody knows.
    assert dict(first)[0.0] == 1
    tide.run(5 * PERIOD_S)
    seen = dict(tide.run(PERIOD_S))
    # Ready before the next one, for as long as a start takes; given back in between.
    assert all(seen[PERIOD_S - ahead] >= 2 for ahead in range(1, 10))
    assert min(seen[at] for at in range(30, 46)) == 1


def test_an_unknown_capacity_is_said_and_nothing_is_planned_by_it() -> None:
    config = fleet(on_demand={"min_replicas": 1, "max_replicas": 5})
    pool = config.pools[0].model_copy(update={"capacity": None})
    tide = Tide(config.model_copy(update={"pools": (pool,)}))
    assert {count for _, count in tide.run(2 * PERIOD_S)} == {1}
    plan = tide.planner.plan_view(POOL)["groups"][POOL]
    assert "tidegate profile" in plan["reason"]
    assert not plan["capacity"]["measured"]


def test_on_demand_stands_in_while_spot_is_missing() -> None:
    both = fleet(
        on_demand={"min_replicas": 1, "max_replicas": 12},
        spot={"min_replicas": 0, "max_replicas": 12},
    )
    tide = Tide(both, spot=0)
    tide.run(30, tokens=130.0)
    need = tide.planner.plan_view(POOL)["groups"][POOL]["replicas"]
    assert need >= 4
    assert tide.asks[SPOT] > 0, "spot is the cheaper one"
    assert tide.asks[ON_DEMAND] == need, "and none of it is there yet"
    tide.spot = tide.asks[SPOT]
    tide.run(120, tokens=130.0)
    after = tide.planner.plan_view(POOL)["groups"][POOL]
    assert after["placement"]["filling"] == 0
    assert tide.asks[ON_DEMAND] < after["replicas"]


def test_few_stand_in_for_spot_replicas_that_start_on_their_nodes() -> None:
    both = fleet(
        on_demand={"min_replicas": 1, "max_replicas": 12},
        spot={"min_replicas": 0, "max_replicas": 12},
    )
    stand_in = []
    for coming in (False, True):
        tide = Tide(both, spot=0)
        tide.run(30, tokens=130.0)
        tide.coming = tide.asks[SPOT] if coming else 0
        tide.run(100, tokens=130.0)
        stand_in.append(tide.asks[ON_DEMAND])
    without, with_nodes = stand_in
    assert with_nodes < without / 2


def test_lost_metrics_hold_what_there_is() -> None:
    tide = Tide(fleet(on_demand={"min_replicas": 1, "max_replicas": 9}))
    tide.run(60, tokens=200.0)
    held = tide.asks[ON_DEMAND]
    assert held > 5
    for later in range(1, 300):
        now = tide.at + later
        asks = tide.planner.tick(BEGIN + now, now)
        assert asks[ON_DEMAND].active >= held
    assert "metrics are lost" in asks[ON_DEMAND].reason


def test_what_is_known_outlives_the_process() -> None:
    config = fleet(on_demand={"min_replicas": 1, "max_replicas": 5})
    tide = Tide(config)
    tide.run(6 * PERIOD_S)
    stored = {
        name: msgspec.msgpack.decode(msgspec.msgpack.encode(tide.planner.state(name)))
        for name in tide.planner.states()
    }
    assert set(stored) == {FLEET, f"group/{POOL}"}
    fresh = Tide(config)
    for name, state in stored.items():
        assert fresh.planner.restore(name, state) == []
    fresh.at, fresh.active = tide.at, tide.active
    seen = dict(fresh.run(PERIOD_S))
    assert all(seen[PERIOD_S - ahead] >= 2 for ahead in range(1, 10))
    assert fresh.planner.groups[POOL].last is not None


@pytest.mark.parametrize("state", [{}, {"demand": 3}, {"forecasts": {"decode": []}, "planner": 0}])
def test_a_damaged_state_is_left_out_and_said(state: dict[str, object]) -> None:
    planner = FleetPlanner(fleet(on_demand={"min_replicas": 1, "max_replicas": 5}))
    assert planner.restore(f"group/{POOL}", state)
    assert planner.restore(FLEET, state)
    assert planner.tick(BEGIN, 0.0)[ON_DEMAND].active >= 1


def test_a_pool_that_was_removed_is_left_out() -> None:
    planner = FleetPlanner(fleet(on_demand={"min_replicas": 1, "max_replicas": 5}))
    assert planner.restore("group/old", {}) == ["group/old: there is no such group any more"]
    planner.take(message(1, 5.0), BEGIN)
    with pytest.raises(KeyError):
        planner.plan_view("old")


def test_views_are_plain_data_in_words_and_numbers() -> None:
    both = fleet(
        on_demand={"min_replicas": 1, "max_replicas": 6},
        spot={"min_replicas": 1, "max_replicas": 6},
    )
    tide = Tide(both, spot=1)
    planner = tide.planner
    json.dumps([planner.plan_view(), planner.forecast_view(BEGIN)])
    tide.run(3 * PERIOD_S)
    plan, forecast = planner.plan_view(), planner.forecast_view(BEGIN + tide.at, POOL)
    json.dumps([plan, forecast])
    group = plan["groups"][POOL]
    assert group["reason"].startswith(f"{group['replicas']} replicas")
    assert group["running"]["spot"]["sites"] == {"spot": 1}
    tokens = forecast["groups"][POOL]["sides"]["decode"]["planned_by"]["tokens_per_s"]
    assert 0 <= tokens["p50"] <= tokens["p90"] <= tokens["p99"]


def test_nodes_are_asked_for_by_market() -> None:
    both = fleet(
        on_demand={"min_replicas": 1, "max_replicas": 6},
        spot={"min_replicas": 2, "max_replicas": 6},
    )
    planner = FleetPlanner(both)
    needs = planner.nodes()
    spot = [count for _, labels, count in needs if labels == {"ray.io/market-type": "spot"}]
    assert spot == [2]
    assert all(labels.get("ray.io/market-type") for _, labels, _ in needs)
