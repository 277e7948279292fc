"""The gateway's leases: what needs no question, what is asked, what comes back."""

import pytest

from app.admission.exchange import Account, Ask, Denial, Grant, Return, Rule, Tick, Tock
from app.admission.leases import Admitted, Asking, LeaseBook, Taken
from app.admission.ledger import LedgerCore
from app.admission.limits import LimitDefaults, LimitTable

ADA = Account("acme", "ada", "k1")
BOB = Account("acme", "bob", "k2")
LEASE_S = 2.0
VALID_S = 1.9  # what of it can be used


class Desk:
    """A book, and somebody who answers its ticks."""

    def __init__(self, max_accounts: int = 100) -> None:
        self.book = LeaseBook(lease_s=LEASE_S, max_accounts=max_accounts)
        self.now = 50.0
        self.number = 0

    def reserve(
        self, tokens: int, micros: int = 0, *, account: Account = ADA, large: bool = False
    ) -> tuple[str, Admitted | Asking | Denial]:
        self.number += 1
        request = f"r{self.number}"
        return request, self.book.reserve(self.now, request, account, tokens, micros, large)

    def take(self) -> Taken:
        return self.book.take(self.now)

    def answer(
        self, *answers: Grant | Denial, settled: tuple[str, ...] = ()
    ) -> list[tuple[str, Admitted | Denial]]:
        tock = Tock(
            self.book.sequence,
            tuple(each for each in answers if isinstance(each, Grant)),
            tuple(each for each in answers if isinstance(each, Denial)),
            settled,
        )
        return self.book.answered(self.now, tock)

    def leased(self, tokens: int, micros: int = 0, *, large: bool = False, more: int = 0) -> str:
        """A request that is let in by the ledger, with so much more."""
        request, answer = self.reserve(tokens, micros, large=large)
        assert answer == Asking(request)
        (ask,) = self.take().asks
        (decided,) = self.answer(grant(ask, ask.tokens + more))
        assert decided[0] == request
        assert isinstance(decided[1], Admitted)
        return request

    def returned(self) -> tuple[Return, ...]:
        found = self.take().returns
        self.answer()
        return found


def grant(ask: Ask, tokens: int | None = None, **fields: float) -> Grant:
    tokens = ask.tokens if tokens is None else tokens
    return Grant(
        ask.number,
        tokens,
        int(fields.get("micros", ask.micros)),
        fields.get("valid_s", LEASE_S),
        10_000,
        5_000,
        30.0,
        bool(fields.get("degraded", False)),
    )


def denial(ask: Ask, rule: Rule = Rule.USER_MINUTE, retry: float | None = 5.0) -> Denial:
    return Denial(ask.number, rule, 10_000, 10_000, retry)


def test_the_first_request_asks_for_what_it_needs() -> None:
    desk = Desk()
    request, answer = desk.reserve(300, 7)
    assert answer == Asking(request)
    assert desk.book.asks
    taken = desk.take()
    assert taken == Taken((Ask(1, ADA, 300, 0, 7, 0),), (), (), ())
    assert not desk.book.asks
    assert desk.answer(grant(taken.asks[0])) == [(request, Admitted(10_000, 5_000, 30.0, False))]
    assert (desk.book.waiting, desk.book.open) == (0, 1)


def test_a_lease_lets_in_without_asking() -> None:
    desk = Desk()
    desk.leased(100, more=250)
    assert desk.reserve(100)[1] == Admitted(10_000, 5_150, 30.0, False)
    assert desk.reserve(150)[1] == Admitted(10_000, 5_000, 30.0, False)
    assert isinstance(desk.reserve(1)[1], Asking)


def test_money_is_part_of_the_lease() -> None:
    desk = Desk()
    desk.leased(100, 10, more=1_000)
    assert isinstance(desk.reserve(10, 1)[1], Asking)
    assert isinstance(desk.reserve(10, 0)[1], Admitted)


def test_a_lease_may_be_made_of_several_grants() -> None:
    desk = Desk()
    desk.leased(100, more=50)
    desk.now += 0.9
    desk.leased(100, more=60)
    assert isinstance(desk.reserve(110)[1], Admitted)
    assert isinstance(desk.reserve(1)[1], Asking)


