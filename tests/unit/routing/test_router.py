"""The router: exact class, spill, fallback, and what it says when there is nothing."""

import pytest

from app.errors import (
    ContextLengthExceeded,
    NoCapacity,
    TidegateError,
    UnknownModel,
    UnknownZone,
)
from app.routing.breaker import BreakerSettings, BreakerState
from app.routing.route_table import MarketRoute, PoolRoute, build_tables
from app.routing.router import Route, Router
from app.routing.size_class import SizeClass

SMALL, MEDIUM, LARGE, XL = SizeClass
ON_DEMAND, SPOT = MarketRoute("on-demand"), MarketRoute("spot", 2)

POOLS = (
    PoolRoute("public-small", "demo", "public", (SMALL, MEDIUM), 4_096, 1_000, (ON_DEMAND,)),
    PoolRoute("public-large", "demo", "public", (LARGE, XL), 32_768, 1_000, (ON_DEMAND, SPOT)),
    PoolRoute("vault", "demo", "confidential", tuple(SizeClass), 32_768, 1_000, (ON_DEMAND,)),
)


def fleet(*without: str, **settings: float) -> Router:
    """A router with s1, s2 in public-small, l1 and x1 in public-large, v1 in the vault."""
    router = Router(build_tables(POOLS), BreakerSettings(**{"failures": 2} | settings))  # type: ignore[arg-type]
    for pool, market, ids in (
        ("public-small", "on-demand", ["s1", "s2"]),
        ("public-large", "on-demand", ["l1"]),
        ("public-large", "spot", ["x1"]),
        ("vault", "on-demand", ["v1"]),
    ):
        router.set_replicas(pool, market, [each for each in ids if each not in without], 0.0)
    return router


def route(
    router: Router,
    size_class: SizeClass = SMALL,
    *,
    zone: str = "public",
    need: int = 100,
    now: float = 0.0,
    exclude: str = "",
) -> Route:
    return router.route("demo", zone, size_class, need, now, frozenset(exclude.split()))


def send(router: Router, key: str, to: str, *, tokens: int = 100, now: float = 0.0) -> None:
    """Starts a request at the replica `to`."""
    pools = {"s": ("public-small", "on-demand"), "l": ("public-large", "on-demand")}
    pools |= {"x": ("public-large", "spot"), "v": ("vault", "on-demand")}
    router.started(key, Route(*pools[to[0]], to, False), tokens, 0, now)


def outstanding(router: Router) -> dict[tuple[str, str], int]:
    return {(each.pool, each.market): each.outstanding_tokens for each in router.states(0.0)}


def test_exact_class_and_least_outstanding() -> None:
    router = fleet()
    send(router, "a", "s1")
    assert route(router) == Route("public-small", "on-demand", "s2", False)
    assert route(router, XL).pool == "public-large"


def test_markets_of_a_pool_share_the_load() -> None:
    router = fleet()
    taken = set()
    for key in range(2):
        found = route(router, XL)
        router.started(key, found, 100, 0, 0.0)
        taken.add((found.market, found.replica_id, found.spilled))
    assert taken == {("on-demand", "l1", False), ("spot", "x1", False)}


def test_spills_when_every_replica_of_the_class_is_saturated() -> None:
    router = fleet()
    send(router, "a", "s1", tokens=1_000)
    assert route(router).replica_id == "s2"
    router.report("s2", 1_000)
    spilled = route(router)
    assert (spilled.pool, spilled.spilled) == ("public-large", True)


def test_spills_when_the_breaker_is_open_and_comes_back() -> None:
    router = fleet()
    for key in ("a", "b"):
        send(router, key, "s1")
        router.failed(key, 0.0)
    assert router.states(0.0)[0].breaker is BreakerState.OPEN
    assert route(router, now=1.0).spilled
    probe = route(router, now=2.0)
    assert probe.pool == "public-small"
    router.started("probe", probe, 100, 10, 2.0)
    assert route(router, now=2.0).spilled  # one probe at a time
    router.first_token("probe", 2.1)
    assert not route(router, now=2.1).spilled


