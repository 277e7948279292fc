"""Whether a log is whole: entries and checkpoints go in, everything that is wrong comes out."""

import struct
from collections.abc import Collection, Mapping

from app.audit.chain import GENESIS, Entry, Head, entry_hash
from app.audit.checkpoint import Checkpoint, signed_by_its_key
from app.audit.report import Break, BreakKind, ChainReport, Report

__all__ = ["MAX_UNSIGNED", "Break", "BreakKind", "ChainReport", "Report", "Verifier"]

MAX_UNSIGNED = 10_000
"""Entries behind the newest checkpoint that are taken without one, unless told otherwise."""

_MAX_CHAINS = 1024
_MAX_BREAKS = 100
_MAX_AHEAD = 1_000_000
_MAX_KEYS = 64


def _sound(entry: Entry) -> bool:
    try:
        return entry_hash(entry) == entry.hash
    except (TypeError, ValueError, AttributeError, struct.error):
        # SQLite stores a word where a number should be, if it is told to.
        return False


class _Chain:
    """What is known of a chain while it is read."""

    def __init__(self) -> None:
        self.head: Head | None = None
        self.entries = 0
        self.pruned = 0
        self.signed = 0
        self.signed_at = 0.0
        # Hashes of entries that are still to come, and who says so.
        self.ahead: dict[int, tuple[bytes, str]] = {}