def test_validity_counts_from_when_the_tick_was_sent() -> None:
    desk = Desk()
    request, _ = desk.reserve(100)
    (ask,) = desk.take().asks
    desk.now += 1.0
    assert desk.answer(grant(ask, 300))[0][0] == request
    desk.now += VALID_S - 1.0 - 0.01
    assert isinstance(desk.reserve(50)[1], Admitted)
    desk.now += 0.02
    assert isinstance(desk.reserve(50)[1], Asking)
    assert desk.returned() == (Return(ADA, 150, 0),)


def test_a_grant_that_comes_too_late_is_given_back_and_asked_for_again() -> None:
    desk = Desk()
    request, _ = desk.reserve(100, 3, large=True)
    (ask,) = desk.take().asks
    desk.now += VALID_S
    assert desk.answer(grant(ask)) == []
    taken = desk.take()
    assert taken == Taken((Ask(2, ADA, 100, 0, 3, 0, request),), (Return(ADA, 100, 3),), (), ())
    assert desk.answer(grant(taken.asks[0]))[0][0] == request


def test_an_answer_that_leaves_a_question_out_has_it_asked_again() -> None:
    desk = Desk()
    desk.reserve(100)
    desk.take()
    assert desk.answer() == []
    assert desk.book.asks


def test_only_the_answer_to_the_tick_that_is_out_counts() -> None:
    desk = Desk()
    desk.reserve(100)
    (ask,) = desk.take().asks
    with pytest.raises(RuntimeError, match="tick 1 has not been answered"):
        desk.take()
    assert desk.book.answered(desk.now, Tock(0, (grant(ask),))) == []
    assert desk.book.answered(desk.now, Tock(2, (grant(ask),))) == []
    assert desk.book.out
    assert len(desk.answer(grant(ask))) == 1
    assert desk.answer(grant(ask)) == []
    assert not desk.book.out


class TestWhatComesBack:
    def test_into_the_lease_while_that_is_valid(self) -> None:
        desk = Desk()
        request = desk.leased(1_000)
        desk.book.settle(desk.now, request, 400, 0)
        assert isinstance(desk.reserve(600)[1], Admitted)
        assert desk.returned() == ()

    def test_to_the_ledger_after_that(self) -> None:
        desk = Desk()
        request = desk.leased(1_000, 20)
        desk.now += VALID_S
        desk.book.settle(desk.now, request, 400, 15)
        assert isinstance(desk.reserve(1)[1], Asking)
        assert desk.take().returns == (Return(ADA, 600, 20),)

    def test_a_debt_is_paid_from_the_lease_first(self) -> None:
        desk = Desk()
        request = desk.leased(100, more=30)
        desk.book.settle(desk.now, request, 200, 0)
        assert desk.returned() == (Return(ADA, -70, 0),)

    def test_money_only_once_its_settlement_is_stored(self) -> None:
        desk = Desk()
        request = desk.leased(100, 20)
        desk.now += VALID_S
        desk.book.settle(desk.now, request, 100, 15, "s1")
        assert desk.returned() == (Return(ADA, 0, 5),)
        assert desk.returned() == ()
        desk.take()
        desk.answer(settled=("s1", "another"))
        assert desk.returned() == (Return(ADA, 0, 15),)

    def test_all_of_a_request_that_was_cancelled(self) -> None:
        desk = Desk()
        request = desk.leased(100, 20)
        desk.now += VALID_S
        desk.book.release(desk.now, request)
        desk.book.release(desk.now, request)
        desk.book.settle(desk.now, request, 9, 9)
        assert desk.returned() == (Return(ADA, 100, 20),)

    def test_a_lease_that_lies_idle(self) -> None:
        desk = Desk()
        desk.leased(100, more=200)
        desk.now += 0.9
        assert not desk.book.gives(desk.now)
        assert desk.returned() == ()
        desk.now += 0.2
        assert desk.book.gives(desk.now)
        assert desk.returned() == (Return(ADA, 200, 0),)
        assert not desk.book.gives(desk.now)

    def test_of_a_request_that_left_before_the_answer(self) -> None:
        desk = Desk()
        request, _ = desk.reserve(100, large=True)
        (ask,) = desk.take().asks
        desk.book.release(desk.now, request)
        assert desk.answer(grant(ask)) == []
        assert desk.book.open == 0
        taken = desk.take()
        assert (taken.large_done, taken.large_running) == ((request,), ())
        assert isinstance(desk.reserve(100)[1], Admitted)

    def test_of_an_account_that_is_forgotten(self) -> None:
        desk = Desk(max_accounts=3)
        desk.leased(100, more=200)
        for number in range(3):
            desk.reserve(1, account=Account("t", f"u{number}", ""))
        assert Return(ADA, 200, 0) in desk.take().returns