def test_spills_when_there_is_no_replica_of_the_class() -> None:
    assert route(fleet("s1", "s2")).spilled


def test_never_below_the_class_and_never_into_a_pool_too_short() -> None:
    router = fleet("l1", "x1")
    with pytest.raises(NoCapacity):
        route(router, LARGE)
    assert route(fleet(), SMALL, need=4_097).pool == "public-large"


def test_where_all_are_saturated_the_exact_class_takes_it() -> None:
    router = fleet()
    for replica, tokens in (("s1", 9_000), ("s2", 8_000), ("l1", 1_000), ("x1", 1_000)):
        router.report(replica, tokens)
    assert route(router) == Route("public-small", "on-demand", "s2", False)


def test_where_all_are_saturated_and_the_exact_class_is_gone_a_larger_one_takes_it() -> None:
    router = fleet("s1", "s2")
    router.report("l1", 9_000)
    router.report("x1", 8_000)
    assert route(router) == Route("public-large", "spot", "x1", True)


def test_a_replica_that_just_failed_comes_after_a_larger_class_but_before_nothing() -> None:
    router = fleet("s2", failures=10)
    send(router, "a", "s1")
    router.failed("a", 0.0)
    assert route(router, now=0.1).spilled
    for replica in ("l1", "x1"):
        router.report(replica, 5_000)
    assert route(router, now=0.1).spilled  # saturated, but they work
    router.set_replicas("public-large", "on-demand", [], 0.1)
    router.set_replicas("public-large", "spot", [], 0.1)
    assert route(router, now=0.1).replica_id == "s1"


def test_excluded_replicas_are_not_chosen() -> None:
    router = fleet()
    assert {route(router, exclude="s1").replica_id for _ in range(3)} == {"s2"}
    assert route(router, exclude="s1 s2").spilled
    with pytest.raises(NoCapacity, match="2 of 2 replicas ready, 2 of them failed this request"):
        route(router, exclude="s1 s2 l1 x1")


def test_says_why_there_is_nothing() -> None:
    router = fleet("v1")
    with pytest.raises(NoCapacity) as caught:
        route(router, zone="confidential")
    assert caught.value.message == (
        "No replica of model demo in zone confidential can take the request now; "
        "pool vault: 0 of 1 replicas ready."
    )
    assert caught.value.retry_after_s == 1.0


def test_retry_after_comes_from_the_breaker() -> None:
    router = fleet("l1", "x1", open_s=4.0)
    for key in ("a", "b"):
        send(router, key, "s1")
        router.failed(key, 0.0)
    with pytest.raises(NoCapacity) as caught:
        route(router, now=0.8)
    assert caught.value.retry_after_s == 1.0  # a replica of the larger class may join before
    assert "pool public-small: 2 of 2 replicas ready, breaker open for 3.2 s;" in str(caught.value)
    assert "pool public-large (spot): 0 of 2 replicas ready" in str(caught.value)

    router = fleet("v1", open_s=4.0)
    router.set_replicas("vault", "on-demand", ["v2"], 0.0)
    for key in ("a", "b"):
        send(router, key, "v2")
        router.failed(key, 0.0)
    with pytest.raises(NoCapacity) as caught:
        route(router, zone="confidential", now=0.8)
    assert caught.value.retry_after_s == pytest.approx(3.2)
    send(router, "probe", "v2", now=4.0)
    with pytest.raises(NoCapacity, match="breaker waiting for its probe"):
        route(router, zone="confidential", now=4.0)


@pytest.mark.parametrize(
    ("model", "zone", "need", "error"),
    [
        ("demo", "secret", 1, UnknownZone),
        ("other", "public", 1, UnknownModel),
        ("demo", "public", 32_769, ContextLengthExceeded),
    ],
)
def test_what_no_waiting_helps(
    model: str, zone: str, need: int, error: type[TidegateError]
) -> None:
    with pytest.raises(error) as caught:
        fleet().route(model, zone, SMALL, need, 0.0)
    assert caught.value.retry_after_s is None


