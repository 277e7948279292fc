"""What one gateway may use without asking: leases from one shard of the ledger.

A request is let in from the account's lease where that has enough; else it waits for the next
tick. Accounts that are busy renew their lease ahead, so that their requests do not wait.

A lease is valid from when the tick that asked for it was *sent*, so that it ends here before it
ends at the ledger, whatever the network does. What comes back of a request goes into the lease it
was let in under while that is valid, and back to the ledger after that: so nothing is used here
that the ledger does not count as held.

Money is different: it is given back only once the store has the settlement that spends it, so that
a budget is never seen with less used than there is.
"""

from collections import OrderedDict
from typing import NamedTuple

from msgspec.structs import replace

from app.admission.exchange import Account, Ask, Denial, Grant, Return, Rule, Tock
from app.admission.lease import Lease, Part

_MOST_DONE = 10_000
"""Most large requests that are named as ended, while the ledger does not take ticks."""
_MARGIN = 0.05
"""Part of a lease's validity by which our clock may be slower than the ledger's."""


class Admitted(NamedTuple):
    """A request may be served.

    Attributes:
        limit: the tightest token rule's size.
        remaining: what is left of it.
        reset_s: seconds until it is full again.
        degraded: a budget is used up, and its policy is to serve in the batch tier.
    """

    limit: int
    remaining: int
    reset_s: float
    degraded: bool


class Asking(NamedTuple):
    """A request waits for the ledger; `answered` or `lost` will name it."""

    request_id: str


class Taken(NamedTuple):
    """What goes into a tick."""

    asks: tuple[Ask, ...]
    returns: tuple[Return, ...]
    large_done: tuple[str, ...]
    large_running: tuple[tuple[str, Account], ...]


class _Request(NamedTuple):
    """One that was let in."""

    account: Account
    tokens: int
    micros: int
    expires: float  # of the lease that it was let in under
    degraded: bool
    large: bool


class _Waiting(NamedTuple):
    account: Account
    tokens: int
    micros: int
    large: bool


class _Asked(NamedTuple):
    account: Account
    request_id: str  # empty where a lease is renewed ahead
    waiting: _Waiting | None


