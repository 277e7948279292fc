"""The ledger: what it grants, what it refuses and why, what it has stored, what it takes up."""

from collections.abc import Sequence

import pytest

from app.admission.exchange import (
    Account,
    Ask,
    Denial,
    Grant,
    Return,
    Rule,
    Settlement,
    Tick,
    Tock,
)
from app.admission.ledger import LedgerCore
from app.admission.limits import BudgetTerms, LimitDefaults, LimitTable
from app.admission.rows import BucketName, BucketRow, Dirty, SpendingName, SpendingRow, TickRow
from app.audit.events import AuditEvent, EventKind

NOON = 1_800_014_400.0  # 2027-01-15 12:00 UTC
ADA = Account("acme", "ada", "k1")
BOB = Account("acme", "bob", "k2")
ROOMY = LimitDefaults(10**9, 10**9, 10**9)


class Shard:
    """A core and its store, without anything between them."""

    def __init__(self, table: LimitTable | None = None) -> None:
        self.table = table or LimitTable(LimitDefaults())
        self.now = NOON
        self.buckets: dict[BucketName, BucketRow] = {}
        self.spending: dict[SpendingName, SpendingRow] = {}
        self.ticks: dict[str, TickRow] = {}
        self.usage: set[str] = set()
        self.sequences: dict[str, int] = {}
        self.restart()

    def restart(self) -> None:
        self.core = LedgerCore(self.table, lease_s=2.0)

    def send(self, *ticks: Tick) -> list[Tock]:
        for tick in ticks:
            missing = self.core.missing(tick, self.now)
            self.core.load(
                self.now,
                missing,
                [row for name, row in self.buckets.items() if name in missing.buckets],
                [row for name, row in self.spending.items() if name in missing.spending],
                [row for name, row in self.ticks.items() if name in missing.gateways],
            )
            assert not self.core.missing(tick, self.now)
        fresh = frozenset(each.id for tick in ticks for each in tick.settlements) - self.usage
        tocks = [self.core.apply(self.now, tick, fresh) for tick in ticks]
        self.usage |= fresh
        self.dirty = self.core.dirty()
        self.buckets |= {
            BucketName(row.rule, row.tenant, row.user): row for row in self.dirty.buckets
        }
        self.spending |= {
            SpendingName(row.tenant, row.key, row.period, row.start): row
            for row in self.dirty.spending
        }
        self.ticks |= {row.gateway: row for row in self.dirty.ticks}
        assert self.core.dirty() == Dirty()
        return tocks

    def tick(
        self,
        *asks: Ask,
        gateway: str = "g1",
        returns: Sequence[Return] = (),
        settlements: Sequence[Settlement] = (),
        running: Sequence[tuple[str, Account]] = (),
    ) -> Tick:
        self.sequences[gateway] = self.sequences.get(gateway, 0) + 1
        return Tick(
            gateway,
            self.sequences[gateway],
            asks,
            tuple(returns),
            (),
            tuple(running),
            tuple(settlements),
        )

    def ask(
        self,
        account: Account = ADA,
        tokens: int = 0,
        micros: int = 0,
        *,
        large: str = "",
        gateway: str = "g1",
        running: Sequence[tuple[str, Account]] = (),
        more: int = 0,
        more_micros: int = 0,
    ) -> Grant | Denial:
        ask = Ask(7, account, tokens, more, micros, more_micros, large)
        tock = self.send(self.tick(ask, gateway=gateway, running=running))[0]
        answer: list[Grant | Denial] = [*tock.grants, *tock.denials]
        assert len(answer) == 1
        assert answer[0].number == 7
        return answer[0]

    def give(self, account: Account, tokens: int = 0, micros: int = 0, gateway: str = "g1") -> None:
        self.send(self.tick(gateway=gateway, returns=[Return(account, tokens, micros)]))

    def settle(
        self, id_: str, micros: int, at: float | None = None, account: Account = ADA
    ) -> Tock:
        at = self.now if at is None else at
        return self.send(self.tick(settlements=[settlement(id_, micros, at, account)]))[0]

    def stored(self, rule: str, user: str = "", tenant: str = "acme") -> float:
        return self.buckets[BucketName(rule, tenant, user)].level


def settlement(id_: str, micros: int, at: float, account: Account = ADA) -> Settlement:
    return Settlement(
        id_,
        "r",
        at,
        account,
        "demo",
        "pool",
        "public",
        "/v1/completions",
        "small",
        "standard",
        1,
        1,
        micros,
        "finished",
    )


