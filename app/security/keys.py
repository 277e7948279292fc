"""API keys: how they look, how they are hashed, and what is known about each.

A key is `tg-ID-SECRET`: the id, 16 characters of base32 in lower case, is no secret and names the
key everywhere; the secret is 256 random bits as base64url. Only a keyed hash of the secret is
stored, so that who reads the store can neither use the keys nor try guesses against them.
"""

import base64
import hmac
import re
import secrets

import msgspec

from app.admission.tier import Tier
from app.security.identity import Identity, Role

ADMIN_KEY_ID = "admin"
"""Id of the first admin key, which the environment or a file sets."""
ADMIN_TENANT = "admin"
"""Tenant and user whom the first admin key's requests count for."""

KEY_LENGTH = 63
_KEY = re.compile(r"tg-([a-z2-7]{16})-([A-Za-z0-9_-]{43})")
_DOMAIN = b"tidegate api key"


class KeyRecord(msgspec.Struct, frozen=True, array_like=True):
    """What the store knows about a key.

    Attributes:
        id: the key's public name.
        digest: `digest()` of its secret.
        tenant: who pays.
        user: whose it is.
        roles: what it may do.
        zone: the highest zone it may ask for.
        models: the models it may ask; None for all.
        tiers: the tiers it may ask for.
        unlimited: neither limits nor budgets apply.
        created_at: Unix time, as all times here.
        expires_at: when it stops working by itself; None for never.
        revoked_at: when it was withdrawn; None if it was not. It does not work whatever the time.
    """

    id: str
    digest: bytes
    tenant: str
    user: str
    roles: tuple[Role, ...]
    zone: str
    models: tuple[str, ...] | None = None
    tiers: tuple[Tier, ...] = (Tier.STANDARD, Tier.BATCH)
    unlimited: bool = False
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None

    def identity(self) -> Identity:
        """Who a request with this key is from."""
        roles = frozenset(self.roles)
        return Identity(
            tenant=self.tenant,
            user=self.user,
            max_zone=self.zone,
            key=self.id,
            roles=roles,
            models=None if self.models is None else frozenset(self.models),
            tiers=tiers_of(roles, frozenset(self.tiers)),
            unlimited=self.unlimited,
        )


def mint() -> tuple[str, str]:
    """A new key.

    Returns:
        Its id, and the whole key, which is shown once and never stored.
    """
    key_id = base64.b32encode(secrets.token_bytes(10)).decode().lower()
    return key_id, f"tg-{key_id}-{secrets.token_urlsafe(32)}"


def parse(text: str) -> tuple[str, str] | None:
    """The id and the secret of what may be a key; None for anything that cannot be one."""
    if len(text) != KEY_LENGTH:
        return None
    match = _KEY.fullmatch(text)
    return None if match is None else (match[1], match[2])


def digest(pepper: bytes, key_id: str, secret: str) -> bytes:
    """What is stored instead of a secret: HMAC-SHA256 under the pepper.

    Args:
        pepper: `MasterSecret.derive("api keys")`.
        key_id: id of the key, so that a hash cannot be moved to another key's row.
        secret: the secret; for the first admin key the whole text.
    """
    name = key_id.encode()
    message = b"%b\0%d\0%b\0%b" % (_DOMAIN, len(name), name, secret.encode("utf-8", "replace"))
    return hmac.digest(pepper, message, "sha256")


def admin_record(pepper: bytes, key: str, zone: str) -> KeyRecord:
    """The record of the first admin key, which no limit and no budget applies to.

    Args:
        pepper: what keys are hashed with.
        key: the whole key.
        zone: the highest zone there is.
    """
    return KeyRecord(
        id=ADMIN_KEY_ID,
        digest=digest(pepper, ADMIN_KEY_ID, key),
        tenant=ADMIN_TENANT,
        user=ADMIN_TENANT,
        roles=(Role.ADMIN,),
        zone=zone,
        tiers=tuple(Tier),
        unlimited=True,
    )


def tiers_of(roles: frozenset[Role], tiers: frozenset[Tier]) -> frozenset[Tier]:
    """The tiers that really can be asked for: who asks models as `batch` alone has one."""
    if roles <= {Role.BATCH}:
        return tiers & {Tier.BATCH}
    return tiers
