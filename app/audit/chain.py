"""What an entry of the audit log is, and how each one holds on to the one before it.

An entry's hash covers the hash before it and every field, each with its length in front, so that no
two different entries have the same encoding. Changing, leaving out or moving an entry therefore
shows in the next one, up to the newest signed checkpoint.
"""

import hashlib
import json
import math
import struct
from collections.abc import Mapping

import msgspec

from app.audit.events import AuditEvent

GENESIS = bytes(32)
"""What the first entry of a chain follows."""

_DOMAIN = b"tidegate audit entry 1\x00"
_LENGTH = struct.Struct(">Q")
_TIME = struct.Struct(">d")

_MAX_ID = 40
_MAX_NAME = 128
_MAX_SUBJECT = 32
_MAX_DETAILS = 16
_MAX_LABEL = 64
_MAX_TEXT = 256


class Entry(msgspec.Struct, frozen=True):
    """One entry, as it is stored.

    Attributes:
        chain: which chain it belongs to; each ledger shard has its own.
        sequence: counts up from 1 by one in each chain.
        id: of the event; the same event is never stored twice.
        at: Unix time of the event, in seconds. Events arrive late, so it is not always in order.
        kind: an :class:`~app.audit.events.EventKind`.
        tenant: whose; empty where nobody is known.
        subject: pseudonym of the user; empty where nobody is known.
        body: the rest as JSON: key, request, zone and details.
        previous: hash of the entry before.
        hash: of this one.
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


class Head(msgspec.Struct, frozen=True):
    """Where a chain ends: what its next entry follows."""

    sequence: int = 0
    hash: bytes = GENESIS


def entry_hash(entry: Entry) -> bytes:
    """What ``entry.hash`` has to be, by all its other fields."""
    return _hash(
        entry.previous,
        entry.chain,
        entry.sequence,
        entry.id,
        entry.at,
        entry.kind,
        entry.tenant,
        entry.subject,
        entry.body,
    )


def follow(head: Head, chain: str, event: AuditEvent, subject: str, now: float) -> Entry:
    """The entry that records an event behind a chain's head.

    Events come from other processes and hold what clients sent. What does not fit the store is
    shortened here instead of being refused: an event that can never be stored would hold up all
    behind it.

    Args:
        head: the chain's end.
        chain: its name.
        event: what happened.
        subject: the pseudonym that stands for ``event.user``; empty where there is none.
        now: Unix time. No entry is from later than that: one from a clock that is far ahead would
            keep retention from everything behind it.
    """
    id_ = entry_id(event)
    # The sum: SQLite does not keep the sign of a zero.
    at = event.at + 0.0 if 0 <= event.at <= now else now
    tenant = _fit(event.tenant, _MAX_NAME)
    subject = _fit(subject, _MAX_SUBJECT)
    text = body(event, subject)
    sequence = head.sequence + 1
    digest = _hash(head.hash, chain, sequence, id_, at, event.kind.value, tenant, subject, text)
    return Entry(
        chain, sequence, id_, at, event.kind.value, tenant, subject, text, head.hash, digest
    )


def entry_id(event: AuditEvent) -> str:
    """The id under which an event is stored."""
    return _fit(event.id, _MAX_ID)


def body(event: AuditEvent, subject: str) -> str:
    """The part of an event that is stored as one JSON object, in one canonical form.

    The user's name never gets into it: a detail that repeats it shows the pseudonym instead.
    """
    fields: dict[str, object] = {
        name: value[:_MAX_TEXT]
        for name, value in (
            ("key", event.key),
            ("request_id", event.request_id),
            ("zone", event.zone),
        )
        if value
    }
    if event.detail:
        fields["detail"] = _bounded(event.detail, event.user, subject)
    # ASCII alone: PostgreSQL takes neither NUL nor half a surrogate pair in a text.
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _bounded(
    detail: Mapping[str, str | int | float | bool], user: str, subject: str
) -> dict[str, object]:
    kept: dict[str, object] = {}
    for name, value in list(detail.items())[:_MAX_DETAILS]:
        if isinstance(value, str):
            kept[name[:_MAX_LABEL]] = subject if user and value == user else value[:_MAX_TEXT]
        elif isinstance(value, float) and not math.isfinite(value):
            kept[name[:_MAX_LABEL]] = str(value)
        else:
            kept[name[:_MAX_LABEL]] = value
    return kept


def _fit(text: str, limit: int) -> str:
    if len(text) <= limit and text.isprintable():
        return text
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:limit]


def _hash(
    previous: bytes,
    chain: str,
    sequence: int,
    id_: str,
    at: float,
    kind: str,
    tenant: str,
    subject: str,
    text: str,
) -> bytes:
    parts = [_DOMAIN]
    # The sequence as text: what is verified may hold numbers that no fixed width takes.
    for field in (
        previous,
        chain.encode("utf-8", "surrogatepass"),
        b"%d" % sequence,
        id_.encode("utf-8", "surrogatepass"),
        _TIME.pack(at),
        kind.encode("utf-8", "surrogatepass"),
        tenant.encode("utf-8", "surrogatepass"),
        subject.encode("utf-8", "surrogatepass"),
        text.encode("utf-8", "surrogatepass"),
    ):
        parts.append(_LENGTH.pack(len(field)))
        parts.append(field)
    return hashlib.sha256(b"".join(parts)).digest()
