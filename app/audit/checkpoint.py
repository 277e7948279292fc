"""Signed statements of how far a chain had come: what an intruder in the store cannot write."""

import struct

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.audit.chain import Head
from app.audit.signing import SigningKey

_DOMAIN = b"tidegate audit checkpoint 1\x00"
_LENGTH = struct.Struct(">Q")
_TIME = struct.Struct(">d")


class Checkpoint(msgspec.Struct, frozen=True):
    """One checkpoint, as it is stored.

    Attributes:
        chain: which chain it is about.
        sequence: its newest entry at the time.
        at: when it was signed, in seconds of Unix time.
        hash: that entry's hash.
        public_key: the Ed25519 key that verifies the signature.
        signature: over all of the above and `pruned`.
        pruned: retention has removed everything up to and including this entry. It is signed too:
            otherwise whoever can write to the store could cut the log and call it retention.
    """

    chain: str
    sequence: int
    at: float
    hash: bytes
    public_key: bytes
    signature: bytes
    pruned: bool = False


def sign(key: SigningKey, chain: str, head: Head, at: float, *, pruned: bool = False) -> Checkpoint:
    """Sign where a chain has come to, or up to where retention has cut it."""
    at += 0.0
    public = key.public
    signature = key.sign(_message(chain, head.sequence, at, head.hash, public, pruned=pruned))
    return Checkpoint(chain, head.sequence, at, head.hash, public, signature, pruned)


def signed_by_its_key(checkpoint: Checkpoint) -> bool:
    """Whether the signature is that of the key which the checkpoint names.

    Whose key that is, and whether it is to be trusted, is for the caller to know.
    """
    message = _message(
        checkpoint.chain,
        checkpoint.sequence,
        checkpoint.at,
        checkpoint.hash,
        checkpoint.public_key,
        pruned=checkpoint.pruned,
    )
    try:
        Ed25519PublicKey.from_public_bytes(checkpoint.public_key).verify(
            checkpoint.signature, message
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def _message(
    chain: str, sequence: int, at: float, digest: bytes, public: bytes, *, pruned: bool
) -> bytes:
    parts = [_DOMAIN]
    for field in (
        chain.encode("utf-8", "surrogatepass"),
        b"%d" % sequence,
        _TIME.pack(at),
        digest,
        public,
        b"pruned" if pruned else b"kept",
    ):
        parts.append(_LENGTH.pack(len(field)))
        parts.append(field)
    return b"".join(parts)