class TestRefusals:
    def test_is_remembered_for_a_moment(self) -> None:
        desk = Desk()
        desk.reserve(500)
        (ask,) = desk.take().asks
        desk.answer(denial(ask))
        desk.now += 0.4
        answer = desk.reserve(500)[1]
        assert isinstance(answer, Denial)
        assert answer.retry_after_s == pytest.approx(4.6)
        assert isinstance(desk.reserve(499)[1], Asking)
        desk.now += 0.6
        assert isinstance(desk.reserve(500)[1], Asking)

    @pytest.mark.parametrize(("retry", "remembered"), [(0.2, False), (None, True)])
    def test_no_longer_than_it_holds(self, retry: float | None, remembered: bool) -> None:
        desk = Desk()
        desk.reserve(500)
        desk.answer(denial(desk.take().asks[0], retry=retry))
        desk.now += 0.3
        assert isinstance(desk.reserve(500)[1], Denial) is remembered

    def test_of_money_holds_for_requests_that_cost_as_much(self) -> None:
        desk = Desk()
        desk.reserve(500, 10)
        desk.answer(denial(desk.take().asks[0], Rule.TENANT_DAY))
        assert isinstance(desk.reserve(500, 9)[1], Asking)
        assert isinstance(desk.reserve(1, 10)[1], Denial)
        assert isinstance(desk.reserve(500, 0)[1], Asking)

    def test_of_a_place_holds_until_one_is_free_here(self) -> None:
        desk = Desk()
        request = desk.leased(100, large=True)
        desk.reserve(100, large=True)
        desk.answer(denial(desk.take().asks[0], Rule.USER_LARGE))
        assert isinstance(desk.reserve(100, large=True)[1], Denial)
        assert isinstance(desk.reserve(100)[1], Asking)
        desk.book.settle(desk.now, request, 100, 0)
        assert isinstance(desk.reserve(100, large=True)[1], Asking)

    def test_what_is_in_the_lease_is_not_refused(self) -> None:
        desk = Desk()
        request = desk.leased(500)
        desk.reserve(500)
        desk.answer(denial(desk.take().asks[0]))
        desk.book.settle(desk.now, request, 0, 0)
        assert isinstance(desk.reserve(500)[1], Admitted)


class TestLarge:
    def test_always_asks_and_is_named_while_it_runs(self) -> None:
        desk = Desk()
        desk.leased(10, more=1_000)
        request = desk.leased(100, large=True)
        assert desk.take().large_running == ((request, ADA),)
        desk.answer()
        desk.book.settle(desk.now, request, 100, 0)
        taken = desk.take()
        assert (taken.large_done, taken.large_running) == ((request,), ())
        desk.answer()
        assert desk.take().large_done == ()