class Verifier:
    """Verifies a log as it is read, in memory that does not grow with it.

    Feed it each chain's entries in the order of the log and its checkpoints at their place or
    before; how several chains are interleaved makes no difference.

    What it cannot see: entries behind the newest checkpoint that were changed together with all
    behind them, and a tail that was cut together with its checkpoints. For those there are
    `anchors`, and `max_unsigned`.

    Args:
        public_keys: the keys whose checkpoints count. None takes those of any key: that shows
            damage and clumsy changes, but not those of somebody who signs with a key of their own.
        anchors: heads of chains that were seen earlier, by chain; they must still be there.
        max_unsigned: entries that a chain may have behind its newest checkpoint.
    """

    def __init__(
        self,
        public_keys: Collection[bytes] | None = None,
        *,
        anchors: Mapping[str, Head] | None = None,
        max_unsigned: int = MAX_UNSIGNED,
    ) -> None:
        self._trusted = None if public_keys is None else frozenset(public_keys)
        self._max_unsigned = max_unsigned
        self._chains: dict[str, _Chain] = {}
        self._breaks: list[Break] = []
        self._broken = 0
        self._keys: set[bytes] = set()
        for name, head in (anchors or {}).items():
            self._chains[name] = chain = _Chain()
            if head.sequence:
                chain.ahead[head.sequence] = (head.hash, "it was seen earlier")

    def entry(self, entry: Entry) -> None:
        """Take the next entry of its chain."""
        chain = self._chain(entry.chain)
        if chain is None:
            return
        chain.entries += 1
        if chain.head is None:
            chain.head = self._start(entry)
        last = chain.head
        if entry.sequence <= last.sequence:
            self._misplaced(entry, last)
            return
        if entry.sequence > last.sequence + 1:
            self._gap(entry, last)
        elif entry.previous != last.hash:
            self._report(
                BreakKind.CHANGED,
                entry.chain,
                entry.sequence,
                f"entry {entry.sequence} does not follow entry {last.sequence}: "
                "one of the two was changed",
            )
        if not _sound(entry):
            self._report(
                BreakKind.CHANGED,
                entry.chain,
                entry.sequence,
                f"entry {entry.sequence} was changed: its hash is another",
            )
        chain.head = Head(entry.sequence, entry.hash)
        expected = chain.ahead.pop(entry.sequence, None)
        if expected is not None:
            self._compare(entry.chain, chain.head, expected)

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Take a checkpoint, at its place or before."""
        chain = self._chain(checkpoint.chain)
        if chain is None or not self._trustworthy(checkpoint):
            return
        name, sequence = checkpoint.chain, checkpoint.sequence
        if sequence >= chain.signed:
            chain.signed, chain.signed_at = sequence, checkpoint.at
        expected = (checkpoint.hash, "a checkpoint of it is signed")
        if chain.head is not None and sequence == chain.head.sequence:
            self._compare(name, chain.head, expected)
        elif chain.head is not None and sequence < chain.head.sequence:
            self._report(
                BreakKind.OUT_OF_ORDER,
                name,
                sequence,
                f"the checkpoint of entry {sequence} comes after entry {chain.head.sequence}",
            )
        elif checkpoint.pruned:
            self._cut(name, chain, Head(sequence, checkpoint.hash))
        elif sequence in chain.ahead:
            self._compare(name, Head(sequence, chain.ahead[sequence][0]), expected)
        elif len(chain.ahead) < _MAX_AHEAD:
            chain.ahead[sequence] = expected
        else:
            self._report(
                BreakKind.UNREADABLE,
                name,
                sequence,
                f"more than {_MAX_AHEAD:,} checkpoints come before their entries",
            )
        if checkpoint.pruned:
            chain.pruned = max(chain.pruned, sequence)
            # What is gone on purpose need not come.
            chain.ahead = {at: what for at, what in chain.ahead.items() if at > sequence}

    def unreadable(self, message: str) -> None:
        """Take note of a part of the log that is neither an entry nor a checkpoint."""
        self._report(BreakKind.UNREADABLE, "", 0, message)

    def report(self) -> Report:
        """What was found, now that everything has been read."""
        for name, chain in sorted(self._chains.items()):
            head = chain.head or Head()
            for sequence, (_, source) in sorted(chain.ahead.items()):
                cut = sequence > head.sequence
                self._report(
                    BreakKind.TAIL_CUT if cut else BreakKind.MISSING,
                    name,
                    sequence,
                    f"entry {sequence} is missing, but {source}"
                    + (f"; the chain ends at entry {head.sequence}" if cut else ""),
                )
            chain.ahead.clear()
            unsigned = head.sequence - chain.signed
            if chain.entries and not chain.signed:
                self._report(
                    BreakKind.UNSIGNED, name, head.sequence, "no checkpoint of this chain is signed"
                )
            elif unsigned > self._max_unsigned:
                self._report(
                    BreakKind.UNSIGNED,
                    name,
                    chain.signed,
                    f"no checkpoint is signed after entry {chain.signed}, and {unsigned:,} entries "
                    f"follow it, more than {self._max_unsigned:,}: are checkpoints missing?",
                )
        return Report(
            chains=tuple(
                ChainReport(
                    name,
                    chain.entries,
                    chain.pruned,
                    chain.head or Head(),
                    chain.signed,
                    chain.signed_at,
                )
                for name, chain in sorted(self._chains.items())
            ),
            breaks=tuple(self._breaks),
            broken=self._broken,
            public_keys=tuple(sorted(self._keys)),
        )

    def _chain(self, name: str) -> _Chain | None:
        chain = self._chains.get(name)
        if chain is None:
            if len(self._chains) >= _MAX_CHAINS:
                self._report(
                    BreakKind.UNREADABLE, "", 0, f"there are more than {_MAX_CHAINS} chains"
                )
                return None
            chain = self._chains[name] = _Chain()
        return chain

    def _start(self, entry: Entry) -> Head:
        """What the first entry of a chain has to follow."""
        if entry.sequence <= 1:
            return Head(0, GENESIS)
        self._report(
            BreakKind.HEAD_CUT,
            entry.chain,
            entry.sequence,
            f"the chain begins with entry {entry.sequence}, and no signed checkpoint says that "
            "retention has removed those before",
        )
        return Head(entry.sequence - 1, entry.previous)

    def _misplaced(self, entry: Entry, last: Head) -> None:
        twice = entry.sequence == last.sequence
        self._report(
            BreakKind.DUPLICATED if twice else BreakKind.OUT_OF_ORDER,
            entry.chain,
            entry.sequence,
            f"entry {entry.sequence} comes "
            + ("twice" if twice else f"after entry {last.sequence}"),
        )

    def _gap(self, entry: Entry, last: Head) -> None:
        first, final = last.sequence + 1, entry.sequence - 1
        self._report(
            BreakKind.MISSING,
            entry.chain,
            first,
            f"entry {first} is missing"
            if first == final
            else f"entries {first} to {final} are missing",
        )

    def _cut(self, name: str, chain: _Chain, cut: Head) -> None:
        if chain.head is not None:
            self._report(
                BreakKind.OUT_OF_ORDER,
                name,
                chain.head.sequence,
                f"entry {chain.head.sequence} is there without those up to entry {cut.sequence}, "
                "which retention has removed; if it did so just now, read the log again",
            )
        chain.head = cut

    def _compare(self, name: str, head: Head, expected: tuple[bytes, str]) -> None:
        digest, source = expected
        if head.hash != digest:
            self._report(
                BreakKind.REWRITTEN,
                name,
                head.sequence,
                f"entry {head.sequence} is not the one that was written, for {source} "
                "with another hash: the chain was rewritten up to there",
            )

    def _trustworthy(self, checkpoint: Checkpoint) -> bool:
        name, sequence, key = checkpoint.chain, checkpoint.sequence, checkpoint.public_key
        if self._trusted is not None and key not in self._trusted:
            self._report(
                BreakKind.UNKNOWN_KEY,
                name,
                sequence,
                f"the checkpoint of entry {sequence} is signed with the key {key[:32].hex()}, "
                "which is not one of those given",
            )
            return False
        if not signed_by_its_key(checkpoint):
            self._report(
                BreakKind.BAD_SIGNATURE,
                name,
                sequence,
                f"the signature of the checkpoint of entry {sequence} does not hold",
            )
            return False
        if len(self._keys) < _MAX_KEYS:
            self._keys.add(key)
        return True

    def _report(self, kind: BreakKind, chain: str, sequence: int, message: str) -> None:
        self._broken += 1
        if len(self._breaks) < _MAX_BREAKS:
            self._breaks.append(Break(kind, chain, sequence, message))
