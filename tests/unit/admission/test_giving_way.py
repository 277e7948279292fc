"""Who makes room for whom in a full engine."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from app.admission.giving_way import BURST, Holding, Room, who_gives_way

AMPLE = 10.0**9


def holdings(tenant: str, count: int, *, weight: float = 1.0, tokens: int = 10) -> list[Holding]:
    return [
        Holding(f"{tenant}{n}", tenant, weight, tokens, tokens / weight, lost=100 + n)
        for n in range(count)
    ]


def new(tenant: str, *, weight: float = 1.0, tokens: int = 10) -> Holding:
    return Holding("new", tenant, weight, tokens, tokens / weight)


def ask(
    newcomer: Holding,
    running: list[Holding],
    room: Room,
    *,
    served: dict[str, float] | None = None,
    wanting: tuple[str, ...] = (),
    never: tuple[str, ...] = (),
) -> list[str]:
    """By default each tenant has been served ten times what runs of it."""
    amounts: dict[str, float] = {}
    for each in running:
        amounts[each.tenant] = amounts.get(each.tenant, 0.0) + 10 * each.cost
    amounts |= served or {}
    tenants = {each.key: each.tenant for each in running}

    def behind(key: str) -> float:
        if key in never:
            return -inf
        return amounts.get(tenants[key], 0.0) - amounts.get(newcomer.tenant, 0.0)

    return who_gives_way(newcomer, running, dict.fromkeys(wanting, 1.0), room, behind)


def test_who_has_filled_the_engine_makes_room_with_what_costs_least() -> None:
    running = holdings("a", 4)
    running[2] = running[2]._replace(lost=3)
    assert ask(new("b"), running, Room(4, AMPLE), wanting=("a", "b")) == ["a2"]


def test_of_those_that_cost_alike_the_last_to_start_goes() -> None:
    running = [each._replace(lost=0) for each in holdings("a", 4)]
    assert ask(new("b"), running, Room(4, AMPLE)) == ["a3"]


def test_nobody_goes_while_there_is_room() -> None:
    assert ask(new("b"), holdings("a", 3), Room(4, AMPLE)) == []


def test_nobody_pushes_whom_he_would_then_be_level_with() -> None:
    running = holdings("a", 3) + holdings("b", 1)
    for amount, chosen in ((100.0, ["a0"]), (65.0, ["a0"]), (64.0, []), (10.0, [])):
        served = {"a": amount, "b": 45.0}
        assert ask(new("b"), running, Room(4, AMPLE), served=served) == chosen


def test_who_has_had_most_goes_first() -> None:
    running = holdings("a", 3) + holdings("c", 3)
    served = {"a": 100.0, "c": 200.0}
    assert ask(new("b"), running, Room(6, AMPLE), served=served) == ["c0"]


def test_after_a_pause_nobody_gets_the_engine_for_himself() -> None:
    # Half is his; he may push for three quarters.
    served = {"a": 10_000.0, "b": 0.0}
    room = Room(8, AMPLE)
    for own, chosen in ((0, ["a0"]), (5, ["a0"]), (6, [])):
        running = holdings("a", 8 - own) + holdings("b", own)
        assert ask(new("b"), running, room, served=served) == chosen


def test_the_last_one_stays() -> None:
    running = [*holdings("a", 1), *holdings("b", 1)]
    assert ask(new("c"), running, Room(2, AMPLE)) == []


def test_one_place_may_always_be_pushed_for() -> None:
    running = holdings("a", 2)
    assert ask(new("b"), running, Room(2, AMPLE), wanting=tuple("cdefghi")) == ["a0"]


def test_one_tenant_never_pushes_its_own() -> None:
    assert ask(new("a"), holdings("a", 4), Room(4, AMPLE), wanting=("a",)) == []


def test_weights_count() -> None:
    room = Room(8, AMPLE)
    light = holdings("light", 7) + holdings("heavy", 1, weight=6.0)
    served = {"light": 100.0, "heavy": 10.0}
    assert ask(new("heavy", weight=6.0), light, room, served=served) == ["light0"]
    heavy = holdings("heavy", 6, weight=6.0) + holdings("light", 2)
    served = {"heavy": 100.0, "light": 10.0}
    # Two of eight are more than one and a half times a seventh.
    assert ask(new("light"), heavy, room, served=served) == []


def test_the_kv_cache_is_shared_as_the_places_are() -> None:
    room = Room(100, 100)
    running = holdings("a", 5, tokens=20)
    running += [each._replace(key="own") for each in holdings("b", 1, tokens=0)]
    served = {"a": 1000.0}
    assert ask(new("b", tokens=80), running, room, served=served) == []
    assert ask(new("b", tokens=30), running, room, served=served) == ["a0", "a1"]


def test_all_or_nothing() -> None:
    room = Room(6, 100)
    running = holdings("a", 4, tokens=25)
    stuck = [each._replace(movable=False) for each in running]
    assert ask(new("b"), stuck, room) == []
    assert ask(new("b", tokens=75), running, room) == ["a0", "a1", "a2"]
    assert ask(new("b", tokens=76), running, room) == []


def test_who_is_in_a_more_urgent_band_stays() -> None:
    assert ask(new("b"), holdings("a", 4), Room(4, AMPLE), never=("a0",)) == ["a1"]


weights = st.sampled_from([0.5, 1.0, 2.0, 3.0])


@given(
    counts=st.lists(st.integers(0, 8), min_size=1, max_size=5),
    weight=st.lists(weights, min_size=5, max_size=5),
    served=st.lists(st.floats(0, 500), min_size=5, max_size=5),
    sizes=st.lists(st.integers(1, 60), min_size=40, max_size=40),
    newcomer=st.integers(0, 4),
    size=st.integers(1, 60),
    limit=st.integers(60, 600),
    stays=st.sets(st.integers(0, 39)),
)
def test_it_fits_afterwards_and_nobody_is_wronged(
    counts: list[int],
    weight: list[float],
    served: list[float],
    sizes: list[int],
    newcomer: int,
    size: int,
    limit: int,
    stays: set[int],
) -> None:
    sizes = list(sizes)
    running = []
    for tenant, count in enumerate(counts):
        for n in range(count):
            tokens = sizes.pop()
            cost = tokens / weight[tenant]
            running.append(Holding(f"{tenant}.{n}", str(tenant), weight[tenant], tokens, cost, n))
    kept = tuple(each.key for number, each in enumerate(running) if number in stays)
    room = Room(max(len(running), 1), max(limit, sum(each.tokens for each in running)))
    arrived = Holding("new", str(newcomer), weight[newcomer], size, size / weight[newcomer])
    amounts = {str(number): amount for number, amount in enumerate(served)}
    chosen = ask(arrived, running, room, served=amounts, never=kept)
    assert len(set(chosen)) == len(chosen)
    assert not set(chosen) & set(kept)
    if not chosen:
        return
    left = [each for each in running if each.key not in chosen] + [arrived]
    assert len(left) <= room.places
    assert sum(each.tokens for each in left) <= room.tokens
    for pushed in {each.tenant for each in running if each.key in chosen}:
        assert pushed != arrived.tenant
        assert any(each.tenant == pushed for each in left)
        lost = sum(each.cost for each in running if each.key in chosen and each.tenant == pushed)
        assert amounts[arrived.tenant] + arrived.cost <= amounts[pushed] - lost + 1e-6
    own = [each for each in left if each.tenant == arrived.tenant]
    share = max(len(own) / room.places, sum(each.tokens for each in own) / room.tokens)
    total = sum({each.tenant: each.weight for each in [*running, arrived]}.values())
    assert len(own) == 1 or share <= BURST * arrived.weight / total + 1e-6
    # Not one more than had to.
    back = next(each for each in running if each.key == chosen[-1])
    tokens = sum(each.tokens for each in left) + back.tokens
    assert len(left) + 1 > room.places or tokens > room.tokens
