"""Tables, balancer and breakers together: any fleet, any order of events, any clock."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.errors import ContextLengthExceeded, NoCapacity, UnknownModel, UnknownZone
from app.routing.breaker import BreakerSettings, BreakerState
from app.routing.route_table import MarketRoute, PoolRoute, build_tables
from app.routing.router import Route, Router
from app.routing.size_class import SizeClass

ZONES = ("public", "private")
MODELS = ("demo", "coder")
MARKETS = ("on-demand", "spot")


@st.composite
def pools(draw: st.DrawFn) -> list[PoolRoute]:
    return [
        PoolRoute(
            pool=f"p{index}",
            model=draw(st.sampled_from(MODELS)),
            zone=draw(st.sampled_from(ZONES)),
            size_classes=tuple(draw(st.sets(st.sampled_from(SizeClass), min_size=1))),
            max_model_len=draw(st.sampled_from([512, 4_096, 32_768])),
            max_outstanding_tokens=draw(st.sampled_from([1, 500, 5_000])),
            markets=tuple(map(MarketRoute, draw(st.sets(st.sampled_from(MARKETS), min_size=1)))),
            prefill=tuple(map(MarketRoute, draw(st.sets(st.sampled_from(MARKETS))))),
        )
        for index in range(draw(st.integers(1, 5)))
    ]


class RoutingMachine(RuleBasedStateMachine):
    @initialize(fleet=pools())
    def start(self, fleet: list[PoolRoute]) -> None:
        self.fleet = {each.pool: each for each in fleet}
        self.breaker = BreakerSettings(failures=2, open_s=1.0, most_open_s=8.0, probe_timeout_s=4.0)
        self.router = Router(build_tables(fleet), self.breaker)
        self.there: dict[tuple[str, str], set[str]] = {
            (name, entry.market): set()
            for each in fleet
            for name, entries in (
                (each.pool, each.markets),
                (f"{each.pool}--prefill", each.prefill),
            )
            for entry in entries
        }
        self.now = 0.0
        self.last_key = 0
        self.flying: list[int] = []
        self.reading: set[int] = set()
        self.read: list[int] = []

    @rule(seconds=st.one_of(st.floats(0, 3), st.floats(0, 1e6)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(data=st.data(), numbers=st.sets(st.integers(0, 3)))
    def members(self, data: st.DataObject, numbers: set[int]) -> None:
        pool, market = data.draw(st.sampled_from(sorted(self.there)))
        ids = {f"{pool}/{market}/{number}" for number in numbers}
        self.router.set_replicas(pool, market, sorted(ids), self.now)
        self.there[pool, market] = ids

    @rule(data=st.data(), tokens=st.integers(-10, 10_000))
    def report(self, data: st.DataObject, tokens: int) -> None:
        pool, market = data.draw(st.sampled_from(sorted(self.there)))
        self.router.report(f"{pool}/{market}/0", tokens)

    @rule(
        model=st.sampled_from([*MODELS, "other"]),
        zone=st.sampled_from([*ZONES, "secret"]),
        size_class=st.sampled_from(SizeClass),
        need=st.sampled_from([1, 512, 513, 4_096, 32_768, 40_000]),
        exclude=st.booleans(),
        output=st.integers(0, 500),
    )
    def request(
        self, model: str, zone: str, size_class: SizeClass, need: int, exclude: bool, output: int
    ) -> None:
        excluded = self.first_two() if exclude else frozenset()
        may_serve = {
            each.pool
            for each in self.fleet.values()
            if each.zone == zone and each.model == model and each.max_model_len >= need
            if any(own.limit >= size_class.limit for own in each.size_classes)
        }
        open_now = self.open_now()
        try:
            found = self.router.route(model, zone, size_class, need, self.now, excluded)
        except UnknownZone:
            assert all(each.zone != zone for each in self.fleet.values())
        except UnknownModel:
            assert all((each.zone, each.model) != (zone, model) for each in self.fleet.values())
        except ContextLengthExceeded:
            assert not may_serve
        except NoCapacity as error:
            assert error.retry_after_s is not None
            assert 0 < error.retry_after_s <= 8.0
            assert may_serve
            assert all(pool in error.message for pool in may_serve)
        else:
            assert found.pool in may_serve
            assert found.replica_id in self.there[found.pool, found.market] - excluded
            assert (found.pool, found.market) not in open_now
            assert found.spilled == (size_class not in self.fleet[found.pool].size_classes)
            self.send(found, need, output)

    @rule(data=st.data(), exclude=st.booleans(), prompt=st.integers(1, 5_000))
    def prefill(self, data: st.DataObject, exclude: bool, prompt: int) -> None:
        pool = data.draw(st.sampled_from(sorted(self.fleet)))
        excluded = self.first_two() if exclude else frozenset()
        found = self.router.prefill_route(pool, self.now, excluded)
        if found is None:
            return
        group = (found.pool, found.market)
        assert found.pool == f"{pool}--prefill"
        assert found.replica_id in self.there[group] - excluded
        assert group not in self.open_now()
        self.send(found, prompt, 1)
        self.reading.add(self.last_key)

    @rule(data=st.data(), exclude=st.booleans(), prefer=st.booleans(), tokens=st.integers(1, 5_000))
    def decode(self, data: st.DataObject, exclude: bool, prefer: bool, tokens: int) -> None:
        pool = data.draw(st.sampled_from(sorted(self.fleet)))
        excluded = self.first_two() if exclude else frozenset()
        preferred = self.first_two() if prefer else frozenset()
        found = self.router.decode_route(pool, self.now, excluded, preferred)
        open_now = self.open_now()
        possible = {
            replica
            for group, replicas in self.there.items()
            if group[0] == pool and group not in open_now
            for replica in replicas - excluded
        }
        if found is None:
            # What is left may wait for the probe of a breaker.
            assert not possible or self.half_open(pool)
            return
        assert found.pool == pool
        assert found.replica_id in possible
        self.send(found, 0, tokens, self.read.pop() if self.read else None)

    @rule(data=st.data())
    def blamed(self, data: st.DataObject) -> None:
        pool, market = data.draw(st.sampled_from(sorted(self.there)))
        self.router.blamed(Route(pool, market, f"{pool}/{market}/0", False), self.now)

    def first_two(self) -> frozenset[str]:
        return frozenset(
            f"{pool}/{market}/{number}" for pool, market in self.there for number in (0, 1)
        )

    def open_now(self) -> set[tuple[str, str]]:
        return {
            (state.pool, state.market)
            for state in self.router.states(self.now)
            if state.breaker is BreakerState.OPEN
        }

    def half_open(self, pool: str) -> bool:
        return any(
            state.breaker is BreakerState.HALF_OPEN
            for state in self.router.states(self.now)
            if state.pool == pool
        )

    def send(self, found: Route, prompt: int, output: int, key: int | None = None) -> None:
        if key is None:
            self.last_key += 1
            key = self.last_key
        self.flying.append(key)
        self.router.started(key, found, prompt, output, self.now)

    @precondition(lambda self: self.flying)
    @rule(
        data=st.data(),
        event=st.sampled_from(["first", "more", "finished", "failed", "lost", "left"]),
    )
    def event(self, data: st.DataObject, event: str) -> None:
        key = data.draw(st.sampled_from(self.flying))
        match event:
            case "first":
                self.router.first_token(key, self.now)
            case "more":
                self.router.progress(key, 7)
            case "finished":
                self.router.finished(key, self.now)
            case "failed" | "lost":
                self.router.failed(key, self.now, lost=event == "lost")
            case "left":
                self.router.abandoned(key)
        if event not in ("first", "more"):
            self.flying.remove(key)
            if key in self.reading:
                self.reading.remove(key)
                if event == "finished":
                    self.read.append(key)

    @invariant()
    def counts_agree(self) -> None:
        assert self.router.open_requests == len(self.flying)
        states = self.router.states(self.now)
        assert {(state.pool, state.market) for state in states} == set(self.there)
        for state in states:
            assert state.ready == len(self.there[state.pool, state.market])
            assert state.outstanding_tokens >= 0

    def teardown(self) -> None:
        if not hasattr(self, "router"):
            return
        assert len(self.router._reads) <= len(self.read) + len(self.flying)
        for key in self.flying + self.read:
            self.router.abandoned(key)
        assert len(self.router._reads) == 0
        for pool, market in self.there:
            for number in range(4):
                self.router.report(f"{pool}/{market}/{number}", 0)
        assert self.router.open_requests == 0
        assert all(state.outstanding_tokens == 0 for state in self.router.states(self.now))
        # Whatever has happened: where there is a replica, requests get through again.
        later = self.now + 100.0
        for route in self.fleet.values():
            if any(self.there[route.pool, entry.market] for entry in route.markets):
                self.router.route(route.model, route.zone, route.size_classes[0], 1, later)
                assert self.router.decode_route(route.pool, later) is not None
            if any(self.there[f"{route.pool}--prefill", each.market] for each in route.prefill):
                assert self.router.prefill_route(route.pool, later) is not None


TestRoutingMachine = RoutingMachine.TestCase
TestRoutingMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