class LeaseBook:
    """The leases of one gateway from one shard, and the requests under them.

    Times are in seconds, of a clock that never goes back.

    Args:
        lease_s: seconds of an account's use to take ahead; also how long the ledger lets it.
        max_accounts: most accounts to remember; the one longest unused is forgotten first.
    """

    def __init__(self, *, lease_s: float = 2.0, max_accounts: int = 10_000) -> None:
        self._lease_s = lease_s
        self._idle_s = lease_s / 2
        self._max_accounts = max_accounts
        self._leases: OrderedDict[Account, Lease] = OrderedDict()
        self._held: OrderedDict[Account, Lease] = OrderedDict()  # those with parts, by last use
        self._open: dict[str, _Request] = {}
        self._running: dict[str, Account] = {}  # the large ones
        self._done: dict[str, None] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._unasked: dict[str, None] = {}
        self._renewals: dict[Account, None] = {}
        self._asked: dict[int, _Asked] = {}
        self._returns: dict[Account, list[int]] = {}
        self._unsettled: OrderedDict[str, tuple[Account, int]] = OrderedDict()
        self._number = 0
        self._sequence = 0
        self._sent_at: float | None = None

    @property
    def sequence(self) -> int:
        """The number of the tick that was taken last; 0 before the first."""
        return self._sequence

    @property
    def out(self) -> bool:
        """A tick has been taken and not been answered."""
        return self._sent_at is not None

    @property
    def waiting(self) -> int:
        """How many requests wait for the ledger."""
        return len(self._waiting)

    @property
    def open(self) -> int:
        """How many requests are let in and have not ended."""
        return len(self._open)

    @property
    def asks(self) -> bool:
        """There are questions for the next tick."""
        return bool(self._unasked or self._renewals)

    def gives(self, now: float) -> bool:
        """There is something to give back with the next tick."""
        if self._returns or self._done:
            return True
        oldest = next(iter(self._held.values()), None)
        return oldest is not None and now - oldest.used_at >= self._idle_s

    def reserve(
        self, now: float, request_id: str, account: Account, tokens: int, micros: int, large: bool
    ) -> Admitted | Asking | Denial:
        """Asks whether a request may be served.

        Args:
            now: the time.
            request_id: unique among all requests of all gateways.
            account: who pays.
            tokens: what it will probably use.
            micros: what that costs.
            large: it is of the classes large or xl, and needs one of the user's places.

        Returns:
            That it may, that it may not, or that the ledger has to be asked.

        Raises:
            ValueError: the id is in use, or a number is negative.
        """
        if request_id in self._open or request_id in self._waiting:
            raise ValueError(f"request {request_id!r} has a reservation already")
        if tokens < 0 or micros < 0:
            raise ValueError(f"{tokens} tokens for {micros} micro-dollars cannot be reserved")
        lease = self._lease(now, account)
        lease.rate(now, tokens, micros)
        if not large and lease.parts:
            part = self._draw(now, account, lease, tokens, micros)
            if part is not None:
                self._open[request_id] = _Request(
                    account, tokens, micros, part.expires, part.degraded, False
                )
                left = lease.balance()
                if lease.runs_low(now, left):
                    self._renewals[account] = None
                return Admitted(lease.limit, lease.remaining + left, lease.reset_s, part.degraded)
        denial = lease.refusal(now, tokens, micros, large=large)
        if denial is not None:
            return denial
        self._waiting[request_id] = _Waiting(account, tokens, micros, large)
        self._unasked[request_id] = None
        return Asking(request_id)

    def adopt(self, now: float, request_id: str, account: Account, *, large: bool) -> Admitted:
        """Lets a request in without a lease, because nobody can be asked.

        What it uses is a debt that the ledger learns of when it is settled.
        """
        self._forget_waiting(request_id)
        self._open[request_id] = _Request(account, 0, 0, now, False, large)
        if large:
            self._running[request_id] = account
        lease = self._lease(now, account)
        return Admitted(lease.limit, 0, lease.reset_s, False)

    def take(self, now: float) -> Taken:
        """What the next tick says; it is out until it is answered.

        Raises:
            RuntimeError: a tick is out already: that one is to be sent again, unchanged.
        """
        if self._sent_at is not None:
            raise RuntimeError(f"tick {self._sequence} has not been answered")
        self._give_back_idle(now)
        asks = self._take_asks(now)
        returns = tuple(
            Return(account, tokens, micros)
            for account, (tokens, micros) in self._returns.items()
            if tokens or micros
        )
        done = tuple(self._done)
        self._returns = {}
        self._done = {}
        self._sequence += 1
        self._sent_at = now
        return Taken(asks, returns, done, tuple(self._running.items()))

    def answered(self, now: float, tock: Tock) -> list[tuple[str, Admitted | Denial]]:
        """Takes in the answer to the tick that is out; any other answer is left alone.

        Returns:
            The requests that were decided.
        """
        if self._sent_at is None or tock.sequence != self._sequence:
            return []
        sent_at, self._sent_at = self._sent_at, None
        for settlement in tock.settled:
            self._acknowledge(settlement)
        decided: list[tuple[str, Admitted | Denial]] = []
        asked, self._asked = self._asked, {}
        for grant in tock.grants:
            if grant.number in asked:
                admitted = self._granted(now, sent_at, grant, asked[grant.number])
                if admitted is not None:
                    decided.append((asked[grant.number].request_id, admitted))
        decided += [
            (asked[denial.number].request_id, denial)
            for denial in tock.denials
            if denial.number in asked and self._refuse(now, denial, asked[denial.number])
        ]
        for each in asked.values():
            # A grant that came too late to be used, or an answer that left the question out.
            if each.waiting is not None and self._waiting.get(each.request_id) is each.waiting:
                self._unasked[each.request_id] = None
        return decided

    def settle(
        self, now: float, request_id: str, tokens: int, micros: int, settlement: str = ""
    ) -> None:
        """Ends a request with what it really used. One that has no reservation is left alone.

        Args:
            now: the time.
            request_id: the request.
            tokens: used.
            micros: spent.
            settlement: id of the settlement, until which is acknowledged the money counts as
                leased; empty where the settlement is in the same tick or an earlier one.
        """
        self._forget_waiting(request_id)
        request = self._open.pop(request_id, None)
        if request is None:
            return
        self._end_large(request_id, request)
        spent = min(max(micros, 0), request.micros)
        self._put_back(now, request, request.tokens - max(tokens, 0), request.micros - spent)
        if not spent:
            return
        if not settlement:
            self._return(request.account, 0, spent)
            return
        self._unsettled[settlement] = (request.account, spent)

    def release(self, now: float, request_id: str) -> None:
        """Ends a request that used nothing, waiting or let in."""
        self._forget_waiting(request_id)
        request = self._open.pop(request_id, None)
        if request is not None:
            self._end_large(request_id, request)
            self._put_back(now, request, request.tokens, request.micros)

    def lost(self, now: float) -> list[str]:
        """Stops waiting, because the ledger cannot be asked.

        Leases go on until their validity is over. The tick that is out is to be sent again when
        the ledger is back: what it then grants is put into the lease, or given back.

        Returns:
            The requests that waited; somebody else has to decide on them.
        """
        waited = list(self._waiting)
        self._waiting = {}
        self._unasked = {}
        self._renewals = {}
        return waited

    def _lease(self, now: float, account: Account) -> Lease:
        lease = self._leases.get(account)
        if lease is None:
            lease = self._leases[account] = Lease(self._lease_s, now)
            if len(self._leases) > self._max_accounts:
                oldest, forgotten = self._leases.popitem(last=False)
                self._give_back(oldest, forgotten)
        else:
            self._leases.move_to_end(account)
        return lease

    def _draw(
        self, now: float, account: Account, lease: Lease, tokens: int, micros: int
    ) -> Part | None:
        if lease.parts[0].expires <= now:
            self._return(account, *lease.drop_expired(now))
            if not lease.parts:
                self._held.pop(account, None)
        part = lease.draw(now, tokens, micros)
        if part is not None:
            self._held.move_to_end(account)
        return part

    def _take_asks(self, now: float) -> tuple[Ask, ...]:
        asks: dict[int, Ask] = {}
        last: dict[Account, int] = {}
        for request_id in self._unasked:
            waiting = self._waiting[request_id]
            self._number += 1
            asks[self._number] = Ask(
                self._number,
                waiting.account,
                waiting.tokens,
                0,
                waiting.micros,
                0,
                request_id if waiting.large else "",
            )
            self._asked[self._number] = _Asked(waiting.account, request_id, waiting)
            last[waiting.account] = self._number
        for account in self._renewals:
            if account not in last:
                self._number += 1
                asks[self._number] = Ask(self._number, account, 0, 0, 0, 0)
                self._asked[self._number] = _Asked(account, "", None)
                last[account] = self._number
        # One question for each account asks for more: the last one, so that all the others of
        # the account are served first.
        for account, number in last.items():
            if account in self._leases:
                tokens, micros = self._leases[account].more(now)
                asks[number] = replace(asks[number], more_tokens=tokens, more_micros=micros)
        self._unasked = {}
        self._renewals = {}
        return tuple(asks.values())

    def _granted(self, now: float, sent_at: float, grant: Grant, asked: _Asked) -> Admitted | None:
        account, request_id, waiting = asked
        lease = self._lease(now, account)
        lease.limit, lease.remaining, lease.reset_s = grant.limit, grant.remaining, grant.reset_s
        expires = sent_at + grant.valid_s * (1 - _MARGIN)
        if expires <= now:
            self._return(account, grant.tokens, grant.micros)
            return None
        lease.forget_refusal()
        tokens, micros = grant.tokens, grant.micros
        waits = waiting is not None and self._waiting.get(request_id) is waiting
        if waiting is not None and waits:
            del self._waiting[request_id]
            self._unasked.pop(request_id, None)
            tokens -= waiting.tokens
            micros -= waiting.micros
            self._open[request_id] = _Request(
                account, waiting.tokens, waiting.micros, expires, grant.degraded, waiting.large
            )
            if waiting.large:
                self._running[request_id] = account
        elif waiting is not None and waiting.large and request_id not in self._running:
            self._end(request_id)
        self._put(now, account, Part(expires, max(tokens, 0), max(micros, 0), grant.degraded))
        if not waits:
            return None
        remaining = grant.remaining + lease.balance()
        return Admitted(grant.limit, remaining, grant.reset_s, grant.degraded)

    def _refuse(self, now: float, denial: Denial, asked: _Asked) -> bool:
        account, request_id, waiting = asked
        if waiting is None:
            return False
        self._lease(now, account).refuse(now, denial, waiting.tokens, waiting.micros)
        if self._waiting.get(request_id) is not waiting:
            return False
        self._forget_waiting(request_id)
        return True

    def _put_back(self, now: float, request: _Request, tokens: int, micros: int) -> None:
        """Takes what a request did not use; negative tokens where it used more."""
        account = request.account
        if tokens < 0:
            lease = self._leases.get(account)
            if lease is not None:
                tokens += lease.pay(now, -tokens)
            self._return(account, tokens, 0)
            tokens = 0
        if request.expires > now:
            self._put(now, account, Part(request.expires, tokens, micros, request.degraded))
        else:
            self._return(account, tokens, micros)

    def _put(self, now: float, account: Account, part: Part) -> None:
        """Adds to the lease."""
        if not part.tokens and not part.micros:
            return
        lease = self._lease(now, account)
        lease.put(now, part)
        self._held[account] = lease
        self._held.move_to_end(account)

    def _give_back_idle(self, now: float) -> None:
        while self._held:
            account, lease = next(iter(self._held.items()))
            if now - lease.used_at < self._idle_s:
                break
            self._give_back(account, lease)

    def _give_back(self, account: Account, lease: Lease) -> None:
        for part in lease.parts:
            self._return(account, part.tokens, part.micros)
        lease.parts = []
        self._held.pop(account, None)

    def _return(self, account: Account, tokens: int, micros: int) -> None:
        if not tokens and not micros:
            return
        given = self._returns.setdefault(account, [0, 0])
        given[0] += tokens
        given[1] += micros

    def _acknowledge(self, settlement: str) -> None:
        found = self._unsettled.pop(settlement, None)
        if found is not None:
            self._return(found[0], 0, found[1])

    def _end_large(self, request_id: str, request: _Request) -> None:
        if not request.large:
            return
        self._running.pop(request_id, None)
        self._end(request_id)
        lease = self._leases.get(request.account)
        if lease is not None:
            lease.forget_refusal(Rule.USER_LARGE)

    def _end(self, request_id: str) -> None:
        self._done[request_id] = None
        if len(self._done) > _MOST_DONE:
            # Nothing is lost by it: what is not among those that run has ended, too.
            del self._done[next(iter(self._done))]

    def _forget_waiting(self, request_id: str) -> None:
        self._waiting.pop(request_id, None)
        self._unasked.pop(request_id, None)