def budgeted(**budgets: BudgetTerms) -> Shard:
    """Budgets of `acme`: day, month; key_day, key_month are those of ada's key."""
    return Shard(
        LimitTable(
            ROOMY,
            budgets={
                ("acme", "k1" if "key" in name else "", name.removeprefix("key_")): terms
                for name, terms in budgets.items()
            },
        )
    )


def refused(micros: int) -> BudgetTerms:
    return BudgetTerms(micros, 0.8, "refuse")


class TestWindows:
    def test_grants_the_least_and_says_what_is_left(self) -> None:
        answer = Shard().ask(tokens=4_000)
        assert isinstance(answer, Grant)
        assert answer.reset_s == pytest.approx(24.0)
        assert answer == Grant(7, 4_000, 0, 2.0, 10_000, 10_000, answer.reset_s)

    @pytest.mark.parametrize(
        ("account", "before", "tokens", "rule", "limit", "wait"),
        [
            (ADA, 14_000, 2_000, Rule.USER_MINUTE, 10_000, 6.0),
            (BOB, 0, 15_001, Rule.USER_MINUTE, 10_000, None),
        ],
    )
    def test_refuses_what_the_user_may_not(
        self,
        account: Account,
        before: int,
        tokens: int,
        rule: Rule,
        limit: int,
        wait: float | None,
    ) -> None:
        shard = Shard()
        shard.ask(account, before)
        answer = shard.ask(account, tokens)
        assert isinstance(answer, Denial)
        assert (answer.rule, answer.limit, answer.used) == (rule, limit, before)
        assert answer.retry_after_s == (wait if wait is None else pytest.approx(wait, abs=2.5))

    def test_refuses_what_the_tenant_may_not(self) -> None:
        shard = Shard()
        for number in range(5):
            assert isinstance(shard.ask(Account("acme", f"u{number}", ""), 15_000), Grant)
        answer = shard.ask(ADA, 1)
        assert isinstance(answer, Denial)
        assert (answer.rule, answer.used) == (Rule.TENANT_MINUTE, 75_000)
        assert isinstance(shard.ask(Account("other", "ada", "k9"), 15_000), Grant)

    def test_the_hour_outlasts_the_minute(self) -> None:
        shard = Shard()
        granted = 0
        for _ in range(30):
            granted += isinstance(shard.ask(tokens=10_000), Grant)
            shard.now += 60
        assert granted == 15 + 4  # 150,000 at once and 100,000 an hour
        answer = shard.ask(tokens=10_000)
        assert isinstance(answer, Denial)
        assert answer.rule is Rule.USER_HOUR

    def test_more_leaves_three_quarters_for_others(self) -> None:
        answer = Shard().ask(tokens=3_000, more=50_000)
        assert isinstance(answer, Grant)
        assert answer.tokens == 3_000 + 12_000 // 4

    def test_when_scarce_exactly_the_least(self) -> None:
        shard = Shard()
        shard.ask(tokens=14_997)
        answer = shard.ask(tokens=1, more=1_000)
        assert isinstance(answer, Grant)
        assert answer.tokens == 1

    def test_a_lease_ahead_is_never_refused(self) -> None:
        shard = Shard()
        shard.ask(tokens=15_000)
        shard.give(ADA, tokens=-5_000)
        assert isinstance(answer := shard.ask(more=100), Grant)
        assert answer.tokens == 0

    def test_all_windows_are_taken_from_or_none(self) -> None:
        shard = Shard(LimitTable(LimitDefaults(tenant_tokens_per_minute=100)))
        assert isinstance(shard.ask(tokens=151), Denial)
        assert isinstance(shard.ask(tokens=150), Grant)
        assert shard.stored(Rule.USER_MINUTE, "ada") == 15_000 - 150

    def test_a_changed_table_applies_at_once(self) -> None:
        shard = Shard()
        shard.ask(tokens=1_000)
        own = {("acme", "ada", "user_tokens_per_minute"): 10}
        shard.core.set_table(LimitTable(LimitDefaults(), limits=own))
        answer = shard.ask(tokens=1)
        assert isinstance(answer, Denial)
        assert answer.limit == 10


