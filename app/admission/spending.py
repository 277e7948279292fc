"""What has been spent, by tenant and by key, in each day and month (UTC)."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from app.admission.exchange import Account, Settlement
from app.admission.limits import PERIODS, LimitTable, period_start
from app.admission.rows import SpendingName, SpendingRow
from app.audit.events import AuditEvent, EventKind

_AHEAD_S = 60.0  # between what is loaded for a tick and the tick, midnight may pass


@dataclass(slots=True)
class _Spent:
    micros: int = 0
    alerted: bool = False


class Spending:
    """Sums of settled micro-dollars, and the alerts that they raise.

    Args:
        table: the budgets.
        max_cached: most sums that are kept between two batches.
    """

    def __init__(self, table: LimitTable, max_cached: int) -> None:
        self._table = table
        self._max_cached = max_cached
        self.discard()

    def discard(self) -> None:
        """Forgets everything."""
        self._sums: OrderedDict[SpendingName, _Spent] = OrderedDict()
        self._changed: dict[SpendingName, None] = {}
        self._alerts: list[AuditEvent] = []

    def set_table(self, table: LimitTable) -> None:
        """Replaces the budgets."""
        self._table = table

    def names(self, account: Account, now: float, at: float | None = None) -> list[SpendingName]:
        """The sums that a request of this account bears on.

        Args:
            account: who pays.
            now: the time, in seconds.
            at: when the request ended, if it has.
        """
        times = (now, now + _AHEAD_S) if at is None else (min(at, now), now, now + _AHEAD_S)
        return [
            SpendingName(account.tenant, key, period, start)
            for period in PERIODS
            for start in {period_start(period, time) for time in times}
            for key in {"", account.key}
        ]

    def missing(self, names: Iterable[SpendingName]) -> frozenset[SpendingName]:
        """Those that have to be loaded."""
        return frozenset(name for name in names if name not in self._sums)

    def load(self, missing: Iterable[SpendingName], rows: Iterable[SpendingRow]) -> None:
        """Takes in what was found of what was missing."""
        found = {SpendingName(row.tenant, row.key, row.period, row.start): row for row in rows}
        for name in missing:
            row = found.get(name)
            self._sums.setdefault(name, _Spent(row.micros, row.alerted) if row else _Spent())

    def spent(self, tenant: str, key: str, period: str, now: float) -> int:
        """What has been spent in the period that a time is in.

        Raises:
            LookupError: it has not been loaded.
        """
        return self._sums[SpendingName(tenant, key, period, period_start(period, now))].micros

    def add(self, settlement: Settlement, now: float) -> None:
        """Counts what a request cost, in the day and month in which it ended.

        Raises:
            LookupError: a sum has not been loaded.
        """
        account = settlement.account
        at = min(settlement.at, now)  # a clock that is ahead moves nothing into a period to come
        for key in {"", account.key}:
            for period in PERIODS:
                name = SpendingName(account.tenant, key, period, period_start(period, at))
                self._sums[name].micros += settlement.micros
                self._sums.move_to_end(name)
                self._changed[name] = None
            self._alert(account.tenant, key, at, now)

    def dirty(self) -> tuple[tuple[SpendingRow, ...], tuple[AuditEvent, ...]]:
        """The sums that have changed since the last call, and the alerts that were raised."""
        changed, self._changed = self._changed, {}
        alerts, self._alerts = self._alerts, []
        rows = tuple(
            SpendingRow(*name, self._sums[name].micros, self._sums[name].alerted)
            for name in changed
        )
        while len(self._sums) > self._max_cached:
            self._sums.popitem(last=False)
        return rows, tuple(alerts)

    def _alert(self, tenant: str, key: str, at: float, now: float) -> None:
        for budget in self._table.budgets(tenant, key):
            start = period_start(budget.period, at)
            name = SpendingName(tenant, key, budget.period, start)
            sum_ = self._sums[name]
            terms = budget.terms
            if sum_.alerted or sum_.micros <= 0 or sum_.micros < terms.alert * terms.micros:
                continue
            sum_.alerted = True
            self._alerts.append(
                AuditEvent(
                    # Made of its subject, so that raising it again does not record it again.
                    id=sha256("\0".join(("budget_alert", *name)).encode()).hexdigest()[:32],
                    at=now,
                    kind=EventKind.BUDGET_ALERT,
                    tenant=tenant,
                    key=key,
                    detail={
                        "rule": budget.rule.value,
                        "start": start,
                        "limit_micros": terms.micros,
                        "spent_micros": sum_.micros,
                        "alert": terms.alert,
                        "policy": terms.policy,
                    },
                )
            )
