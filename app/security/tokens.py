"""Tokens of an identity provider (JWT, RFC 7519), checked as RFC 8725 advises.

What a token's header says is only used to pick one of the provider's own keys: the algorithm must
be allowed and must be the key's, and keys or addresses of keys in the header are never looked at.
"""

import hashlib
import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwa import JWSAlgModel

from app.config.tenancy import JwtConfig
from app.errors import InvalidToken
from app.security.algorithms import check_algorithms, check_location
from app.security.claims import ClaimsMap, timestamp
from app.security.identity import Identity
from app.security.jwks import KeySource

MOST_LENGTH = 8192
_MOST_REMEMBERED = 4096
_MOST_SUBJECT = 256
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """What a token proves.

    Attributes:
        identity: who shows it; the id of its key is still empty.
        subject: issuer and subject, which together name one party for ever.
        not_before: Unix time before which it is not valid, clock skew included.
        expires_at: Unix time from which it is not valid any more, clock skew included.
    """

    identity: Identity
    subject: str
    not_before: float
    expires_at: float


def looks_like_token(credential: str) -> bool:
    """Whether a credential is a signed token by its form, so that it is no API key."""
    return _TOKEN.fullmatch(credential) is not None


class TokenVerifier:
    """Verifies the tokens of one provider.

    Args:
        config: issuer, audience, keys and claims.
        zones: the fleet's zones, lowest first.
        clock: monotonic seconds, for the age of the provider's keys.

    Raises:
        ValueError: the configuration would let in what nobody signed.
    """

    def __init__(
        self,
        config: JwtConfig,
        zones: Sequence[str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        problems = check_algorithms(config.algorithms) + check_location(config.jwks)
        if problems:
            raise ValueError("; ".join(problems))
        self._config = config
        self._claims = ClaimsMap(config, zones)
        self._registry = _Registry(algorithms=config.algorithms, strict_check_header=False)
        self._keys = KeySource(config.jwks, config.jwks_refresh_s, clock=clock)
        # Verified ones alone, by their hash: junk takes no room, and no token is kept.
        self._verified: OrderedDict[bytes, VerifiedToken] = OrderedDict()
        self._generation = 0

    async def verify(self, token: str, now: float) -> VerifiedToken:
        """Checks a token; waits only where the provider's keys must be fetched.

        Args:
            token: as it was shown.
            now: Unix time.

        Raises:
            InvalidToken: it is not valid here and now; the message says in what way.
            StoreUnavailable: the provider's keys could not be read so far.
            Overloaded: too many requests wait for the provider already.
        """
        if len(token) > MOST_LENGTH:
            raise InvalidToken(f"the token is longer than {MOST_LENGTH} characters")
        await self._keys.refresh()
        if self._generation != self._keys.generation:
            # A key may have been withdrawn, and with it what it has signed.
            self._verified.clear()
            self._generation = self._keys.generation
        name = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        verified = self._verified.get(name)
        if verified is None:
            generation = self._generation
            verified = self._read(await self._payload(token))
            _check_time(verified, now)
            # Fetching a key may have made what is remembered another generation's.
            if generation == self._keys.generation:
                self._remember(name, verified)
        else:
            _check_time(verified, now)
            self._verified.move_to_end(name)
        return verified

    async def close(self) -> None:
        """Ends what is under way to the provider."""
        await self._keys.close()

    def _remember(self, name: bytes, verified: VerifiedToken) -> None:
        self._verified[name] = verified
        if len(self._verified) > _MOST_REMEMBERED:
            self._verified.popitem(last=False)

    async def _payload(self, token: str) -> dict[str, Any]:
        try:
            signed = jws.extract_compact(token.encode("ascii"), registry=self._registry)
        except (JoseError, ValueError, TypeError, RecursionError):
            raise InvalidToken("the token is not a signed JSON Web Token") from None
        algorithm, key_id = self._check_header(signed.protected)
        keys = await self._keys.keys(algorithm, key_id)
        if not keys:
            raise InvalidToken(
                "the token was signed with a key that the identity provider does not publish for "
                f"{algorithm}; ask it for a new token"
            )
        if not any(self._signed_by(signed, key.key) for key in keys):
            raise InvalidToken("the token's signature is not the identity provider's")
        try:
            payload = json.loads(signed.payload)
        except (ValueError, RecursionError):
            payload = None
        if not isinstance(payload, dict):
            raise InvalidToken("the token's claims are not a JSON object")
        return payload

    def _signed_by(self, signed: jws.CompactSignature, key: Any) -> bool:
        try:
            return jws.validate_compact(signed, key, registry=self._registry)
        except (JoseError, ValueError):
            return False

    def _check_header(self, header: Any) -> tuple[str, str | None]:
        if not isinstance(header, dict):
            raise InvalidToken("the token's header is not a JSON object")
        algorithm, key_id = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._config.algorithms:
            raise InvalidToken(
                "the token's signature algorithm is not one that this service takes: "
                + ", ".join(self._config.algorithms)
            )
        if "crit" in header or "b64" in header:
            raise InvalidToken("the token's header has critical extensions, of which none is known")
        if not isinstance(key_id, str | None):
            raise InvalidToken("the token's `kid` is not a string")
        kind = header.get("typ", "JWT")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            # A logout or DPoP token of the same provider is no proof of who asks.
            raise InvalidToken("the token's `typ` is that of another kind of token")
        return algorithm, key_id

    def _read(self, payload: dict[str, Any]) -> VerifiedToken:
        config = self._config
        if payload.get("iss") != config.issuer:
            raise InvalidToken("the token's issuer is not the one that this service trusts")
        audience = payload.get("aud")
        if audience != config.audience and not (
            isinstance(audience, list) and config.audience in audience
        ):
            raise InvalidToken("the token is for another audience than this service")
        expires_at = timestamp(payload, "exp")
        if expires_at is None:
            raise InvalidToken("the token has no `exp`: it would be valid for ever")
        beginnings = [timestamp(payload, name) for name in ("nbf", "iat")]
        identity = self._claims.identity(payload)
        subject = payload.get("sub", identity.user)
        if not isinstance(subject, str) or not 0 < len(subject) <= _MOST_SUBJECT:
            raise InvalidToken(f"the token's `sub` is not 1 to {_MOST_SUBJECT} characters")
        skew = config.clock_skew_s
        return VerifiedToken(
            identity=identity,
            subject=f"{len(config.issuer)}:{config.issuer}{subject}",
            not_before=max((at for at in beginnings if at is not None), default=0.0) - skew,
            expires_at=expires_at + skew,
        )


def _check_time(verified: VerifiedToken, now: float) -> None:
    if now >= verified.expires_at:
        raise InvalidToken("the token has expired; ask the identity provider for a new one")
    if now < verified.not_before:
        raise InvalidToken(
            "the token is not valid yet: its `nbf` or `iat` is in the future, by more than the "
            "clocks may differ"
        )


class _Registry(jws.JWSRegistry):
    """Takes the allowed algorithms alone, without a warning at each token.

    The library warns of `EdDSA`, since that name leaves the curve open. Here the key has decided
    it.
    """

    # The whole token is bounded already, and some providers put certificates into the header.
    max_header_length = MOST_LENGTH

    def get_alg(self, name: str) -> JWSAlgModel:
        if name not in (self.allowed or ()):
            raise ValueError("the algorithm is not allowed")
        return self.algorithms[name]