def test_a_new_replica_is_reason_to_try_again_at_once() -> None:
    router = fleet("l1", "x1")
    for key in ("a", "b"):
        send(router, key, "s1")
        router.failed(key, 0.0)
    router.set_replicas("public-small", "on-demand", ["s1", "s2"], 0.1)
    with pytest.raises(NoCapacity):
        route(router, now=0.1)
    router.set_replicas("public-small", "on-demand", ["s2", "s3"], 0.1)
    assert route(router, now=0.1).pool == "public-small"


def test_a_client_that_leaves_during_the_probe_does_not_leave_the_breaker_stuck() -> None:
    router = fleet("l1", "x1")
    for key in ("a", "b"):
        send(router, key, "s1")
        router.failed(key, 0.0)
    for _ in range(3):
        router.started("probe", route(router, now=2.0), 100, 10, 2.0)
        router.abandoned("probe")
    router.started("probe", route(router, now=2.0), 100, 10, 2.0)
    router.finished("probe", 2.1)
    assert router.states(2.1)[0].breaker is BreakerState.CLOSED


def test_one_busy_replica_that_dies_does_not_open_the_breaker() -> None:
    router = fleet()
    for key in range(20):
        send(router, f"r{key}", "s1")
    for key in range(20):
        router.failed(f"r{key}", 1.0, lost=True)
    assert router.states(1.0)[0].breaker is BreakerState.CLOSED
    # It is still listed; what is sent after the loss and fails again is news.
    send(router, "again", "s1", now=1.5)
    router.failed("again", 1.6, lost=True)
    assert router.states(1.6)[0].breaker is BreakerState.OPEN


def test_tokens_follow_the_life_of_a_request() -> None:
    router = fleet()
    where = ("public-small", "on-demand")
    router.started("r", route(router), 300, 100, 0.0)
    assert outstanding(router)[where] == 400
    router.first_token("r", 0.1)
    assert outstanding(router)[where] == 100
    router.first_token("r", 0.1)  # a second one is none
    router.progress("r", 40)
    assert outstanding(router)[where] == 60
    router.finished("r", 0.2)
    assert outstanding(router)[where] == 0
    assert router.open_requests == 0


def test_a_request_started_anew_leaves_its_old_place() -> None:
    router = fleet()
    send(router, "r", "s1")
    send(router, "r", "l1", tokens=50)
    assert outstanding(router)["public-small", "on-demand"] == 0
    assert outstanding(router)["public-large", "on-demand"] == 50
    assert router.open_requests == 1


def test_a_request_started_anew_gives_its_probe_to_another() -> None:
    router = fleet("l1", "x1")
    for key in ("a", "b"):
        send(router, key, "s1")
        router.failed(key, 0.0)
    send(router, "probe", "s1", now=2.0)
    gone = Route("public-small", "on-demand", "gone", False)
    router.started("probe", gone, 100, 10, 2.0)
    assert router.open_requests == 0
    assert outstanding(router)["public-small", "on-demand"] == 0
    assert route(router, now=2.0).pool == "public-small"


def test_events_for_what_is_gone_are_harmless() -> None:
    router = fleet()
    decided = route(router)
    router.set_replicas("public-small", "on-demand", [], 0.0)
    router.started("r", decided, 100, 10, 0.0)
    for key in ("r", "never"):
        router.first_token(key, 0.0)
        router.progress(key, 5)
        router.finished(key, 0.0)
        router.failed(key, 0.0)
        router.failed(key, 0.0, lost=True)
        router.abandoned(key)
    router.report("s1", 5)
    assert router.open_requests == 0
    assert all(tokens == 0 for tokens in outstanding(router).values())


def test_membership_of_a_pool_nobody_configured_is_refused() -> None:
    with pytest.raises(ValueError, match="no pool vault with market spot"):
        fleet().set_replicas("vault", "spot", ["v9"], 0.0)
    with pytest.raises(ValueError, match="belongs to pool vault"):
        fleet().set_replicas("public-small", "on-demand", ["v1"], 0.0)


def test_a_table_under_another_zones_name_is_refused() -> None:
    tables = build_tables(POOLS)
    with pytest.raises(ValueError, match="table of zone confidential is given for zone public"):
        Router({"public": tables["confidential"]})
