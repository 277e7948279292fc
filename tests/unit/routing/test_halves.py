"""Routes within a disaggregated pool: to a prefill replica, then to a decode replica."""

import pytest

from app.errors import NoCapacity
from app.routing.breaker import BreakerSettings, BreakerState
from app.routing.route_table import MarketRoute, PoolRoute, build_tables
from app.routing.router import Route, Router
from app.routing.size_class import SizeClass

MARKETS = (MarketRoute("on-demand"), MarketRoute("spot"))
POOLS = (
    PoolRoute(
        "halves", "demo", "public", tuple(SizeClass), 32_768, 1_000, MARKETS[:1], prefill=MARKETS
    ),
    PoolRoute("whole", "demo", "private", tuple(SizeClass), 32_768, 1_000, MARKETS[:1]),
)
NONE: frozenset[str] = frozenset()


def fleet(prefill: str = "p1 p2", spot: str = "p3", decode: str = "d1 d2 d3") -> Router:
    router = Router(build_tables(POOLS), BreakerSettings(failures=2, open_s=2.0))
    router.set_replicas("halves", "on-demand", decode.split(), 0.0)
    router.set_replicas("halves--prefill", "on-demand", prefill.split(), 0.0)
    router.set_replicas("halves--prefill", "spot", spot.split(), 0.0)
    router.set_replicas("whole", "on-demand", ["w1"], 0.0)
    return router


def prefill(router: Router, now: float = 0.0, exclude: frozenset[str] = NONE) -> str | None:
    found = router.prefill_route("halves", now, exclude)
    return None if found is None else found.replica_id


def decode(router: Router, *prefer: str, now: float = 0.0, exclude: str = "") -> str | None:
    found = router.decode_route("halves", now, frozenset(exclude.split()), frozenset(prefer))
    return None if found is None else found.replica_id


def to(replica: str) -> Route:
    if replica.startswith("d"):
        return Route("halves", "on-demand", replica, False)
    return Route("halves--prefill", "spot" if replica == "p3" else "on-demand", replica, False)


def test_prefill_goes_to_the_fewest_queued_prompt_tokens_in_any_market() -> None:
    router = fleet()
    router.started("a", to("p1"), 500, 1, 0.0)
    router.started("b", to("p2"), 100, 1, 0.0)
    assert router.prefill_route("halves", 0.0) == to("p3")
    router.started("c", to("p3"), 200, 1, 0.0)
    assert prefill(router) == "p2"
    assert prefill(router, exclude=frozenset(["p2"])) == "p3"
    router.first_token("a", 0.1)  # its prompt has been read
    assert prefill(router) == "p1"


def test_a_request_is_never_routed_to_a_prefill_replica() -> None:
    router = fleet(decode="")
    with pytest.raises(NoCapacity, match=r"pool halves: 0 of 1 replicas ready\.$"):
        router.route("demo", "public", SizeClass.SMALL, 100, 0.0)
    assert router.decode_route("halves", 0.0) is None
    assert fleet().route("demo", "public", SizeClass.SMALL, 100, 0.0).pool == "halves"


def test_only_a_disaggregated_pool_has_prefill_replicas() -> None:
    router = fleet()
    assert router.prefill_route("whole", 0.0) is None
    assert router.decode_route("whole", 0.0) == Route("whole", "on-demand", "w1", False)
    with pytest.raises(ValueError, match="no pool whole--prefill"):
        router.set_replicas("whole--prefill", "on-demand", ["p9"], 0.0)
    with pytest.raises(ValueError, match="belongs to pool halves--prefill"):
        router.set_replicas("halves", "on-demand", ["p1"], 0.0)


def test_prefill_replicas_that_have_just_failed_are_left_alone() -> None:
    router = fleet(prefill="p1", spot="")
    router.started("a", to("p1"), 100, 1, 0.0)
    router.failed("a", 0.0)
    assert prefill(router, 0.4) is None
    assert prefill(router, 0.5) == "p1"
    assert prefill(fleet(prefill="", spot="")) is None


def test_the_breakers_of_the_halves_are_apart() -> None:
    router = fleet()
    for key in ("a", "b"):
        router.started(key, to("p1"), 100, 1, 0.0)
        router.failed(key, 0.0)
    breakers = {(each.pool, each.market): each.breaker for each in router.states(0.0)}
    assert breakers["halves--prefill", "on-demand"] is BreakerState.OPEN
    assert breakers["halves--prefill", "spot"] is BreakerState.CLOSED
    assert breakers["halves", "on-demand"] is BreakerState.CLOSED
    assert prefill(router) == "p3"
    assert decode(router) == "d1"


def test_states_tell_the_halves_apart() -> None:
    router = fleet()
    router.started("a", to("p3"), 100, 1, 0.0)
    router.report("p3", 50)
    found = {(each.pool, each.market): each for each in router.states(0.0)}
    assert list(found) == [
        ("halves", "on-demand"),
        ("halves--prefill", "on-demand"),
        ("halves--prefill", "spot"),
        ("whole", "on-demand"),
    ]
    spot = found["halves--prefill", "spot"]
    assert (spot.zone, spot.ready, spot.wanted, spot.outstanding_tokens) == ("public", 1, 1, 151)


