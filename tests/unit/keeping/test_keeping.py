"""What the keeper knows: demand of several gateways, starts under way, plans of all deployments."""

from pathlib import Path
from typing import Any

import yaml

from app.config import FleetConfig, parse_config
from autoscaling.plan_terms import Site
from autoscaling.warm_pool import Order, Phase, Report
from deployments.keeping import Keeping, pool_settings

SMALL = "public-small--on-demand"
SPOT_A = Site("spot", "us-west-2", "us-west-2a")


def fleet(**market: Any) -> FleetConfig:
    args = yaml.safe_load(Path("serve_config.yaml").read_text())["applications"][0]["args"]
    args["pools"][0]["markets"] = {"on-demand": {"min_replicas": 0, "max_replicas": 3} | market}
    return parse_config(args)


def report(replica: str, phase: Phase, age_s: float = 5.0) -> Report:
    return Report(replica, phase, age_s=age_s, fragmentation=0.0, outstanding_tokens=0.0)


def test_every_deployment_has_a_plan() -> None:
    config = fleet()
    plans = Keeping(config).plans(0.0)
    assert plans.keys() == {each.name for each in config.deployments()}
    assert plans["private--on-demand"].replicas == 1
    assert plans[SMALL].replicas == 0


def test_settings_follow_the_configuration() -> None:
    config = fleet(standby_replicas=1)
    deployed = next(each for each in config.deployments() if each.name == SMALL)
    settings = pool_settings(config, deployed)
    assert (settings.least, settings.most, settings.standby) == (0, 3, 1)
    assert settings.tokens_per_replica == deployed.pool.max_outstanding_tokens
    assert settings.recycle is not None
    assert settings.recycle.age_s == config.recycling.age_s


def test_what_waits_at_any_gateway_starts_a_replica() -> None:
    keeping = Keeping(fleet())
    keeping.plans(0.0)
    keeping.waiting("a", {}, 20.0)
    keeping.waiting("b", {SMALL: (300.0, 1)}, 20.0)
    assert keeping.plans(20.5)[SMALL].replicas == 1


def test_a_gateway_that_falls_silent_waits_no_more() -> None:
    keeping = Keeping(fleet())
    keeping.waiting("gone", {SMALL: (300.0, 1)}, 20.0)
    for second in range(21, 60):
        keeping.waiting("there", {}, float(second))
    assert keeping.pools[SMALL].snapshot(60.0)["waiting_requests"] == 0


def test_a_replica_that_is_missing_is_woken() -> None:
    keeping = Keeping(fleet(min_replicas=1))
    keeping.plans(0.0)
    assert keeping.report(SMALL, report("r1", Phase.STANDBY), 10.0) == (Order.WAKE, None)
    assert keeping.report(SMALL, report("r1", Phase.ACTIVE), 11.0) == (Order.KEEP, None)


def test_starts_are_shown_until_the_replica_reports() -> None:
    keeping = Keeping(fleet())
    keeping.starting(SMALL, "r1", "fetch", 10, 100, 1.0)
    keeping.starting(SMALL, "r1", "weights", 0, 0, 4.0)
    [start] = keeping.starts(5.0)
    assert start == {
        "deployment": SMALL,
        "replica": "r1",
        "stage": "weights",
        "done": 0,
        "total": 0,
        "seconds": 4.0,
        "reason": "",
    }
    keeping.report(SMALL, report("r1", Phase.STANDBY), 6.0)
    assert keeping.starts(6.0) == []


def test_starts_that_are_heard_of_no_more_are_forgotten() -> None:
    keeping = Keeping(fleet())
    keeping.starting(SMALL, "r1", "weights", 0, 0, 1.0)
    assert keeping.starts(1000.0) == []


def _coming(keeping: Keeping, now: float) -> dict[Site, int]:
    return keeping.planned({}, now).running[SMALL].coming


def test_whoever_looks_ahead_is_told_of_starts_that_have_a_node() -> None:
    keeping = Keeping(fleet())
    for second in range(200):
        keeping.starting(SMALL, "r1", "weights", 0, 0, 1.0 * second, node="n1", site=SPOT_A)
    keeping.starting(SMALL, "r2", "weights", 0, 0, 1.0, node="n1", site=SPOT_A)
    keeping.starting(SMALL, "r3", "weights", 0, 0, 1.0)
    # A stage may take minutes without a word, though it is not shown for so long.
    assert _coming(keeping, 200.0) == {Site("spot"): 2}
    assert [start["replica"] for start in keeping.starts(200.0)] == ["r1"]
    keeping.report(SMALL, report("r1", Phase.STANDBY), 201.0)
    assert _coming(keeping, 201.0) == {Site("spot"): 1}
    assert _coming(keeping, 400.0) == {}


def test_a_start_on_a_node_that_goes_or_has_gone_or_of_a_refused_model_comes_to_nothing() -> None:
    keeping = Keeping(fleet())
    for node in ("goes", "gone", "stays"):
        keeping.starting(SMALL, node, "weights", 0, 0, 1.0, node=node, site=SPOT_A)
    keeping.starting(SMALL, "refused", "weights", 0, 0, 1.0, node="stays", site=SPOT_A)
    keeping.refused(SMALL, "refused", "changed_file", 2.0)
    keeping.seen({"goes", "stays"}, {}, 2.0)
    keeping.notice("goes", "preempted", 120.0, 2.0)
    assert _coming(keeping, 3.0) == {Site("spot"): 1}


def test_a_model_that_is_refused_is_shown() -> None:
    keeping = Keeping(fleet())
    keeping.starting(SMALL, "r1", "weights", 0, 0, 1.0)
    keeping.refused(SMALL, "r1", "changed_file", 2.0)
    [start] = keeping.starts(3.0)
    assert (start["stage"], start["reason"]) == ("refused", "changed_file")
