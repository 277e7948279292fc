"""What a ledger shard removes from the store when its time has come."""

from datetime import UTC, datetime, timedelta

from app.audit.log import AuditLog
from app.store import keys, ledger, usage
from app.store.database import Database

EVERY_S = 3600.0

_DAY = 86400.0
_AT_ONCE = 1000
# By then all windows are full again, and nobody tells of a gateway that old any more.
_WINDOWS_S = 2 * _DAY
_GATEWAYS_S = 30 * _DAY
# Two full months are kept, whatever the time zone of whoever looks.
_SPENDING_DAYS = 93
DEAD_KEYS_S = 90 * _DAY
"""How long a key that is revoked or has expired is still listed."""


async def retain(
    database: Database, audit: AuditLog, *, shard: int, retention_days: float, now: float
) -> None:
    """Removes what is older than it may become, in small transactions.

    Args:
        database: the store.
        audit: the shard's chain, whose oldest entries go behind a signed checkpoint.
        shard: its number; the first one looks after what is nobody's in particular.
        retention_days: of usage and audit entries.
        now: Unix time, in seconds.

    Raises:
        StoreUnavailable: the store cannot be written; what is left goes next time.
    """
    before = now - retention_days * _DAY
    while True:
        async with database.begin() as conn:
            if await audit.prune(conn, before, now, limit=_AT_ONCE) < _AT_ONCE:
                break
    async with database.begin() as conn:
        await ledger.delete_ticks(conn, shard, now - _GATEWAYS_S)
    if shard:
        return
    while True:
        async with database.begin() as conn:
            if await usage.delete_before(conn, before, limit=_AT_ONCE) < _AT_ONCE:
                break
    async with database.begin() as conn:
        await ledger.delete_buckets(conn, now - _WINDOWS_S)
        oldest = datetime.fromtimestamp(now, UTC) - timedelta(days=_SPENDING_DAYS)
        await ledger.delete_spending(conn, oldest.strftime("%Y-%m-%d"))
        await keys.delete_dead(conn, now - DEAD_KEYS_S)
