"""The ledger's own state: windows, spending, settlements, and who may write them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict

from sqlalchemy import delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admission.exchange import Settlement
from app.admission.rows import BucketRow, SpendingRow, TickRow
from app.store.statements import batches, insert, upsert
from app.store.tables import buckets, shards, spending, ticks, usage
from app.store.text import fit

__all__ = [
    "BucketRow",
    "Fenced",
    "SpendingRow",
    "TickRow",
    "add_settlements",
    "check_epoch",
    "claim_shard",
    "delete_buckets",
    "delete_spending",
    "delete_ticks",
    "load_buckets",
    "load_spending",
    "load_ticks",
    "write_buckets",
    "write_spending",
    "write_ticks",
]

# What one request cannot use, by far: sums of what is stored must fit 64 bits on SQLite.
_MOST = 2**46


class Fenced(Exception):
    """Another ledger has taken over this shard: whoever meets this must stop."""


_BUCKET = tuple(buckets.c[name] for name in BucketRow.__slots__)
_BUCKET_KEY = tuple_(buckets.c.rule, buckets.c.tenant, buckets.c.user)
_SPENDING = tuple(spending.c[name] for name in SpendingRow.__slots__)
_SPENDING_KEY = tuple_(spending.c.tenant, spending.c.key, spending.c.period, spending.c.start)
_TICK = tuple(ticks.c[name] for name in TickRow.__slots__)


async def claim_shard(conn: AsyncConnection, shard: int) -> int:
    """Take over a shard; waits until a transaction of the ledger before has ended.

    Returns:
        The epoch under which the new ledger writes.
    """
    statement = insert(conn, shards).values(shard=shard, epoch=1)
    statement = statement.on_conflict_do_update(
        index_elements=[shards.c.shard], set_={"epoch": shards.c.epoch + 1}
    )
    return int((await conn.execute(statement.returning(shards.c.epoch))).scalar_one())


async def check_epoch(conn: AsyncConnection, shard: int, epoch: int) -> None:
    """Make sure that nobody else writes for a shard until this transaction ends.

    Raises:
        Fenced: a newer ledger does.
    """
    statement = select(shards.c.epoch).where(shards.c.shard == shard).with_for_update(read=True)
    newest = (await conn.execute(statement)).scalar()
    if newest != epoch:
        raise Fenced(f"shard {shard} is at epoch {newest}, this ledger at {epoch}")


async def load_buckets(
    conn: AsyncConnection, names: Iterable[tuple[str, str, str]]
) -> list[BucketRow]:
    """The windows of (rule, tenant, user) that are stored."""
    found: list[BucketRow] = []
    for part in batches(sorted(set(names))):
        rows = await conn.execute(select(*_BUCKET).where(_BUCKET_KEY.in_(part)))
        found += [BucketRow(*row) for row in rows]
    return found


async def write_buckets(conn: AsyncConnection, rows: Sequence[BucketRow]) -> None:
    """Store windows, over what was stored of them."""
    await upsert(conn, buckets, [asdict(row) for row in rows])


async def delete_buckets(conn: AsyncConnection, before: float) -> int:
    """Remove windows that have not been used since a time, when all of them are full again.

    Returns:
        How many there were.
    """
    return (await conn.execute(delete(buckets).where(buckets.c.at < before))).rowcount


async def load_spending(
    conn: AsyncConnection, names: Iterable[tuple[str, str, str, str]]
) -> list[SpendingRow]:
    """The spending of (tenant, key, period, start) that is stored."""
    found: list[SpendingRow] = []
    for part in batches(sorted(set(names))):
        rows = await conn.execute(select(*_SPENDING).where(_SPENDING_KEY.in_(part)))
        found += [SpendingRow(*row) for row in rows]
    return found


async def write_spending(conn: AsyncConnection, rows: Sequence[SpendingRow]) -> None:
    """Store spending, over what was stored of it."""
    await upsert(conn, spending, [asdict(row) for row in rows])


async def delete_spending(conn: AsyncConnection, before: str) -> int:
    """Remove the spending of periods that started before a day, such as `2026-11-01`.

    Returns:
        How many rows there were.
    """
    return (await conn.execute(delete(spending).where(spending.c.start < before))).rowcount


async def load_ticks(
    conn: AsyncConnection, shard: int, gateways: Collection[str] | None = None
) -> list[TickRow]:
    """The last ticks of a shard's gateways, or of some of them."""
    statement = select(*_TICK).where(ticks.c.shard == shard)
    if gateways is None:
        return [TickRow(*row) for row in await conn.execute(statement)]
    found: list[TickRow] = []
    for part in batches(sorted(set(gateways))):
        rows = await conn.execute(statement.where(ticks.c.gateway.in_(part)))
        found += [TickRow(*row) for row in rows]
    return found


async def write_ticks(conn: AsyncConnection, shard: int, rows: Sequence[TickRow]) -> None:
    """Store which ticks have been applied."""
    await upsert(conn, ticks, [{"shard": shard, **asdict(row)} for row in rows])


async def delete_ticks(conn: AsyncConnection, shard: int, before: float) -> int:
    """Remove what is known of gateways that have not ticked since a time.

    Returns:
        How many there were.
    """
    gone = await conn.execute(delete(ticks).where(ticks.c.shard == shard, ticks.c.at < before))
    return gone.rowcount


async def add_settlements(
    conn: AsyncConnection, settlements: Sequence[tuple[Settlement, str]]
) -> set[str]:
    """Record what requests used, each once.

    What cannot be stored is made to fit: one strange name must not stop all usage.

    Args:
        conn: a transaction.
        settlements: each with the subject of its user.

    Returns:
        Ids of those that were not there yet.
    """
    statement = insert(conn, usage).on_conflict_do_nothing().returning(usage.c.id)
    rows = [_usage_row(settlement, subject) for settlement, subject in settlements]
    new: set[str] = set()
    for part in batches(rows):
        new.update((await conn.execute(statement, list(part))).scalars())
    return new


def _usage_row(settlement: Settlement, subject: str) -> dict[str, str | int | float]:
    return {
        "id": settlement.id,
        "at": settlement.at,
        "request_id": fit(usage.c.request_id, settlement.request_id),
        "tenant": fit(usage.c.tenant, settlement.account.tenant),
        "subject": subject,
        "key": fit(usage.c.key, settlement.account.key),
        "model": fit(usage.c.model, settlement.model),
        "pool": fit(usage.c.pool, settlement.pool),
        "zone": fit(usage.c.zone, settlement.zone),
        "route": fit(usage.c.route, settlement.route),
        "size_class": fit(usage.c.size_class, settlement.size_class),
        "tier": fit(usage.c.tier, settlement.tier),
        "prompt_tokens": min(settlement.prompt_tokens, _MOST),
        "output_tokens": min(settlement.output_tokens, _MOST),
        "micros": min(settlement.micros, _MOST),
        "outcome": fit(usage.c.outcome, settlement.outcome),
    }
