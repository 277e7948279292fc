"""How the log is written down outside the store: one JSON object a line, in any order of chains.

Bytes are in hexadecimal, and `body` stays the text that was hashed.
"""

from typing import Annotated, Any, NamedTuple

import msgspec

from app.audit.chain import Entry
from app.audit.checkpoint import Checkpoint

MAX_LINE = 262_144
"""Longest line that is read, in bytes; entries are shorter by far."""

Item = Entry | Checkpoint


class Position(NamedTuple):
    """A place in the log, behind an entry and what belongs to it."""

    chain: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.chain}:{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Read what :meth:`__str__` has written.

        Raises:
            ValueError: it was something else.
        """
        chain, colon, sequence = text.rpartition(":")
        if not colon or not chain or not sequence.isascii() or not sequence.isdigit():
            raise ValueError(f"{text[:64]!r} is no place in the log: write CHAIN:SEQUENCE")
        return cls(chain, int(sequence[:19]))


_Sequence = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class _EntryLine(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="entry"
):
    chain: str
    sequence: _Sequence
    id: str
    at: float
    kind: str
    tenant: str
    subject: str
    body: str
    previous: str
    hash: str


class _CheckpointLine(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="checkpoint"
):
    chain: str
    sequence: _Sequence
    at: float
    hash: str
    public_key: str
    signature: str
    pruned: bool


_DECODER = msgspec.json.Decoder(_EntryLine | _CheckpointLine)


def plain(item: Item) -> dict[str, Any]:
    """An entry or a checkpoint as JSON can hold it."""
    document: dict[str, Any] = msgspec.to_builtins(_line(item))
    return document


def encode(item: Item) -> str:
    """One line, without its end."""
    return msgspec.json.encode(_line(item)).decode()


def decode(line: str | bytes) -> Item:
    """Read one line.

    Raises:
        ValueError: it is neither an entry nor a checkpoint.
    """
    if len(line) > MAX_LINE:
        raise ValueError(f"the line is longer than {MAX_LINE:,} bytes")
    try:
        return _item(_DECODER.decode(line))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from error


def from_plain(document: object) -> Item:
    """Read what :func:`plain` has written.

    Raises:
        ValueError: it is neither an entry nor a checkpoint.
    """
    try:
        return _item(msgspec.convert(document, _EntryLine | _CheckpointLine))
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


def _line(item: Item) -> _EntryLine | _CheckpointLine:
    if isinstance(item, Entry):
        return _EntryLine(
            item.chain,
            item.sequence,
            item.id,
            item.at,
            item.kind,
            item.tenant,
            item.subject,
            item.body,
            item.previous.hex(),
            item.hash.hex(),
        )
    return _CheckpointLine(
        item.chain,
        item.sequence,
        item.at,
        item.hash.hex(),
        item.public_key.hex(),
        item.signature.hex(),
        item.pruned,
    )


def _item(line: _EntryLine | _CheckpointLine) -> Item:
    if isinstance(line, _EntryLine):
        return Entry(
            line.chain,
            line.sequence,
            line.id,
            line.at,
            line.kind,
            line.tenant,
            line.subject,
            line.body,
            bytes.fromhex(line.previous),
            bytes.fromhex(line.hash),
        )
    return Checkpoint(
        line.chain,
        line.sequence,
        line.at,
        bytes.fromhex(line.hash),
        bytes.fromhex(line.public_key),
        bytes.fromhex(line.signature),
        line.pruned,
    )
