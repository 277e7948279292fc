"""What verifying a log has found."""

from enum import StrEnum
from typing import Any

import msgspec

from app.audit.chain import Head


class BreakKind(StrEnum):
    """What can be wrong with a log."""

    CHANGED = "changed"
    MISSING = "missing"
    OUT_OF_ORDER = "out_of_order"
    DUPLICATED = "duplicated"
    HEAD_CUT = "head_cut"
    TAIL_CUT = "tail_cut"
    REWRITTEN = "rewritten"
    UNSIGNED = "unsigned"
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_KEY = "unknown_key"
    UNREADABLE = "unreadable"


class Break(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    Attributes:
        kind: what it is.
        chain: where; empty where that cannot be told.
        sequence: at which entry.
        message: the same in words.
    """

    kind: BreakKind
    chain: str
    sequence: int
    message: str

    def __str__(self) -> str:
        return f"{self.chain}:{self.sequence}: {self.message}" if self.chain else self.message


class ChainReport(msgspec.Struct, frozen=True):
    """What was found of one chain.

    Attributes:
        chain: its name.
        entries: how many there are.
        pruned: retention has removed all up to and including this entry; 0 if it has not.
        head: its newest entry.
        signed: the newest entry with a checkpoint whose signature holds; 0 without any.
        signed_at: when that was signed.
    """

    chain: str
    entries: int
    pruned: int
    head: Head
    signed: int
    signed_at: float


class Report(msgspec.Struct, frozen=True):
    """The result.

    Attributes:
        chains: by name, in its order.
        breaks: what is wrong, in the order in which it was met; the first 100.
        broken: how many there are in all.
        public_keys: keys whose signatures hold.
    """

    chains: tuple[ChainReport, ...]
    breaks: tuple[Break, ...]
    broken: int
    public_keys: tuple[bytes, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.broken

    def plain(self) -> dict[str, Any]:
        """The report as JSON can hold it."""
        return {
            "whole": self.whole,
            "broken": self.broken,
            "breaks": [msgspec.to_builtins(each) for each in self.breaks],
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
                for each in self.chains
            ],
            "public_keys": [key.hex() for key in self.public_keys],
        }
