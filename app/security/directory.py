"""A gateway's copy of all keys, so that checking one asks nobody.

The registrar (the ledger's shard 0) sends a whole copy to each gateway that connects, and every
change from then on. The copy holds what the store holds, and nothing that clients can add to.
"""

from dataclasses import dataclass, replace

import msgspec

from app.security.identity import Identity
from app.security.keys import KeyRecord


class Snapshot(msgspec.Struct, frozen=True, array_like=True, tag="snapshot"):
    """Every key there is.

    Attributes:
        pepper: what their secrets are hashed with.
        version: number of the newest change it holds.
        records: the keys, the first admin key among them.
        weights: shares of tenants in every fair queue, where they are not 1.
    """

    pepper: bytes
    version: int
    records: tuple[KeyRecord, ...]
    weights: dict[str, float] = {}


class Delta(msgspec.Struct, frozen=True, array_like=True, tag="delta"):
    """What has changed since the last message.

    Attributes:
        version: number of the newest change it holds.
        records: keys that are new or have changed.
        removed: ids of keys that are no longer in the store.
    """

    version: int
    records: tuple[KeyRecord, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """What checking a key needs, with the identity made ready."""

    digest: bytes
    identity: Identity
    expires_at: float | None
    revoked_at: float | None


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Snapshot | Delta] = msgspec.msgpack.Decoder(Snapshot | Delta)


def encode(message: Snapshot | Delta) -> bytes:
    """The message as it goes to gateways."""
    return _encoder.encode(message)


class Directory:
    """The keys, by id."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._pepper: bytes | None = None
        self._version = -1
        self._weights: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def pepper(self) -> bytes | None:
        """What secrets are hashed with; None until the first snapshot."""
        return self._pepper

    @property
    def version(self) -> int:
        """Number of the newest change that is in here; -1 until the first snapshot."""
        return self._version

    @property
    def ready(self) -> bool:
        """Whether a snapshot has come."""
        return self._pepper is not None

    def entry(self, key_id: str) -> Entry | None:
        """What is known of a key; None for one that is not in the store."""
        return self._entries.get(key_id)

    def weighted(self, identity: Identity) -> Identity:
        """The identity with its tenant's share."""
        if not self._weights:
            return identity
        return replace(identity, weight=self._weights.get(identity.tenant, 1.0))

    def apply(self, message: bytes) -> None:
        """Takes in a snapshot or a delta, wholly or not at all.

        A snapshot replaces everything, whatever its version: the store may have been set back to
        an older state. A delta that is older than what is known changes nothing.

        Args:
            message: what `encode` made.

        Raises:
            ValueError: it is not such a message, or a delta has come before any snapshot.
        """
        try:
            data = _decoder.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"not a message of the key directory: {error}") from None
        entries = {record.id: _entry(record) for record in data.records}
        if isinstance(data, Snapshot):
            self._entries, self._pepper = entries, data.pepper
            self._weights = data.weights
        elif self._pepper is None:
            raise ValueError("a change of the key directory came before the directory")
        elif data.version < self._version:
            return
        else:
            self._entries.update(entries)
            for key_id in data.removed:
                self._entries.pop(key_id, None)
        self._version = data.version


def _entry(record: KeyRecord) -> Entry:
    return Entry(record.digest, record.identity(), record.expires_at, record.revoked_at)
