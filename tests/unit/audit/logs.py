"""Logs for tests: chains of entries with their checkpoints, made as the service makes them."""

from collections.abc import Iterable, Sequence

from app.audit.chain import Entry, Head, follow
from app.audit.checkpoint import Checkpoint, sign
from app.audit.events import AuditEvent, EventKind
from app.audit.lines import Item
from app.audit.signing import SigningKey
from app.audit.verify import BreakKind, Report, Verifier

KEY = SigningKey(bytes(range(32)))
OTHER_KEY = SigningKey(bytes(range(1, 33)))


def event(number: int, *, user: str = "ada", tenant: str = "acme") -> AuditEvent:
    return AuditEvent(
        id=f"event-{number}",
        at=1000.0 + number,
        kind=EventKind.ADMITTED,
        tenant=tenant,
        user=user,
        key="k1",
        request_id=f"req-{number}",
        zone="public",
        detail={"pool": "small", "tokens": number, "ratio": 0.5, "leased": True},
    )


def chain(
    count: int, *, name: str = "ledger-0", every: int = 3, key: SigningKey = KEY
) -> list[Item]:
    """A chain with a checkpoint after its first entry, every so many, and at its end."""
    items: list[Item] = []
    head = Head()
    for number in range(1, count + 1):
        entry = follow(head, name, event(number), "s" * 32, 5000.0)
        head = Head(entry.sequence, entry.hash)
        items.append(entry)
        if number % every == 0 or number in {1, count}:
            items.append(sign(key, name, head, 2000.0 + number))
    return items


def entries(items: Iterable[Item]) -> list[Entry]:
    return [item for item in items if isinstance(item, Entry)]


def checkpoints(items: Iterable[Item]) -> list[Checkpoint]:
    return [item for item in items if isinstance(item, Checkpoint)]


def check(
    items: Sequence[Item],
    *,
    keys: Sequence[bytes] | None = (KEY.public,),
    anchors: dict[str, Head] | None = None,
    max_unsigned: int = 10_000,
) -> Report:
    verifier = Verifier(keys, anchors=anchors, max_unsigned=max_unsigned)
    for item in items:
        if isinstance(item, Entry):
            verifier.entry(item)
        else:
            verifier.checkpoint(item)
    return verifier.report()


def kinds(report: Report) -> set[BreakKind]:
    return {each.kind for each in report.breaks}