class TestWithoutALedger:
    def test_nobody_waits_and_leases_go_on(self) -> None:
        desk = Desk()
        desk.leased(100, more=100)
        first, _ = desk.reserve(500)
        (ask,) = desk.take().asks
        second, _ = desk.reserve(600)
        assert desk.book.lost(desk.now) == [first, second]
        assert desk.book.waiting == 0
        assert isinstance(desk.reserve(100)[1], Admitted)
        # It comes back, and answers the tick that was sent again.
        assert desk.answer(grant(ask)) == []
        assert isinstance(desk.reserve(500)[1], Admitted)

    def test_what_is_served_without_a_lease_is_a_debt(self) -> None:
        desk = Desk()
        request, _ = desk.reserve(500, 9)
        desk.book.lost(desk.now)
        desk.book.adopt(desk.now, request, ADA, large=True)
        taken = desk.take()
        assert (taken.asks, taken.large_running) == ((), ((request, ADA),))
        desk.answer()
        desk.book.settle(desk.now, request, 450, 8, "s1")
        taken = desk.take()
        assert (taken.returns, taken.large_done) == ((Return(ADA, -450, 0),), (request,))

    def test_what_comes_and_goes_meanwhile_takes_bounded_memory(self) -> None:
        desk = Desk()
        for number in range(12_000):
            desk.book.adopt(desk.now, f"r{number}", ADA, large=True)
            desk.book.release(desk.now, f"r{number}")
        taken = desk.take()
        assert len(taken.large_done) == 10_000
        assert (taken.large_running, taken.returns) == ((), ())

    def test_a_late_grant_does_not_end_what_is_served_meanwhile(self) -> None:
        desk = Desk()
        request, _ = desk.reserve(500, large=True)
        (ask,) = desk.take().asks
        desk.book.lost(desk.now)
        desk.book.adopt(desk.now, request, ADA, large=True)
        desk.answer(grant(ask))
        taken = desk.take()
        assert (taken.large_done, taken.large_running) == ((), ((request, ADA),))

    def test_who_has_no_limits_leaves_no_trace(self) -> None:
        desk = Desk()
        desk.book.settle(desk.now, "admin's", 1_000, 1_000, "s1")
        assert desk.take() == Taken((), (), (), ())


def test_bad_reservations_are_refused() -> None:
    desk = Desk()
    request, _ = desk.reserve(1)
    with pytest.raises(ValueError, match="has a reservation already"):
        desk.book.reserve(desk.now, request, ADA, 1, 0, False)
    with pytest.raises(ValueError, match="-1 tokens for 0"):
        desk.reserve(-1)


def test_a_degraded_lease_degrades_what_it_lets_in() -> None:
    desk = Desk()
    desk.reserve(100, 1)
    answers = desk.answer(grant(desk.take().asks[0], 300, degraded=True, micros=9))
    assert isinstance(answers[0][1], Admitted)
    assert answers[0][1].degraded
    answer = desk.reserve(100, 1)[1]
    assert isinstance(answer, Admitted)
    assert answer.degraded


@pytest.mark.parametrize("requests_per_s", [20, 500])
def test_a_hot_key_asks_about_once_in_a_lease(requests_per_s: int) -> None:
    """And its requests do not wait for it, whatever their rate."""
    book = LeaseBook(lease_s=LEASE_S)
    core = LedgerCore(LimitTable(LimitDefaults(10**7, 10**8, 10**7)), lease_s=LEASE_S)
    now, ticks, waited = 0.0, 0, 0
    for number in range(20 * requests_per_s):
        now += 1 / requests_per_s
        answer = book.reserve(now, str(number), ADA, 200, 3, False)
        waited += now > 5 and isinstance(answer, Asking)
        if book.asks:
            ticks += now > 5
            tick = Tick("g", 0, *book.take(now))
            tick = Tick("g", book.sequence, tick.asks, tick.returns)
            core.load(now, core.missing(tick, now), [], [], [])
            book.answered(now, core.apply(now, tick, frozenset()))
            core.dirty()
        book.settle(now, str(number), 150, 2)
    assert waited == 0
    assert ticks <= 15 * 1.5 / LEASE_S * 2


def test_a_calm_key_takes_nothing_ahead() -> None:
    desk = Desk()
    for _ in range(20):
        desk.reserve(100)
        taken = desk.take()
        assert [ask.more_tokens for ask in taken.asks] == [0]
        desk.answer(grant(taken.asks[0]))
        desk.now += 1.3


def test_maps_are_bounded() -> None:
    desk = Desk(max_accounts=20)
    for number in range(1_000):
        account = Account("t", f"u{number}", f"k{number}")
        request, answer = desk.reserve(10, 1, account=account)
        assert isinstance(answer, Asking)
        taken = desk.take()
        desk.answer(grant(taken.asks[0], 100))
        desk.book.settle(desk.now, request, 5, 1)
        desk.now += 0.01
    book = desk.book
    assert len(book._leases) <= 20
    assert len(book._held) <= 20
    assert not book._open
    assert not book._waiting
    assert not book._asked
    desk.now += 2
    desk.returned()
    assert not book._held
    assert not book._returns
