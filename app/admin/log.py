"""Reading the audit log: entries, checkpoints, export, and whether all of it is whole."""

import asyncio
from dataclasses import astuple
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.params import AuditCheckpoints, AuditExport, AuditList, AuditVerify
from app.admin.rights import own_tenant
from app.admin.session import Session
from app.audit.chain import Entry
from app.audit.checkpoint import Checkpoint
from app.audit.export import export as export_page
from app.audit.export import read_all
from app.audit.lines import Position, plain
from app.audit.verify import Report, Verifier
from app.store import audit
from app.store.audit import CheckpointRow

# Few enough that the ledger, which lives in the same process, answers in between.
_PAGE = 200


async def list_(session: Session, params: AuditList) -> dict[str, Any]:
    """Entries, a page of them; an operator sees its own tenant's."""
    tenant = own_tenant(session.caller, params.tenant)
    if tenant is not None:
        session.about(tenant=tenant)
    rows = await audit.search(
        session.conn,
        tenant=tenant,
        kind=params.kind.value if params.kind else None,
        since=params.since,
        until=params.until,
        after=_place(params.after),
        limit=params.limit + 1,
    )
    more = len(rows) > params.limit
    rows = rows[: params.limit]
    return {
        "entries": [plain(Entry(*astuple(row))) for row in rows],
        "next": f"{rows[-1].chain}:{rows[-1].sequence}" if more else None,
    }


async def checkpoints(session: Session, params: AuditCheckpoints) -> dict[str, Any]:
    """Signed checkpoints, a page of them."""
    after = _place(params.after)
    rows: list[CheckpointRow] = []
    for chain in await audit.chains(session.conn):
        if after is not None and chain < after.chain:
            continue
        since = after.sequence if after is not None and chain == after.chain else 0
        wanted = params.limit + 1 - len(rows)
        rows += await audit.list_checkpoints(session.conn, chain, after=since, limit=wanted)
        if len(rows) > params.limit:
            break
    more = len(rows) > params.limit
    rows = rows[: params.limit]
    return {
        "checkpoints": [plain(Checkpoint(*astuple(row))) for row in rows],
        "next": f"{rows[-1].chain}:{rows[-1].sequence}" if more else None,
    }


async def export(session: Session, params: AuditExport) -> dict[str, Any]:
    """Entries and checkpoints in an order in which they can be verified, a page of them."""
    page = await export_page(session.conn, after=_place(params.after), limit=params.limit)
    following = page.next
    entries = sum(isinstance(item, Entry) for item in page.items)
    if following is not None and max(entries, len(page.items) - entries) < params.limit:
        # The chain's end. It is not asked for more: that each page is logged there would make it
        # endless.
        following = await _next_chain(session.conn, following.chain)
    return {
        "lines": [plain(item) for item in page.items],
        "next": None if following is None else str(following),
    }


async def verify(session: Session, params: AuditVerify) -> dict[str, Any]:  # noqa: ARG001
    """Whether the log is whole; for proof against who holds the service, verify an export."""
    verifier = Verifier(session.audit_keys)
    count = 0
    async for item in read_all(session.conn, page=_PAGE):
        if isinstance(item, Entry):
            verifier.entry(item)
        else:
            verifier.checkpoint(item)
        count += 1
        if count % _PAGE == 0:
            await asyncio.sleep(0)
    report = verifier.report()
    session.about(detail={"whole": report.whole, "broken": report.broken})
    return _shown(report)


async def _next_chain(conn: AsyncConnection, chain: str) -> Position | None:
    later = [name for name in await audit.chains(conn) if name > chain]
    return Position(later[0], 0) if later else None


def _place(text: str | None) -> Position | None:
    return None if text is None else Position.parse(text)


def _shown(report: Report) -> dict[str, Any]:
    return {
        "whole": report.whole,
        "broken": report.broken,
        "breaks": [
            {
                "kind": each.kind.value,
                "chain": each.chain,
                "sequence": each.sequence,
                "message": each.message,
            }
            for each in report.breaks
        ],
        "chains": [
            {
                "chain": each.chain,
                "entries": each.entries,
                "pruned": each.pruned,
                "head": each.head.sequence,
                "hash": each.head.hash.hex(),
                "signed": each.signed,
                "signed_at": each.signed_at,
            }
            for each in report.chains
        ],
        "public_keys": [key.hex() for key in report.public_keys],
    }
