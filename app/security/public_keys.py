"""From a JWK Set to the keys in it that signatures may be verified with."""

import base64
import json
from typing import Any, NamedTuple

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from app.security.algorithms import ALGORITHMS, KeyKind

MOST_KEYS = 100
_LEAST_RSA_BITS, _MOST_RSA_BITS = 2048, 8192
# Only what makes up the public key is taken over, never the private part of a careless set.
_MATERIAL = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_IMPORTERS: dict[str, type[RSAKey] | type[ECKey] | type[OKPKey]] = {
    "RSA": RSAKey,
    "EC": ECKey,
    "OKP": OKPKey,
}


class PublicKey(NamedTuple):
    """One usable key of the set."""

    id: str | None
    kind: KeyKind
    algorithm: str | None
    """The only algorithm that it is for; None where its owner does not say."""
    key: Key

    def fits(self, algorithm: str) -> bool:
        """Whether a signature by this algorithm may be verified with it."""
        if self.kind != ALGORITHMS[algorithm]:
            return False
        # Of an Ed25519 key, both names mean the same.
        return self.algorithm in {None, algorithm} or self.kind.type == "OKP"


def read_keys(content: bytes) -> tuple[PublicKey, ...]:
    """The usable keys in a JWK Set (RFC 7517); others in it are passed over, as the RFC demands.

    Args:
        content: the JSON text of the set.

    Raises:
        ValueError: it is not a JWK Set, holds too many keys, or none that can be used.
    """
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    entries = data.get("keys") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise ValueError('it is not a JWK Set: {"keys": [...]}')  # noqa: TRY004 - of a text
    if len(entries) > MOST_KEYS:
        raise ValueError(f"it has {len(entries)} keys; the most is {MOST_KEYS}")
    keys = tuple(key for entry in entries if (key := _public_key(entry)) is not None)
    if not keys:
        raise ValueError("it has no public key for signatures (RSA of 2048 bits, EC or Ed25519)")
    return keys


def _public_key(entry: Any) -> PublicKey | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    kty, key_id, algorithm = (entry.get(name) for name in ("kty", "kid", "alg"))
    if not isinstance(kty, str) or kty not in _MATERIAL:
        return None
    if not isinstance(key_id, str | None) or not isinstance(algorithm, str | None):
        return None
    kind = KeyKind(kty, None if kty == "RSA" else entry.get("crv"))
    if kind not in ALGORITHMS.values():
        return None
    material: dict[str, str | list[str]] = {"kty": kty}
    for name in _MATERIAL[kty]:
        if not isinstance(entry.get(name), str):
            return None
        material[name] = entry[name]
    try:
        if kty == "RSA" and not _LEAST_RSA_BITS <= _bits(entry["n"]) <= _MOST_RSA_BITS:
            return None
        key = _IMPORTERS[kty].import_key(material)
    except (JoseError, ValueError, TypeError):
        return None
    return PublicKey(key_id, kind, algorithm, key)


def _bits(number: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(f"{number}==")).bit_length()