class TestBudgets:
    @pytest.mark.parametrize(
        ("name", "rule"),
        [
            ("day", Rule.TENANT_DAY),
            ("month", Rule.TENANT_MONTH),
            ("key_day", Rule.KEY_DAY),
            ("key_month", Rule.KEY_MONTH),
        ],
    )
    def test_counts_what_is_leased_and_what_is_spent(self, name: str, rule: Rule) -> None:
        shard = budgeted(**{name: refused(100)})
        assert isinstance(shard.ask(micros=60), Grant)
        answer = shard.ask(micros=41)
        assert answer == Denial(7, rule, 100, 60, 1.0)  # what is leased may come back
        shard.settle("s1", 50)
        shard.give(ADA, micros=60)
        assert isinstance(shard.ask(micros=50), Grant)
        answer = shard.ask(micros=51)
        assert isinstance(answer, Denial)
        assert answer.used == 100
        assert answer.retry_after_s is not None
        assert answer.retry_after_s > 3600

    def test_other_keys_have_budgets_of_their_own(self) -> None:
        shard = budgeted(key_day=refused(100))
        shard.ask(micros=100)
        assert isinstance(shard.ask(micros=1), Denial)
        assert isinstance(shard.ask(BOB, micros=1_000), Grant)

    def test_more_than_the_whole_budget_never_comes(self) -> None:
        assert budgeted(day=refused(100)).ask(micros=101) == Denial(
            7, Rule.TENANT_DAY, 100, 0, None
        )

    def test_beyond_it_degrades(self) -> None:
        shard = budgeted(day=BudgetTerms(100, 0.8, "degrade"))
        first, second = shard.ask(micros=100), shard.ask(micros=50)
        assert isinstance(first, Grant)
        assert isinstance(second, Grant)
        assert (first.degraded, second.degraded, second.micros) == (False, True, 50)

    def test_beyond_it_allows(self) -> None:
        shard = budgeted(day=BudgetTerms(100, 0.8, "allow"))
        shard.ask(micros=100)
        answer = shard.ask(micros=50, more_micros=70)
        assert isinstance(answer, Grant)
        assert (answer.degraded, answer.micros) == (False, 120)

    def test_more_leaves_three_quarters_and_takes_tokens_in_proportion(self) -> None:
        shard = budgeted(day=refused(1_000))
        answer = shard.ask(tokens=10, micros=200, more=1_000, more_micros=400)
        assert isinstance(answer, Grant)
        assert (answer.micros, answer.tokens) == (200 + 200, 10 + 500)

    def test_starts_anew_with_the_day_but_not_the_month(self) -> None:
        shard = budgeted(day=refused(100), month=refused(150))
        shard.settle("s1", 100)
        assert isinstance(shard.ask(micros=1), Denial)
        shard.now += 86_400
        assert isinstance(shard.ask(micros=50), Grant)
        answer = shard.ask(micros=1)
        assert isinstance(answer, Denial)
        assert answer.rule is Rule.TENANT_MONTH

    def test_a_late_settlement_counts_in_its_own_day(self) -> None:
        shard = budgeted(day=refused(100))
        shard.settle("s1", 90, at=shard.now - 86_400)
        assert isinstance(shard.ask(micros=100), Grant)

    def test_a_clock_ahead_does_not_move_spending_into_another_day(self) -> None:
        shard = budgeted(day=refused(100))
        shard.settle("s1", 90, at=shard.now + 1e15)
        assert isinstance(shard.ask(micros=20), Denial)

    def test_raises_one_alert_a_period(self) -> None:
        shard = budgeted(day=refused(100))
        shard.settle("s1", 79)
        assert not shard.dirty.alerts
        shard.settle("s2", 1)
        (alert,) = shard.dirty.alerts
        assert alert.kind is EventKind.BUDGET_ALERT
        assert (alert.tenant, alert.key, alert.detail["spent_micros"]) == ("acme", "", 80)
        assert len(alert.id) <= 40
        shard.settle("s3", 10)
        shard.restart()
        shard.settle("s4", 10)
        assert not shard.dirty.alerts
        shard.now += 86_400
        shard.settle("s5", 90)
        assert [each.id == alert.id for each in shard.dirty.alerts] == [False]

    def test_usage_without_a_price_is_stored_without_sums(self) -> None:
        shard = budgeted(day=refused(0))
        assert shard.settle("s1", 0).settled == ("s1",)
        assert not shard.dirty
        assert isinstance(shard.ask(tokens=5), Grant)