def test_decode_goes_to_the_least_outstanding() -> None:
    router = fleet()
    router.report("d1", 100)
    router.report("d2", 50)
    router.report("d3", 80)
    assert router.decode_route("halves", 0.0) == to("d2")
    assert decode(router, exclude="d2") == "d3"
    assert decode(router, exclude="d1 d2 d3") is None


def test_preferred_decode_replicas_come_first_while_they_can() -> None:
    router = fleet()
    router.report("d1", 900)
    router.report("d2", 800)
    assert decode(router, "d1", "d2") == "d2"
    assert decode(router, "d1", "d2", exclude="d2") == "d1"
    assert decode(router, "elsewhere") == "d3"
    router.report("d2", 1_000)
    assert decode(router, "d1", "d2") == "d1"
    router.report("d1", 1_000)
    assert decode(router, "d1", "d2") == "d3"
    router.report("d3", 2_000)  # all are saturated: the least of them
    assert decode(router, "d3") == "d1"


def test_a_preferred_replica_that_has_just_failed_is_not_preferred() -> None:
    router = fleet()
    router.started("a", to("d1"), 100, 1, 0.0)
    router.failed("a", 0.0)
    assert decode(router, "d1", now=0.1) == "d2"
    assert decode(router, "d1", now=0.1, exclude="d2 d3") == "d1"


def read(router: Router, key: str, replica: str, now: float = 0.0) -> None:
    """The first half of a hand-off."""
    router.started(key, to(replica), 100, 1, now)
    router.first_token(key, now)
    router.finished(key, now)


def breaker(router: Router, now: float) -> BreakerState:
    """The breaker of the prefill replicas p1 and p2."""
    return router.states(now)[1].breaker


def test_blame_for_what_had_seemed_to_end_well() -> None:
    router = fleet(spot="")
    router.blamed(to("p1"), 0.0)
    assert {prefill(router, 0.1), prefill(router, 0.1)} == {"p2"}
    router.blamed(to("p1"), 0.1)
    assert breaker(router, 0.1) is BreakerState.OPEN
    assert prefill(router, 0.1) is None
    router.started("probe", to("p1"), 100, 1, 2.1)
    router.blamed(to("p2"), 2.1)  # sent before the probe: proves nothing
    assert breaker(router, 2.2) is BreakerState.HALF_OPEN
    router.blamed(to("gone"), 2.2)


def test_prompts_that_are_read_but_never_arrive_open_the_breaker() -> None:
    router = fleet(spot="")
    for number in range(2):
        key = f"r{number}"
        read(router, key, "p1")
        router.started(key, to("d1"), 1, 50, 0.0)
        router.abandoned(key)  # decode has waited in vain
        router.blamed(to("p1"), 0.0)
    assert breaker(router, 0.0) is BreakerState.OPEN
    read(router, "probe", "p2", 2.0)
    assert breaker(router, 2.0) is BreakerState.HALF_OPEN
    assert prefill(router, 2.0) is None  # one probe, until it has arrived
    router.started("probe", to("d1"), 1, 50, 2.0)
    router.first_token("probe", 2.1)
    assert breaker(router, 2.1) is BreakerState.CLOSED


@pytest.mark.parametrize("end", ["failed", "abandoned", "sent twice", "read twice"])
def test_a_probe_whose_second_half_tells_nothing_gives_its_place_away(end: str) -> None:
    router = fleet(spot="")
    for _ in range(2):
        router.blamed(to("p1"), 0.0)
    read(router, "probe", "p2", 2.0)
    assert prefill(router, 2.0) is None
    if end == "read twice":
        read(router, "probe", "p2", 2.0)
        router.abandoned("probe")
    elif end == "sent twice":
        router.started("probe", to("d1"), 1, 50, 2.0)
        router.started("probe", to("d2"), 1, 50, 2.0)
    else:
        router.started("probe", to("d1"), 1, 50, 2.0)
        getattr(router, end)("probe", *[2.0] * (end == "failed"))
    assert breaker(router, 2.0) is BreakerState.HALF_OPEN
    assert prefill(router, 2.0) is not None


def test_a_prompt_that_was_read_holds_no_place() -> None:
    router = fleet()
    read(router, "r", "p1")
    assert router.open_requests == 0
    assert all(each.outstanding_tokens == 0 for each in router.states(0.0))
    router.abandoned("r")
    router.abandoned("r")


def test_those_who_leave_between_the_halves_are_forgotten_in_time() -> None:
    pool = fleet()
    for number in range(5_000):
        read(pool, f"r{number}", "p1")
    assert len(pool._reads) == 4_096
    for number in range(5_000):
        pool.abandoned(f"r{number}")
    assert len(pool._reads) == 0
