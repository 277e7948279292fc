"""What ``tidegate audit verify`` keeps from one time to the next."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from app.audit.chain import Head
from app.cli.show import fail

if TYPE_CHECKING:
    from app.audit.verify import Report


class _Seen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sequence: int
    hash: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    public_keys: tuple[str, ...]
    chains: dict[str, _Seen]


class Remembered(msgspec.Struct, frozen=True):
    """Keys and ends of chains that have been seen in a log that was whole.

    Attributes:
        public_keys: keys that sign its checkpoints.
        heads: the newest entry of each chain.
    """

    public_keys: frozenset[bytes] = frozenset()
    heads: dict[str, Head] = {}

    @classmethod
    def load(cls, path: Path | None) -> Self:
        """What is in a file; nothing if there is none yet. One that cannot be read is an error."""
        if path is None:
            return cls()
        try:
            found = msgspec.json.decode(path.read_bytes(), type=_File)
            return cls(
                frozenset(bytes.fromhex(key) for key in found.public_keys),
                {
                    name: Head(seen.sequence, bytes.fromhex(seen.hash))
                    for name, seen in found.chains.items()
                },
            )
        except FileNotFoundError:
            return cls()
        except OSError as error:
            fail(f"{path} cannot be read: {error.strerror}")
        except (msgspec.MsgspecError, ValueError) as error:
            fail(f"{path} is not what --remember has written ({error}): use another file")

    def updated(self, report: "Report", public_keys: Collection[bytes] | None) -> "Remembered":
        """With what a report has seen. Keys that were given stay the only ones."""
        return Remembered(
            frozenset(report.public_keys if public_keys is None else public_keys),
            self.heads | {each.chain: each.head for each in report.chains if each.head.sequence},
        )

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        document = _File(
            tuple(sorted(key.hex() for key in self.public_keys)),
            {name: _Seen(head.sequence, head.hash.hex()) for name, head in self.heads.items()},
        )
        partial = path.with_name(path.name + ".part")
        try:
            partial.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
            partial.replace(path)
        except OSError as error:
            fail(f"{path} cannot be written: {error.strerror}")