class TestPlaces:
    def test_one_at_a_time_over_all_gateways(self) -> None:
        shard = Shard()
        assert isinstance(shard.ask(large="r1"), Grant)
        answer = shard.ask(large="r2", gateway="g2")
        assert answer == Denial(7, Rule.USER_LARGE, 1, 1, 1.0)
        assert isinstance(shard.ask(BOB, large="r3", gateway="g2"), Grant)
        # The next tick of its gateway does not name it among those that run.
        assert isinstance(shard.ask(large="r4"), Grant)

    def test_none_where_none_is_allowed(self) -> None:
        shard = Shard(LimitTable(LimitDefaults(user_large_requests=0)))
        assert shard.ask(large="r1") == Denial(7, Rule.USER_LARGE, 0, 0, None)

    def test_a_silent_gateway_loses_them(self) -> None:
        shard = Shard()
        shard.ask(large="r1")
        for _ in range(10):
            shard.now += 1
            assert isinstance(shard.ask(large="r2", gateway="g2"), Denial)
        shard.now += 1
        assert isinstance(shard.ask(large="r2", gateway="g2"), Grant)

    def test_a_ledger_that_stood_still_blames_nobody(self) -> None:
        shard = Shard()
        shard.ask(large="r1")
        shard.now += 60
        assert isinstance(shard.ask(large="r2", gateway="g2"), Denial)

    def test_a_new_ledger_knows_how_many_there_were(self) -> None:
        shard = Shard()
        shard.ask(large="r1")
        shard.restart()
        shard.now += 1
        assert isinstance(shard.ask(large="r2", gateway="g2"), Denial)
        assert isinstance(shard.ask(BOB, large="r3", gateway="g2"), Grant)
        for _ in range(10):
            shard.now += 1
            shard.send(shard.tick(running=[("r1", ADA)]))
            shard.send(shard.tick(gateway="g2", running=[("r3", BOB)]))
        assert isinstance(shard.ask(large="r2", gateway="g2"), Denial)  # learnt from g1
        shard.send(shard.tick())
        assert isinstance(shard.ask(large="r2", gateway="g2"), Grant)


