"""What accounts have left, hold and have spent: the numbers that the ledger decides by."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from math import inf
from typing import NamedTuple

from app.admission.bucket import Bucket
from app.admission.exchange import Account, Ask, Denial, Grant, Return, Rule, Settlement, Tick
from app.admission.leased_money import LeasedMoney
from app.admission.limits import (
    ALLOW,
    DEGRADE,
    PERIOD_S,
    REFUSE,
    TOKEN_RULES,
    Budget,
    LimitTable,
    period_left_s,
)
from app.admission.places import Places
from app.admission.rows import (
    KEY_LEASED,
    TENANT_LEASED,
    BucketName,
    BucketRow,
    SpendingName,
)
from app.admission.spending import Spending

_LEASED = frozenset((TENANT_LEASED, KEY_LEASED))
_LEFT_FOR_OTHERS = 4
"""Beyond the least it asks for, a gateway gets at most one part in so many of what is left."""
_TRY_AGAIN_S = 1.0
"""When to ask again for what may come back at any time."""


class _Refusal(NamedTuple):
    rule: Rule
    limit: int
    used: int
    wait: float | None


class Holdings:
    """Windows of tokens, money in leases, places of large requests, and spending.

    Args:
        table: the limits and budgets.
        lease_s: how long a lease is valid, in seconds.
        max_cached: most windows, and most rows of spending, that are kept between two batches.
    """

    def __init__(self, table: LimitTable, lease_s: float, max_cached: int) -> None:
        self._table = table
        self._lease_s = lease_s
        self._max_cached = max_cached
        self.spending = Spending(table, max_cached)
        self.windows: OrderedDict[BucketName, Bucket] = OrderedDict()
        self.leased: dict[BucketName, LeasedMoney] = {}
        self.places: dict[BucketName, Places] = {}
        self._changed: dict[BucketName, None] = {}

    def set_table(self, table: LimitTable) -> None:
        """Replaces the limits and budgets. What has been used stays used."""
        self._table = table
        self.spending.set_table(table)
        for name, window in self.windows.items():
            rule = Rule(name.rule)
            limit = table.limit(rule, name.tenant, name.user)
            window.resize(limit, PERIOD_S[rule], table.burst)

    def missing(
        self, tick: Tick, now: float
    ) -> tuple[frozenset[BucketName], frozenset[SpendingName]]:
        """What has to be loaded before a tick can be applied at this time."""
        names: set[BucketName] = set()
        spending: set[SpendingName] = set()
        for ask in tick.asks:
            names.update(_windows_of(ask.account))
            if ask.micros or ask.more_micros:
                names.update(_leased_of(ask.account))
                spending.update(self.spending.names(ask.account, now))
            if ask.large:
                names.add(_place_of(ask.account))
        for given in tick.returns:
            names.update(_windows_of(given.account))
            if given.micros:
                names.update(_leased_of(given.account))
        names.update(_place_of(account) for _, account in tick.large_running)
        for settlement in tick.settlements:
            if settlement.micros:
                spending.update(self.spending.names(settlement.account, now, settlement.at))
        known = (self.windows, self.leased, self.places)
        return (
            frozenset(name for name in names if not any(name in each for each in known)),
            self.spending.missing(spending),
        )

    def load(
        self,
        now: float,
        missing: Iterable[BucketName],
        rows: Iterable[BucketRow],
        *,
        leased_until: float,
        places_until: float,
    ) -> None:
        """Takes in what was found of what was missing.

        Args:
            now: the time, in seconds.
            missing: the names.
            rows: those found.
            leased_until: when money in leases that were granted before stops counting.
            places_until: when large requests that were let in before stop counting, unless a
                gateway says that they run.
        """
        found = {BucketName(row.rule, row.tenant, row.user): row for row in rows}
        for name in missing:
            row = found.get(name)
            count = int(row.level) if row else 0
            if name.rule in _LEASED:
                self.leased.setdefault(name, LeasedMoney(count, leased_until))
            elif name.rule == Rule.USER_LARGE:
                self.places.setdefault(name, Places(count, places_until))
            elif name not in self.windows:
                self.windows[name] = self._window(name, row, now)

    def dirty(self, now: float) -> tuple[BucketRow, ...]:
        """The numbers that have changed since the last call; forgets some that have not."""
        changed, self._changed = self._changed, {}
        rows = tuple(self._row(name, now) for name in changed)
        while len(self.windows) > self._max_cached:
            self.windows.popitem(last=False)
        if len(self.leased) > self._max_cached:
            self.leased = {name: each for name, each in self.leased.items() if each.total(now)}
        if len(self.places) > self._max_cached:
            self.places = {name: each for name, each in self.places.items() if each.used(now)}
        return rows

    def settle(self, settlement: Settlement, now: float) -> None:
        """Counts what a request cost, for the first time."""
        if settlement.micros:
            self.spending.add(settlement, now)

    def take_back(self, now: float, gateway: str, given: Return, *, may_inherit: bool) -> None:
        """Takes what a gateway gives back.

        Args:
            now: the time, in seconds.
            gateway: who gives.
            given: how much, whose.
            may_inherit: it may have been leased by a ledger before this one.
        """
        account = given.account
        if given.tokens:
            for name in _windows_of(account):
                self.windows[name].advance(now)
                self.windows[name].give(given.tokens)
                self._changed[name] = None
        if given.micros:
            for name in _leased_of(account):
                self.leased[name].give(gateway, given.micros, may_inherit=may_inherit)
                self._changed[name] = None

    def learn_running(
        self, gateway: str, before: Mapping[str, Account], running: Mapping[str, Account]
    ) -> None:
        """Follows a gateway's word on which large requests run there."""
        for request, account in before.items():
            if request not in running:
                place = _place_of(account)
                self.places[place].free(gateway, request)
                self._changed[place] = None
        for request, account in running.items():
            place = _place_of(account)
            if self.places[place].learn(gateway, request):
                self._changed[place] = None

    def let_go(self, gateway: str, running: Mapping[str, Account]) -> None:
        """Frees what a gateway holds that is gone."""
        for name, leased in self.leased.items():
            if leased.forget(gateway):
                self._changed[name] = None
        self.learn_running(gateway, running, {})

    def decide(self, now: float, gateway: str, ask: Ask) -> Grant | Denial:
        """Grants at least the least asked for, or names the rule that forbids it longest."""
        account = ask.account
        tokens, micros = max(ask.tokens, 0), max(ask.micros, 0)
        windows = [self.windows[bucket_name] for bucket_name in _windows_of(account)]
        refusals: list[_Refusal] = []
        for rule, bucket in zip(TOKEN_RULES, windows, strict=True):
            bucket.advance(now)
            if tokens and tokens > bucket.level:
                refusals.append(
                    _Refusal(rule, bucket.limit, bucket.used(), bucket.wait(tokens, now))
                )
        refusal = self._place_refusal(now, gateway, ask)
        if refusal is not None:
            refusals.append(refusal)
        more_micros = max(ask.more_micros, 0)
        degraded = False
        if micros or more_micros:
            refused, degraded, more_micros = self._check_budgets(now, ask)
            refusals += refused
        if refusals:
            worst = max(refusals, key=lambda each: inf if each.wait is None else each.wait)
            return Denial(ask.number, worst.rule, worst.limit, worst.used, worst.wait)

        left = min(bucket.level for bucket in windows) - tokens
        more = max(min(max(ask.more_tokens, 0), int(left) // _LEFT_FOR_OTHERS), 0)
        if more_micros < ask.more_micros:  # tokens without the money for them would only lie idle
            more = more * more_micros // ask.more_micros
        for bucket_name, bucket in zip(_windows_of(account), windows, strict=True):
            if tokens + more:
                bucket.take(tokens + more, now + self._lease_s)
                self._changed[bucket_name] = None
                self.windows.move_to_end(bucket_name)
        if micros + more_micros:
            for leased_name in _leased_of(account):
                self.leased[leased_name].take(gateway, micros + more_micros)
                self._changed[leased_name] = None
        if ask.large:
            place = _place_of(account)
            self.places[place].grant(gateway, ask.large)
            self._changed[place] = None
        tightest = min(windows, key=lambda bucket: bucket.level)
        return Grant(
            ask.number,
            tokens + more,
            micros + more_micros,
            self._lease_s,
            tightest.limit,
            min(max(int(tightest.level), 0), tightest.limit),
            tightest.reset_s(),
            degraded,
        )

    def _place_refusal(self, now: float, gateway: str, ask: Ask) -> _Refusal | None:
        if not ask.large:
            return None
        account = ask.account
        places = self.places[_place_of(account)]
        limit = self._table.limit(Rule.USER_LARGE, account.tenant, account.user)
        used = places.used(now)
        if used < limit or places.has(gateway, ask.large):
            return None
        return _Refusal(Rule.USER_LARGE, limit, used, _TRY_AGAIN_S if limit else None)

    def _check_budgets(self, now: float, ask: Ask) -> tuple[list[_Refusal], bool, int]:
        """Who refuses, whether to degrade, and how much money there is beyond the least."""
        account = ask.account
        micros, more = max(ask.micros, 0), max(ask.more_micros, 0)
        refusals: list[_Refusal] = []
        degraded = False
        for leased_name in _leased_of(account):
            leased = self.leased[leased_name].total(now)
            key = leased_name.user
            for budget in self._table.budgets(account.tenant, key):
                limit, _, policy = budget.terms
                spent = self.spending.spent(account.tenant, key, budget.period, now)
                left = limit - spent - leased - micros
                if left >= 0:
                    if policy != ALLOW:
                        more = min(more, left // _LEFT_FOR_OTHERS)
                elif policy == DEGRADE:
                    degraded = True
                elif policy == REFUSE:
                    more = 0
                    if micros:
                        wait = self._budget_wait(now, budget, spent, micros)
                        refusals.append(_Refusal(budget.rule, limit, spent + leased, wait))
        return refusals, degraded, more

    def _budget_wait(self, now: float, budget: Budget, spent: int, micros: int) -> float | None:
        if micros > budget.terms.micros:
            return None
        left_s = period_left_s(budget.period, now)
        # What is only leased may come back at any time.
        return min(left_s, _TRY_AGAIN_S) if spent + micros <= budget.terms.micros else left_s

    def _window(self, name: BucketName, row: BucketRow | None, now: float) -> Bucket:
        rule = Rule(name.rule)
        limit = self._table.limit(rule, name.tenant, name.user)
        window = Bucket(limit, PERIOD_S[rule], self._table.burst, self._lease_s, now)
        if row is not None:
            window.restore(row.level, row.at, now)
        return window

    def _row(self, name: BucketName, now: float) -> BucketRow:
        if name in self.windows:
            window = self.windows[name]
            return BucketRow(*name, window.level, window.at)
        if name in self.leased:
            return BucketRow(*name, float(self.leased[name].total(now)), now)
        return BucketRow(*name, float(self.places[name].used(now)), now)


def _windows_of(account: Account) -> tuple[BucketName, BucketName, BucketName]:
    tenant, user = account.tenant, account.user
    return (
        BucketName(Rule.USER_MINUTE, tenant, user),
        BucketName(Rule.USER_HOUR, tenant, user),
        BucketName(Rule.TENANT_MINUTE, tenant, ""),
    )


def _leased_of(account: Account) -> tuple[BucketName, ...]:
    of_tenant = BucketName(TENANT_LEASED, account.tenant, "")
    if not account.key:
        return (of_tenant,)
    return (of_tenant, BucketName(KEY_LEASED, account.tenant, account.key))


def _place_of(account: Account) -> BucketName:
    return BucketName(Rule.USER_LARGE, account.tenant, account.user)
