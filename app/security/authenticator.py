"""From an `Authorization` header to an identity, asking nobody.

A wrong key costs one keyed hash and leaves nothing behind. A key that the directory does not hold
is hashed like any other, against the first admin key, so that the time of the answer does not tell
which ids there are.
"""

import hmac
from collections.abc import Iterable
from dataclasses import replace

from app.errors import InvalidKey, KeyExpired, KeyRevoked, LedgerUnavailable, MissingKey
from app.security.directory import Directory
from app.security.identity import Identity
from app.security.keys import ADMIN_KEY_ID, digest, parse
from app.security.tokens import TokenVerifier, looks_like_token

_HEADER = b"authorization"
_SCHEME = "bearer"
_MOST_CREDENTIAL = 8192
_MISSING = "send your API key in the header `Authorization: Bearer KEY`"
_NOWHERE = bytes(32)


def authorization_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The value of the one `Authorization` header; None where there is none.

    Args:
        headers: of the ASGI request, with lower-case names.

    Raises:
        InvalidKey: there are several, of which a proxy in front may have read another one.
    """
    found = [value for name, value in headers if name == _HEADER]
    if len(found) > 1:
        raise InvalidKey(f"the request has {len(found)} Authorization headers; send one")
    return found[0].decode("latin-1") if found else None


class Authenticator:
    """Checks keys against the directory, and tokens with the identity provider's public keys.

    Args:
        directory: the gateway's copy of all keys.
        tokens: the verifier of tokens; None where only keys are taken.
    """

    def __init__(self, directory: Directory, tokens: TokenVerifier | None = None) -> None:
        self._directory = directory
        self._tokens = tokens

    async def authenticate(self, authorization: str | None, now: float) -> Identity:
        """Who shows this key or token. Waits only where a provider's keys must be fetched.

        Args:
            authorization: value of the header; None where there is none.
            now: Unix time.

        Raises:
            MissingKey: there is no credential in the header.
            InvalidKey: it is not a key of this service.
            KeyExpired: it was one.
            KeyRevoked: it was one until it was withdrawn.
            InvalidToken: it is a token that is not valid here and now.
            LedgerUnavailable: the directory has not come yet.
        """
        credential = _credential(authorization)
        if self._tokens is not None and looks_like_token(credential):
            return await self._with_token(self._tokens, credential, now)
        return self._with_key(credential, now)

    def identify(self, authorization: str | None, now: float) -> Identity:
        """As `authenticate`, for keys alone, and without ever waiting."""
        return self._with_key(_credential(authorization), now)

    async def identify_token(self, authorization: str | None, now: float) -> Identity:
        """As `authenticate`, for tokens alone."""
        credential = _credential(authorization)
        if self._tokens is None:
            raise InvalidKey("this service takes API keys, no tokens")
        return await self._with_token(self._tokens, credential, now)

    def _with_key(self, credential: str, now: float) -> Identity:
        directory = self._directory
        pepper = _pepper_of(directory)
        key_id, secret = parse(credential) or ("", credential)
        entry = directory.entry(key_id)
        if entry is None:
            # The admin key may be any text at all, one that looks like other keys included.
            key_id, secret, entry = ADMIN_KEY_ID, credential, directory.entry(ADMIN_KEY_ID)
        expected = _NOWHERE if entry is None else entry.digest
        matches = hmac.compare_digest(digest(pepper, key_id, secret), expected)
        if entry is None or not matches:
            raise InvalidKey(
                "the API key is not one of this service; check that it was copied whole, or ask "
                "an operator for a new one"
            )
        if entry.revoked_at is not None:
            raise KeyRevoked(f"the API key {key_id} was revoked; ask an operator for a new one")
        if entry.expires_at is not None and now >= entry.expires_at:
            raise KeyExpired(f"the API key {key_id} has expired; ask an operator for a new one")
        return directory.weighted(entry.identity)

    async def _with_token(self, tokens: TokenVerifier, credential: str, now: float) -> Identity:
        verified = await tokens.verify(credential, now)
        # Keyed, lest the id in records that outlive a user be found by trying names.
        pepper = _pepper_of(self._directory)
        key = f"jwt-{digest(pepper, 'jwt', verified.subject).hex()[:32]}"
        return self._directory.weighted(replace(verified.identity, key=key))


def _pepper_of(directory: Directory) -> bytes:
    if directory.pepper is None:
        raise LedgerUnavailable("this gateway has not received the keys yet; try again")
    return directory.pepper


def _credential(authorization: str | None) -> str:
    scheme, _, credential = (authorization or "").strip(" \t").partition(" ")
    credential = credential.lstrip(" ")
    if not credential or scheme.lower() != _SCHEME:
        raise MissingKey(
            _MISSING
            if not scheme or scheme.lower() == _SCHEME
            else f"{_MISSING}; no other scheme is taken"
        )
    if len(credential) > _MOST_CREDENTIAL:
        raise InvalidKey(
            f"the Authorization header is longer than {_MOST_CREDENTIAL} characters, which no "
            "key or token of this service is"
        )
    return credential