class TestTicksAndRestarts:
    def test_a_repeated_tick_is_answered_as_before(self) -> None:
        shard = Shard()
        tick = shard.tick(Ask(1, ADA, 100, 0, 0, 0), Ask(2, ADA, 10**6, 0, 0, 0))
        first = shard.send(tick)[0]
        shard.now += 1.5
        again = shard.send(tick)[0]
        assert again.denials == first.denials
        assert [each.tokens for each in again.grants] == [100]
        assert again.grants[0].valid_s == pytest.approx(0.5)
        assert shard.stored(Rule.TENANT_MINUTE) == 75_000 - 100
        shard.now += 5
        assert shard.send(tick)[0].grants[0].valid_s == 0

    def test_what_comes_back_counts_once(self) -> None:
        shard = budgeted(day=refused(100))
        shard.ask(tokens=10, micros=100)
        shard.now += 5
        tick = shard.tick(returns=[Return(ADA, -1_000, 40)])
        shard.send(tick)
        level = shard.stored(Rule.USER_HOUR, "ada")
        shard.send(tick, tick)
        shard.restart()
        shard.send(tick, tick)
        assert shard.buckets[BucketName(Rule.USER_HOUR, "acme", "ada")].level == level
        assert shard.stored("tenant_leased_micros") == 60

    def test_an_old_tick_is_left_alone(self) -> None:
        shard = Shard()
        old = shard.tick(Ask(1, ADA, 100, 0, 0, 0), settlements=[settlement("s", 5, NOON)])
        shard.send(old)
        shard.ask(tokens=1)
        for restarts in (False, True):
            if restarts:
                shard.restart()
            answer = shard.send(old)[0]
            assert (answer.sequence, answer.grants, answer.denials) == (1, (), ())
            assert answer.settled == ("s",)
        assert shard.stored(Rule.TENANT_MINUTE) == 75_000 - 101

    def test_a_settlement_counts_once_in_a_batch(self) -> None:
        shard = Shard()
        one = settlement("s1", 10, NOON)
        shard.send(shard.tick(settlements=[one, one]), shard.tick(gateway="g2", settlements=[one]))
        shard.send(shard.tick(settlements=[one]))
        assert {row.micros for row in shard.spending.values()} == {10}

    def test_answers_name_all_that_is_stored(self) -> None:
        shard = Shard()
        event = AuditEvent("e1", NOON, EventKind.ADMITTED)
        tock = shard.send(Tick("g1", 1, settlements=(settlement("s1", 1, NOON),), events=(event,)))
        assert (tock[0].settled, tock[0].recorded) == (("s1",), ("e1",))

    def test_a_new_ledger_grants_nothing_twice(self) -> None:
        shard = Shard(LimitTable(ROOMY, budgets={("acme", "", "day"): refused(100)}))
        shard.core.set_table(table := LimitTable(LimitDefaults(), budgets=shard.table._budgets))
        shard.table = table
        shard.ask(tokens=15_000, micros=100)
        shard.restart()
        assert isinstance(shard.ask(tokens=1), Denial)
        assert isinstance(shard.ask(BOB, micros=1), Denial)
        shard.give(ADA, micros=70)
        assert isinstance(shard.ask(BOB, micros=70), Grant)

    def test_what_a_lost_ledger_leased_comes_back_in_the_end(self) -> None:
        shard = budgeted(day=refused(100))
        shard.ask(micros=100)
        shard.restart()
        assert isinstance(shard.ask(BOB, micros=1, gateway="g2"), Denial)
        shard.now += 700
        shard.send(shard.tick(gateway="g2"))
        assert isinstance(shard.ask(BOB, micros=100, gateway="g2"), Grant)

    def test_a_silent_gateway_loses_its_money_and_gives_back_none_of_others(self) -> None:
        shard = budgeted(day=refused(100))
        shard.ask(micros=100)
        for _ in range(11):
            shard.now += 1
            shard.send(shard.tick(gateway="g2"))
        assert isinstance(shard.ask(BOB, micros=100, gateway="g2"), Grant)
        shard.give(ADA, micros=100)
        assert shard.stored("tenant_leased_micros") == 100

    def test_a_gateway_may_come_back_after_any_time(self) -> None:
        shard = Shard()
        shard.ask(tokens=10, large="r1")
        for _ in range(700):
            shard.now += 1
            shard.send(shard.tick(gateway="g2"))
        tick = shard.tick(running=[("r1", ADA)])
        assert "g1" not in shard.core._gateways
        assert shard.send(tick)[0].sequence == 2
        assert isinstance(shard.ask(large="r2", gateway="g2"), Denial)
        # Known when its tick was looked at, forgotten by the time that it is applied.
        tick = shard.tick(running=[("r1", ADA)])
        assert not shard.core.missing(tick, shard.now)
        assert shard.core.apply(shard.now + 700, tick, frozenset()).sequence == 3

    def test_nobody_is_gone_whose_lease_is_valid(self) -> None:
        shard = budgeted(day=refused(100))
        shard.core = LedgerCore(shard.table, lease_s=30.0)
        shard.ask(micros=100)
        for _ in range(30):
            shard.now += 1
            assert isinstance(shard.ask(micros=1, gateway="g2"), Denial)

    def test_what_was_not_stored_is_forgotten(self) -> None:
        shard = Shard()
        shard.ask(tokens=1_000)
        tick = shard.tick(Ask(1, ADA, 5_000, 0, 0, 0))
        shard.core.apply(shard.now, tick, frozenset())
        shard.core.discard()
        shard.now += 0.1
        shard.send(tick)
        assert shard.stored(Rule.TENANT_MINUTE) == 75_000 - 6_000

    def test_a_tick_that_was_not_loaded_is_an_error(self) -> None:
        with pytest.raises(LookupError):
            LedgerCore(LimitTable(LimitDefaults()), lease_s=2.0).apply(
                NOON, Tick("g", 1), frozenset()
            )

    def test_midnight_between_loading_and_applying(self) -> None:
        shard = budgeted(day=refused(100))
        midnight = NOON + 43_200
        tick = shard.tick(
            Ask(1, ADA, 1, 0, 50, 0), settlements=[settlement("s1", 60, midnight + 1)]
        )
        missing = shard.core.missing(tick, midnight - 1)
        shard.core.load(midnight - 1, missing, [], [], [])
        tock = shard.core.apply(midnight + 2, tick, frozenset(("s1",)))
        assert tock.denials[0].used == 60

    def test_an_idle_tick_stores_nothing(self) -> None:
        shard = Shard()
        shard.send(shard.tick())
        assert not shard.dirty

    def test_remembers_a_bounded_number(self) -> None:
        shard = Shard()
        shard.core = LedgerCore(shard.table, lease_s=2.0, max_cached=50)
        for number in range(500):
            account = Account(f"t{number}", "u", f"k{number}")
            shard.ask(account, 10, 1, large=f"r{number}")
            shard.settle(f"s{number}", 1, account=account)
            shard.give(account, micros=1)
            shard.now += 0.01
        core = shard.core
        sums = core._holdings.spending._sums
        for held in (core._holdings.windows, core._holdings.leased, core._holdings.places, sums):
            assert len(held) <= 51
        assert isinstance(shard.ask(Account("t480", "u", "k480"), 14_991), Denial)

    def test_gateways_are_forgotten(self) -> None:
        shard = Shard()
        for number in range(100):
            shard.send(shard.tick(gateway=f"old{number}"))
        for _ in range(900):
            shard.now += 1
            shard.send(shard.tick())
        assert list(shard.core._gateways) == ["g1"]
