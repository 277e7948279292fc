"""Notices and asks at the keeper: both markets of a pool stand in for each other."""

from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import yaml

from app.config import FleetConfig, parse_config
from autoscaling.plan_terms import Ask, Site
from autoscaling.warm_pool import Order, Phase, Report
from deployments.keeping import Keeping, Told

SPOT, HOME, GROUP = "public-small--spot", "public-small--on-demand", "public-small"
WEST = Site("spot", "us-west-2", "us-west-2a")


def fleet(**spot: Any) -> FleetConfig:
    args = yaml.safe_load(Path("serve_config.yaml").read_text())["applications"][0]["args"]
    args["pools"][0]["markets"] = {
        "on-demand": {"min_replicas": 0, "max_replicas": 3},
        "spot": {"min_replicas": 0, "max_replicas": 4},
    }
    args["scaling"] = {"spot": spot}
    return parse_config(args)


class World:
    """Replicas in both markets that do as they are told, second by second."""

    def __init__(self, active: dict[str, list[str]], **spot: Any) -> None:
        self.keeping, self.now = Keeping(fleet(**spot)), 0.0
        self.reports = {
            name: (
                deployment,
                Report(
                    name,
                    Phase.ACTIVE,
                    age_s=100.0,
                    node=f"node-{name}",
                    site=WEST._replace(market=deployment.rpartition("--")[2]),
                ),
            )
            for deployment, names in active.items()
            for name in names
        }
        self.asks: dict[str, Ask] = {}
        self.told: dict[str, Told] = {}

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            for name, (deployment, report) in list(self.reports.items()):
                self.told[name] = told = self.keeping.report(deployment, report, self.now)
                phase = {Order.WAKE: Phase.ACTIVE, Order.DRAIN: Phase.DRAINING}.get(told.order)
                later = replace(report, age_s=report.age_s + 1, phase=phase or report.phase)
                self.reports[name] = deployment, later
                if told.order is Order.EXIT:
                    del self.reports[name]
            if self.asks:
                self.keeping.planned(self.asks, self.now)
            self.keeping.plans(self.now)

    def wanted(self) -> tuple[int, int]:
        return self.keeping.pools[HOME].wanted, self.keeping.pools[SPOT].wanted

    def targets(self) -> tuple[int, int]:
        plans = self.keeping.plans(self.now)
        return plans[HOME].replicas, plans[SPOT].replicas

    def phase(self, name: str) -> Phase:
        return self.reports[name][1].phase


def test_on_demand_stands_in_at_once_for_a_spot_node_that_goes() -> None:
    world = World({SPOT: ["s1", "s2"]})
    world.run(15)
    assert world.wanted() == (0, 2)
    assert world.keeping.notice("node-s1", "preempted", world.now + 120, world.now)
    world.run(1)
    assert world.wanted() == (1, 2)
    assert world.targets() == (1, 2)
    assert world.phase("s1") is Phase.ACTIVE
    assert world.told["s1"].leaves_in_s == 119.0
    assert world.told["s2"].leaves_in_s is None


def test_it_drains_once_the_other_market_is_active() -> None:
    world = World({SPOT: ["s1", "s2"]})
    world.run(15)
    world.keeping.notice("node-s1", "preempted", world.now + 120, world.now)
    world.run(3)
    world.reports["h1"] = HOME, Report("h1", Phase.STANDBY, age_s=1.0, node="node-h1")
    world.run(3)
    assert (world.phase("h1"), world.phase("s1")) == (Phase.ACTIVE, Phase.DRAINING)
    assert world.phase("s2") is Phase.ACTIVE
    del world.reports["s1"]
    world.run(20)
    assert world.wanted() == (1, 2)
    world.asks = {HOME: Ask(0), SPOT: Ask(2)}
    world.run(2)
    assert world.wanted() == (0, 2)


def test_what_is_asked_takes_over_from_what_stands_in() -> None:
    world = World({SPOT: ["s1"], HOME: ["h1"]})
    world.asks = {HOME: Ask(1), SPOT: Ask(1)}
    world.run(15)
    world.keeping.notice("node-s1", "preempted", world.now + 60, world.now)
    world.asks = {HOME: Ask(2), SPOT: Ask(1)}
    world.run(5)
    assert world.wanted() == (2, 1)


def test_a_rebalance_notice_replaces_before_anything_leaves() -> None:
    world = World({SPOT: ["s1"]})
    world.run(15)
    world.keeping.notice("node-s1", "rebalance", None, world.now)
    world.run(5)
    assert world.phase("s1") is Phase.ACTIVE
    assert world.targets() == (0, 2)
    assert world.told["s1"].leaves_in_s is None
    world.reports["s2"] = SPOT, Report("s2", Phase.STANDBY, age_s=1.0, node="node-s2")
    world.run(5)
    assert (world.phase("s1"), world.phase("s2")) == (Phase.DRAINING, Phase.ACTIVE)


