"""Which nodes go and which spot nodes were taken away, by reports, notices and Ray's word."""

from math import inf

from autoscaling.keeper_news import Exposed, Lost
from autoscaling.nodes import KEPT_S, MOST, SILENT_S, SPAN_S, Nodes
from autoscaling.plan_terms import Site

SPOT = Site("spot", "us-west-2", "us-west-2a")
HOME = Site("on-demand", "us-west-2", "us-west-2a")


def test_time_on_a_spot_node_is_told_in_pieces() -> None:
    nodes = Nodes()
    for now in range(100, 100 + int(3 * SPAN_S)):
        nodes.heard("r1", "n1", SPOT, now - 50.0, float(now))
        nodes.heard("r2", "n1", SPOT, 1.0, float(now))
        nodes.heard("r3", "n2", HOME, 500.0, float(now))
        nodes.seen({"n1", "n2"}, {}, float(now))
    exposed, lost, warned = nodes.news(100.0 + SPAN_S)
    assert exposed == [Exposed(SPOT, 50.0 + SPAN_S, SPAN_S)]
    assert (lost, warned) == ([], [])
    assert nodes.news(100.0 + SPAN_S + 1)[0] == []


def test_a_spot_node_that_vanishes_is_lost() -> None:
    nodes = Nodes()
    nodes.heard("r1", "n1", SPOT, 500.0, 1000.0)
    nodes.heard("r2", "n2", HOME, 500.0, 1000.0)
    nodes.seen({"n1", "n2"}, {}, 1000.5)
    assert nodes.news(1001.0)[1] == []
    nodes.seen(set(), {}, 1010.0)
    exposed, lost, _ = nodes.news(1010.0)
    assert lost == [Lost(SPOT, 510.0, warned=False)]
    assert exposed == [Exposed(SPOT, 510.0, 10.0)]
    assert nodes.news(1011.0)[1] == []


def test_a_spot_node_that_is_given_back_is_not_lost() -> None:
    nodes = Nodes()
    nodes.heard("r1", "n1", SPOT, 500.0, 1000.0)
    nodes.released("r1", "n1")
    nodes.heard("r2", "idle", SPOT, 500.0, 1000.0)
    nodes.seen({"n1", "idle"}, {}, 1600.0)
    nodes.seen(set(), {"idle": inf}, 1700.0)
    assert nodes.news(1700.0)[1] == []


def test_a_node_that_was_taken_after_a_notice_is_lost_though_all_have_left() -> None:
    nodes = Nodes()
    nodes.heard("r1", "n1", SPOT, 500.0, 1000.0)
    assert nodes.notice("n1", "preempted", 1120.0, 1000.0)
    nodes.released("r1", "n1")
    nodes.seen(set(), {}, 1100.0)
    assert nodes.news(1100.0)[1] == [Lost(SPOT, 600.0, warned=True)]


def test_a_replica_that_reports_knows_better_than_an_old_view() -> None:
    nodes = Nodes()
    nodes.seen({"n0"}, {}, 999.0)
    nodes.heard("r1", "n1", SPOT, 1.0, 1000.0)
    assert nodes.news(1000.0)[1] == []
    assert nodes.knows("n1")


def test_without_ray_a_node_is_lost_once_it_is_silent() -> None:
    nodes = Nodes()
    nodes.heard("r1", "n1", SPOT, 10.0, 1000.0)
    assert nodes.news(1000.0 + SILENT_S - 1)[1] == []
    assert nodes.news(1000.0 + SILENT_S)[1] == [Lost(SPOT, 10.0 + SILENT_S, warned=False)]


def test_of_two_notices_the_earlier_time_counts() -> None:
    nodes = Nodes()
    assert nodes.notice("n1", "preempted", None, 0.0)
    assert nodes.leaves_at("n1") == inf
    assert nodes.notice("n1", "preempted", 100.0, 1.0)
    assert not nodes.notice("n1", "preempted", 200.0, 2.0)
    assert not nodes.notice("n1", "preempted", 99.9, 2.0)
    assert nodes.seen({"n1"}, {"n1": 50.0}, 3.0) == ["n1"]
    assert nodes.leaves_at("n1") == 50.0
    assert nodes.leaves_at("another") is None


def test_a_warning_is_passed_on_once() -> None:
    nodes = Nodes()
    nodes.heard("r1", "n1", SPOT, 10.0, 0.0)
    assert nodes.notice("n1", "rebalance", None, 0.0)
    assert not nodes.notice("n1", "rebalance", None, 10.0)
    assert nodes.news(10.0)[2] == [SPOT]
    assert nodes.news(10.0)[2] == []
    assert nodes.leaves_at("n1") is None


def test_notices_of_unknown_nodes_are_bounded_and_forgotten() -> None:
    nodes = Nodes()
    assert sum(nodes.notice(f"n{k}", "preempted", 1.0, 0.0) for k in range(MOST + 50)) == MOST
    nodes.news(KEPT_S)
    assert nodes.leaves_at("n1") is None
    nodes.heard("r1", "", SPOT, 1.0, 0.0)
    assert not nodes.knows("")
