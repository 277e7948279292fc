"""Reading the log out of the store, page by page: for export and for verification."""

from collections.abc import AsyncIterator, Collection
from dataclasses import astuple
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from app.audit.chain import Entry
from app.audit.checkpoint import Checkpoint
from app.audit.lines import Item, Position
from app.audit.verify import MAX_UNSIGNED, Report, Verifier
from app.store import audit as store

PAGE = 1000
"""Entries in a page, unless told otherwise."""

_BEGINNING = -(2**63)


class Page(NamedTuple):
    """A part of the log.

    Attributes:
        items: entries of one chain in their order, each checkpoint behind its entry.
        next: where the next page begins; None behind the last one.
    """

    items: list[Item]
    next: Position | None


async def export(
    conn: AsyncConnection, *, after: Position | None = None, limit: int = PAGE
) -> Page:
    """One page of the log, in an order in which it can be verified.

    Args:
        conn: a transaction that sees one moment, as those of :meth:`Database.read` do.
        after: `next` of the page before.
        limit: at most so many entries, and so many checkpoints.
    """
    for chain in await store.chains(conn):
        if after is not None and chain < after.chain:
            continue
        since = after.sequence if after is not None and chain == after.chain else _BEGINNING
        entries = await store.page(conn, chain, after=since, limit=limit)
        checkpoints = await store.list_checkpoints(conn, chain, after=since, limit=limit)
        # Where either is cut short, the other must not run ahead of it.
        ends = [rows[-1].sequence for rows in (entries, checkpoints) if len(rows) == limit]
        end = min(ends, default=None)
        items: list[Item] = [Entry(*astuple(row)) for row in entries]
        items += [Checkpoint(*astuple(row)) for row in checkpoints]
        if end is not None:
            items = [item for item in items if item.sequence <= end]
        if items:
            items.sort(key=lambda item: (item.sequence, isinstance(item, Checkpoint)))
            return Page(items, Position(chain, items[-1].sequence))
    return Page([], None)


async def read_all(conn: AsyncConnection, *, page: int = PAGE) -> AsyncIterator[Item]:
    """The whole log."""
    part = await export(conn, limit=page)
    while part.next is not None:
        for item in part.items:
            yield item
        part = await export(conn, after=part.next, limit=page)


async def verify(
    conn: AsyncConnection,
    public_keys: Collection[bytes] | None = None,
    *,
    max_unsigned: int = MAX_UNSIGNED,
) -> Report:
    """Verify the log where it is stored.

    Args:
        conn: a transaction that sees one moment, as those of :meth:`Database.read` do.
        public_keys: the keys whose checkpoints count; None for any.
        max_unsigned: entries that a chain may have behind its newest checkpoint.
    """
    verifier = Verifier(public_keys, max_unsigned=max_unsigned)
    async for item in read_all(conn):
        if isinstance(item, Entry):
            verifier.entry(item)
        else:
            verifier.checkpoint(item)
    return verifier.report()
