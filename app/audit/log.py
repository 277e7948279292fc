"""Writing the log: events become entries of a chain, in the transaction that makes them true."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import NamedTuple

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.audit.chain import Entry, Head, entry_id, follow
from app.audit.checkpoint import Checkpoint, sign
from app.audit.events import AuditEvent, EventKind
from app.audit.signing import SigningKey
from app.audit.verify import BreakKind, Verifier
from app.store import audit as store


class _End(NamedTuple):
    head: Head
    # Sequence and time of the newest checkpoint; 0 without any.
    signed: int
    signed_at: float


class AuditLog:
    """One chain of the log, and the key that signs it.

    It keeps no entry and no hash between transactions: where the chain ends is read in the
    transaction that goes on with it, with the chain locked. So nothing has to be undone when a
    transaction fails, several transactions of a process may use one log, and a ledger that comes
    back goes on where the store is.

    Args:
        chain: the chain's name: ``ledger-0`` for the first shard.
        key: signs its checkpoints.
        checkpoint_every: entries between two checkpoints.
        checkpoint_s: most seconds between two checkpoints, while there are entries.
    """

    def __init__(
        self, chain: str, key: SigningKey, *, checkpoint_every: int, checkpoint_s: float
    ) -> None:
        self.chain = chain
        self.public_key = key.public
        self._key = key
        self._every = checkpoint_every
        self._checkpoint_s = checkpoint_s
        # Only hints for `due`; `append` decides by what the store holds.
        self._unsigned = True
        self._signed_at = 0.0

    async def append(
        self,
        conn: AsyncConnection,
        events: Sequence[AuditEvent],
        subjects: Mapping[tuple[str, str], str],
        now: float,
    ) -> int:
        """Add events to the chain, and a checkpoint if one is due.

        Call it late in the transaction: until that ends, nobody else can add to the chain.

        Args:
            conn: an open transaction.
            events: what happened; what the store has already is left out, so that an event may be
                delivered more than once.
            subjects: pseudonyms by (tenant, user). A user without one, who has been forgotten or
                was never let in, is recorded without a subject.
            now: Unix time, in seconds.

        Returns:
            How many events were new.
        """
        end = await self._lock(conn)
        head = end.head
        entries: list[Entry] = []
        known = await store.known(conn, [entry_id(event) for event in events])
        for event in events:
            id_ = entry_id(event)
            if id_ in known:
                continue
            known.add(id_)
            subject = subjects.get((event.tenant, event.user), "") if event.user else ""
            entry = follow(head, self.chain, event, subject, now)
            head = Head(entry.sequence, entry.hash)
            entries.append(entry)
        await store.append(conn, [store.AuditRow(*msgspec.structs.astuple(e)) for e in entries])
        unsigned = head.sequence - end.signed
        self._unsigned, self._signed_at = unsigned > 0, end.signed_at
        # The very first entry is signed at once: a chain without any checkpoint is a forged one.
        if unsigned >= self._every or not end.signed or self._late(now, end.signed_at):
            await self._sign(conn, end, head, now)
        return len(entries)

    def due(self, now: float) -> bool:
        """Whether appending nothing would sign a checkpoint: quiet times are to be covered too."""
        return self._unsigned and self._late(now, self._signed_at)

    async def seal(self, conn: AsyncConnection, now: float) -> None:
        """Sign where the chain ends, unless that is signed: before a ledger closes."""
        end = await self._lock(conn)
        await self._sign(conn, end, end.head, now)

    async def prune(self, conn: AsyncConnection, before: float, now: float, *, limit: int) -> int:
        """Remove the chain's oldest entries, behind a signed checkpoint and an entry that say so.

        They are verified first: what is wrong with them is counted in that entry, or else removing
        them would remove the last trace of it.

        Args:
            conn: an open transaction.
            before: entries go up to the last one in front of all that are from this time on.
            now: Unix time, in seconds.
            limit: at most so many, so that no writer waits for long.

        Returns:
            How many are gone.
        """
        await self._lock(conn)
        last = await store.last_before(conn, self.chain, before)
        if last is None:
            return 0
        rows = await store.page(conn, self.chain, up_to=last.sequence, limit=limit)
        head = Head(rows[-1].sequence, rows[-1].hash)
        broken = await self._broken(conn, rows)
        await self._put(conn, sign(self._key, self.chain, head, now, pruned=True))
        await store.delete_checkpoints(conn, self.chain, before=head.sequence)
        gone = await store.delete_up_to(conn, self.chain, head.sequence)
        event = AuditEvent(
            secrets.token_hex(16),
            now,
            EventKind.RETENTION,
            detail={
                "chain": self.chain,
                "through": head.sequence,
                "entries": gone,
                "broken": broken,
            },
        )
        await self.append(conn, [event], {}, now)
        await self.seal(conn, now)
        return gone

    async def _lock(self, conn: AsyncConnection) -> _End:
        # SQLite's transactions begin with the lock on the whole database.
        if conn.dialect.name == "postgresql":
            digest = hashlib.sha256(b"tidegate audit chain\x00" + self.chain.encode()).digest()
            number = int.from_bytes(digest[:8], "big", signed=True)
            await conn.execute(select(func.pg_advisory_xact_lock(number)))
        row = await store.last(conn, self.chain)
        newest = await store.last_checkpoint(conn, self.chain)
        head = Head() if row is None else Head(row.sequence, row.hash)
        if newest is None:
            return _End(head, 0, 0.0)
        # Where retention has removed every entry. And where somebody else has cut the tail: the gap
        # stays, and what comes now hangs on to what was signed.
        if newest.sequence > head.sequence:
            head = Head(newest.sequence, newest.hash)
        return _End(head, newest.sequence, newest.at)

    async def _broken(self, conn: AsyncConnection, rows: Sequence[store.AuditRow]) -> int:
        verifier = Verifier(max_unsigned=len(rows))
        signed = await store.list_checkpoints(conn, self.chain, limit=2 * len(rows) + 2)
        for checkpoint in signed:
            if checkpoint.sequence <= rows[-1].sequence:
                verifier.checkpoint(Checkpoint(*astuple(checkpoint)))
        for row in rows:
            verifier.entry(Entry(*astuple(row)))
        # A few entries need not have a checkpoint among them.
        return sum(each.kind != BreakKind.UNSIGNED for each in verifier.report().breaks)

    async def _sign(self, conn: AsyncConnection, end: _End, head: Head, now: float) -> None:
        if head.sequence > end.signed:
            await self._put(conn, sign(self._key, self.chain, head, now))
            self._signed_at = now
        self._unsigned = False

    async def _put(self, conn: AsyncConnection, checkpoint: Checkpoint) -> None:
        row = store.CheckpointRow(*msgspec.structs.astuple(checkpoint))
        if not await store.replace_checkpoint(conn, row):
            await store.add_checkpoint(conn, row)

    def _late(self, now: float, signed_at: float) -> bool:
        # Also after a clock that was ahead has been put right.
        return not 0 <= now - signed_at < self._checkpoint_s
