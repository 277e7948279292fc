"""Route tables: a zone's pools and no others, in the right order, long enough."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.routing.route_table import (
    MarketRoute,
    PoolRoute,
    RouteTable,
    build_tables,
    prefill_group,
)
from app.routing.size_class import SizeClass

SMALL, MEDIUM, LARGE, XL = SizeClass


def pool(
    name: str,
    *size_classes: SizeClass,
    zone: str = "public",
    model: str = "demo",
    max_model_len: int = 32_768,
) -> PoolRoute:
    return PoolRoute(
        name, model, zone, size_classes, max_model_len, 10_000, (MarketRoute("on-demand"),)
    )


def names(routes: tuple[PoolRoute, ...]) -> list[str]:
    return [route.pool for route in routes]


def test_exact_class_first_then_larger_ones_in_order() -> None:
    table = RouteTable(
        "public", [pool("huge", LARGE, XL), pool("mid", MEDIUM), pool("tiny", SMALL)]
    )
    assert names(table.candidates("demo", SMALL, 100)) == ["tiny", "mid", "huge"]
    assert names(table.candidates("demo", MEDIUM, 100)) == ["mid", "huge"]
    assert names(table.candidates("demo", XL, 100)) == ["huge"]
    assert [names(tier) for tier in table.tiers("demo", SMALL, 100)] == [
        ["tiny"],
        ["mid"],
        ["huge"],
        [],
    ]


def test_pools_of_one_class_are_one_tier() -> None:
    table = RouteTable("public", [pool("a", SMALL), pool("b", SMALL, MEDIUM), pool("c", MEDIUM)])
    assert [names(tier) for tier in table.tiers("demo", SMALL, 1)][:2] == [["a", "b"], ["c"]]


def test_a_pool_too_short_is_left_out() -> None:
    table = RouteTable("public", [pool("s", SMALL, max_model_len=512), pool("m", MEDIUM)])
    assert names(table.candidates("demo", SMALL, 512)) == ["s", "m"]
    assert names(table.candidates("demo", SMALL, 513)) == ["m"]
    assert table.candidates("demo", SMALL, 32_769) == ()
    assert table.longest("demo") == 32_768


def test_an_unknown_model_has_no_pools() -> None:
    table = RouteTable("public", [pool("s", SMALL)])
    assert table.candidates("other", SMALL, 1) == ()
    assert table.longest("other") == 0
    assert table.models == {"demo"}


def test_a_table_refuses_another_zones_pool() -> None:
    with pytest.raises(ValueError, match="pool vault of zone confidential is not of zone public"):
        RouteTable("public", [pool("s", SMALL), pool("vault", SMALL, zone="confidential")])


def test_names_are_unique() -> None:
    with pytest.raises(ValueError, match="two pools go by the name s: rename one"):
        RouteTable("public", [pool("s", SMALL), pool("s", MEDIUM)])
    with pytest.raises(ValueError, match="two pools go by the name s"):
        build_tables([pool("s", SMALL), pool("s", SMALL, zone="private")])
    halves = replace(pool("s", SMALL), prefill=(MarketRoute("spot"),))
    with pytest.raises(ValueError, match="two pools go by the name s--prefill"):
        build_tables([halves, pool("s--prefill", SMALL, zone="private")])


def test_a_disaggregated_pool_has_two_groups_of_replicas() -> None:
    assert pool("s", SMALL).groups == ("s",)
    halves = replace(pool("s", SMALL), prefill=(MarketRoute("on-demand"), MarketRoute("spot")))
    assert halves.groups == ("s", prefill_group("s")) == ("s", "s--prefill")
    with pytest.raises(ValueError, match="prefill replicas twice"):
        replace(halves, prefill=(MarketRoute("spot"),) * 2)


def test_a_pool_must_be_able_to_serve_something() -> None:
    markets = (MarketRoute("spot"),)
    with pytest.raises(ValueError, match="no size class"):
        PoolRoute("p", "demo", "public", (), 1, 1, markets)
    with pytest.raises(ValueError, match="one market"):
        PoolRoute("p", "demo", "public", (SMALL,), 1, 1, ())
    with pytest.raises(ValueError, match="each once"):
        PoolRoute("p", "demo", "public", (SMALL,), 1, 1, markets * 2)
    with pytest.raises(ValueError, match="at least 1 token"):
        PoolRoute("p", "demo", "public", (SMALL,), 0, 1, markets)
    with pytest.raises(ValueError, match="at least 1 token"):
        PoolRoute("p", "demo", "public", (SMALL,), 1, 0, markets)


def test_tables_cannot_be_changed() -> None:
    tables = build_tables([pool("s", SMALL)])
    with pytest.raises(TypeError):
        tables["private"] = tables["public"]  # type: ignore[index]


def fleets() -> st.SearchStrategy[list[PoolRoute]]:
    """Any fleet of pools with names of their own."""
    some_pool = st.builds(
        lambda model, zone, classes, length: (model, zone, classes, length),
        st.sampled_from(["demo", "coder"]),
        st.sampled_from(["public", "private", "confidential"]),
        st.sets(st.sampled_from(SizeClass), min_size=1),
        st.integers(1, 40_000),
    )
    return st.lists(some_pool, max_size=8).map(
        lambda found: [
            pool(f"p{i}", *sorted(classes), zone=zone, model=model, max_model_len=length)
            for i, (model, zone, classes, length) in enumerate(found)
        ]
    )


@settings(deadline=None)
@given(fleets(), st.sampled_from(SizeClass), st.integers(1, 40_000))
def test_candidates_are_right_and_complete(
    fleet: list[PoolRoute], size_class: SizeClass, need: int
) -> None:
    for zone, table in build_tables(fleet).items():
        for model in ("demo", "coder"):
            found = table.candidates(model, size_class, need)
            assert set(found) == {
                route
                for route in fleet
                if route.zone == zone
                and route.model == model
                and route.max_model_len >= need
                and any(each.limit >= size_class.limit for each in route.size_classes)
            }
            assert len(set(found)) == len(found)
            nearest = [
                min(each.limit for each in route.size_classes if each.limit >= size_class.limit)
                for route in found
            ]
            assert nearest == sorted(nearest)


def test_isolated_pools_are_for_risky_requests_alone() -> None:
    apart = replace(pool("apart", SMALL, MEDIUM, max_model_len=2_048), isolated=True)
    table = RouteTable("public", [pool("all", *SizeClass), apart])
    assert names(table.candidates("demo", SMALL, 100)) == ["all"]
    assert names(table.candidates("demo", SMALL, 100, isolated=True)) == ["apart"]
    # Where none takes so long a sequence, it is served like any other.
    assert names(table.candidates("demo", SMALL, 4_096, isolated=True)) == ["all"]
    assert names(
        RouteTable("public", [pool("all", SMALL)]).candidates("demo", SMALL, 1, isolated=True)
    ) == ["all"]