def test_notices_of_unknown_nodes_change_nothing() -> None:
    world = World({SPOT: ["s1"]})
    world.run(15)
    before = world.wanted(), world.targets()
    assert not world.keeping.notice("elsewhere", "preempted", world.now + 60, world.now)
    assert not world.keeping.notice("elsewhere", "rebalance", None, world.now)
    world.run(2)
    assert (world.wanted(), world.targets()) == before


def test_what_ray_drains_is_doomed_though_nobody_gave_notice() -> None:
    world = World({SPOT: ["s1"]})
    world.run(15)
    world.keeping.seen({"node-s1"}, {"node-s1": inf}, world.now)
    world.run(1)
    assert world.keeping.planned({}, world.now).running[SPOT].doomed == 1
    assert world.told["s1"].leaves_in_s is None
    world.keeping.seen({"node-s1"}, {"node-s1": world.now + 10}, world.now)
    world.run(1)
    assert world.phase("s1") is Phase.DRAINING


def test_a_fresh_keeper_learns_of_it_from_ray() -> None:
    world = World({SPOT: ["s1"]})
    world.run(15)
    world.keeping = Keeping(fleet())
    world.keeping.seen({"node-s1"}, {"node-s1": world.now + 200}, world.now)
    world.run(1)
    assert world.told["s1"].leaves_in_s == 199.0
    assert world.wanted()[0] == 1


def test_the_news_say_what_runs_where_and_what_it_does() -> None:
    world = World({SPOT: ["s1", "s2"], HOME: ["h1"]}, sites=[_site("us-west-2a")])
    world.run(15)
    for name in ("s1", "s2"):
        deployment, report = world.reports[name]
        busy = replace(report, prefill_tps=10.0, decode_tps=5.0, saturated=True)
        world.reports[name] = deployment, busy
    world.run(1)
    news = world.keeping.planned({SPOT: Ask(3), "gone--spot": Ask(7)}, world.now)
    assert news.running[SPOT].sites == {WEST: 2}
    assert (news.running[SPOT].active, news.running[SPOT].planned) == (2, 3)
    assert news.running[HOME].active == 1
    work = news.work[GROUP]
    assert (work.prefill_tps, work.decode_tps, work.replicas) == (20.0, 10.0, 3)
    assert work.saturated
    assert news.lost == []


def test_without_named_sites_all_spot_nodes_are_one() -> None:
    world = World({SPOT: ["s1"]})
    world.run(12)
    assert world.keeping.planned({}, world.now).running[SPOT].sites == {Site("spot"): 1}


def test_a_start_is_timed_from_the_ask() -> None:
    world = World({SPOT: ["s1"]})
    world.run(15)
    world.asks = {SPOT: Ask(2)}
    world.run(31)
    world.reports["s2"] = SPOT, Report("s2", Phase.STANDBY, age_s=0.0, node="n", cached=True)
    world.asks = {}
    world.run(4)
    starts = world.keeping.planned({SPOT: Ask(2)}, world.now).starts
    assert [(start.group, start.market, start.kind) for start in starts] == [
        (GROUP, "spot", "standby"),
        (GROUP, "spot", "cached"),
    ]
    assert 30 <= starts[1].seconds <= 34


def test_a_spot_node_that_is_taken_is_told() -> None:
    world = World({SPOT: ["s1", "s2"]})
    world.run(15)
    world.keeping.seen({"node-s1", "node-s2"}, {}, world.now)
    del world.reports["s1"]
    world.run(5)
    world.keeping.seen({"node-s2"}, {}, world.now)
    news = world.keeping.planned({}, world.now)
    assert [(lost.site, lost.warned) for lost in news.lost] == [(Site("spot"), False)]
    assert world.keeping.planned({}, world.now).lost == []


def test_the_work_of_one_market_may_be_carried_by_the_other() -> None:
    world = World({SPOT: ["s1", "s2", "s3"], HOME: ["h1", "h2"]})
    tokens = world.keeping.pools[HOME]._settings.tokens_per_replica
    for name, (deployment, report) in list(world.reports.items()):
        world.reports[name] = deployment, replace(report, outstanding_tokens=0.3 * tokens)
    world.asks = {HOME: Ask(0), SPOT: Ask(3)}
    world.run(15)
    assert world.wanted() == (0, 3)
    for name, (deployment, report) in list(world.reports.items()):
        world.reports[name] = deployment, replace(report, outstanding_tokens=0.9 * tokens)
    world.run(8)
    assert world.wanted() == (0, 4)


def _site(name: str) -> dict[str, Any]:
    return {"region": "us-west-2", "availability_zone": name}
