"""The audit log's rows. What they mean, and whether they are whole, is said elsewhere."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.statements import batches
from app.store.tables import audit, checkpoints


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One entry of a chain, as it is stored.

    Attributes:
        chain: name of the chain.
        sequence: place in it.
        id: of the event; no event is stored twice.
        at: Unix time of the event.
        kind: what happened.
        tenant: whose.
        subject: who, as a pseudonym.
        body: the rest, encoded.
        previous: hash of the entry before.
        hash: of this entry.
    """

    chain: str
    sequence: int
    id: str
    at: float
    kind: str
    tenant: str
    subject: str
    body: str
    previous: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A signed statement on a chain's state.

    Attributes:
        chain: name of the chain.
        sequence: the entry it is about.
        at: Unix time.
        hash: that entry's.
        public_key: of the signer.
        signature: over all of it.
        pruned: entries up to and including this one are gone on purpose.
    """

    chain: str
    sequence: int
    at: float
    hash: bytes
    public_key: bytes
    signature: bytes
    pruned: bool = False


_NAMES = AuditRow.__slots__
_values = attrgetter(*_NAMES)
_ROW = tuple(audit.c[name] for name in _NAMES)
_CHECKPOINT = tuple(checkpoints.c[name] for name in CheckpointRow.__slots__)


async def known(conn: AsyncConnection, ids: Collection[str]) -> set[str]:
    """Those of some events that are stored already, in whatever chain."""
    found: set[str] = set()
    for part in batches(sorted(set(ids))):
        found.update((await conn.execute(select(audit.c.id).where(audit.c.id.in_(part)))).scalars())
    return found


async def append(conn: AsyncConnection, rows: Sequence[AuditRow]) -> None:
    """Store entries. An entry whose place or id is taken makes the transaction a Conflict."""
    if rows:
        # Not `asdict`: it copies deeply, which costs more here than to store the entries.
        await conn.execute(audit.insert(), [_row(row) for row in rows])


def _row(row: AuditRow) -> dict[str, object]:
    return dict(zip(_NAMES, _values(row), strict=True))


async def last(conn: AsyncConnection, chain: str) -> AuditRow | None:
    """The newest entry of a chain."""
    statement = select(*_ROW).where(audit.c.chain == chain).order_by(audit.c.sequence.desc())
    row = (await conn.execute(statement.limit(1))).first()
    return None if row is None else AuditRow(*row)


async def chains(conn: AsyncConnection) -> list[str]:
    """Names of all chains, those of which only checkpoints are left included."""
    names = select(audit.c.chain).union(select(checkpoints.c.chain))
    return sorted((await conn.execute(names)).scalars())


async def page(
    conn: AsyncConnection,
    chain: str,
    *,
    after: int = -1,
    up_to: int | None = None,
    limit: int = 1000,
) -> list[AuditRow]:
    """A chain's entries in their order: those after a sequence, at most so many."""
    statement = select(*_ROW).where(audit.c.chain == chain, audit.c.sequence > after)
    if up_to is not None:
        statement = statement.where(audit.c.sequence <= up_to)
    statement = statement.order_by(audit.c.sequence).limit(limit)
    return [AuditRow(*row) for row in await conn.execute(statement)]


async def search(
    conn: AsyncConnection,
    *,
    tenant: str | None = None,
    subject: str | None = None,
    kind: str | None = None,
    since: float | None = None,
    until: float | None = None,
    after: tuple[str, int] | None = None,
    limit: int = 1000,
) -> list[AuditRow]:
    """Entries of all chains, by chain and sequence.

    Args:
        conn: a transaction.
        tenant: of this tenant alone.
        subject: of this subject alone.
        kind: of this kind alone.
        since: not before this time.
        until: before this time.
        after: chain and sequence of the entry with which the last page ended.
        limit: at most so many.
    """
    statement = select(*_ROW)
    for column, value in (
        (audit.c.tenant, tenant),
        (audit.c.subject, subject),
        (audit.c.kind, kind),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if since is not None:
        statement = statement.where(audit.c.at >= since)
    if until is not None:
        statement = statement.where(audit.c.at < until)
    if after is not None:
        chain, sequence = after
        statement = statement.where(
            (audit.c.chain > chain) | ((audit.c.chain == chain) & (audit.c.sequence > sequence))
        )
    statement = statement.order_by(audit.c.chain, audit.c.sequence).limit(limit)
    return [AuditRow(*row) for row in await conn.execute(statement)]


async def last_before(conn: AsyncConnection, chain: str, before: float) -> AuditRow | None:
    """The newest entry up to which every entry of a chain is older than a time."""
    first_kept = (
        select(func.min(audit.c.sequence))
        .where(audit.c.chain == chain, audit.c.at >= before)
        .scalar_subquery()
    )
    statement = select(*_ROW).where(
        audit.c.chain == chain, func.coalesce(audit.c.sequence < first_kept, True)
    )
    statement = statement.order_by(audit.c.sequence.desc()).limit(1)
    row = (await conn.execute(statement)).first()
    return None if row is None else AuditRow(*row)


async def delete_up_to(conn: AsyncConnection, chain: str, sequence: int) -> int:
    """Remove a chain's entries up to and including one.

    Returns:
        How many there were.
    """
    gone = await conn.execute(
        delete(audit).where(audit.c.chain == chain, audit.c.sequence <= sequence)
    )
    return gone.rowcount


async def add_checkpoint(conn: AsyncConnection, checkpoint: CheckpointRow) -> None:
    """Store a checkpoint. A second one for the same entry makes the transaction a Conflict."""
    await conn.execute(checkpoints.insert().values(asdict(checkpoint)))


async def list_checkpoints(
    conn: AsyncConnection, chain: str, *, after: int = -1, limit: int = 1000
) -> list[CheckpointRow]:
    """A chain's checkpoints in their order: those after a sequence, at most so many."""
    statement = select(*_CHECKPOINT).where(
        checkpoints.c.chain == chain, checkpoints.c.sequence > after
    )
    statement = statement.order_by(checkpoints.c.sequence).limit(limit)
    return [CheckpointRow(*row) for row in await conn.execute(statement)]


async def last_checkpoint(conn: AsyncConnection, chain: str) -> CheckpointRow | None:
    """The newest checkpoint of a chain."""
    statement = select(*_CHECKPOINT).where(checkpoints.c.chain == chain)
    statement = statement.order_by(checkpoints.c.sequence.desc()).limit(1)
    row = (await conn.execute(statement)).first()
    return None if row is None else CheckpointRow(*row)


async def replace_checkpoint(conn: AsyncConnection, checkpoint: CheckpointRow) -> bool:
    """Store a checkpoint in place of the one for the same entry: to mark where a chain was cut.

    Returns:
        Whether there was one.
    """
    changed = await conn.execute(
        update(checkpoints)
        .where(
            checkpoints.c.chain == checkpoint.chain, checkpoints.c.sequence == checkpoint.sequence
        )
        .values(asdict(checkpoint))
    )
    return bool(changed.rowcount)


async def delete_checkpoints(conn: AsyncConnection, chain: str, before: int) -> int:
    """Remove a chain's checkpoints before a sequence: they are about entries that are gone.

    Returns:
        How many there were.
    """
    gone = await conn.execute(
        delete(checkpoints).where(checkpoints.c.chain == chain, checkpoints.c.sequence < before)
    )
    return gone.rowcount
