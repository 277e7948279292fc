"""From a token's claims to an identity. What is unknown in them is refused, not passed over."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, TypeVar

from app.admission.tier import Tier
from app.config.tenancy import JwtConfig
from app.errors import InvalidToken
from app.security.identity import Identity, Role
from app.security.keys import tiers_of

_Choice = TypeVar("_Choice", bound=StrEnum)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_MOST_WORDS = 100
_MOST_WORD = 128
_LATEST = 253402300800.0  # the year 10000: no clock is that far ahead
_ABSENT = object()


class ClaimsMap:
    """Finds tenant, user, zone and rights where the configuration says they are.

    Args:
        config: the names of the claims.
        zones: the fleet's zones, lowest first.
    """

    def __init__(self, config: JwtConfig, zones: Sequence[str]) -> None:
        self._config = config
        self._zones = tuple(zones)

    def identity(self, payload: dict[str, Any]) -> Identity:
        """Who a token with these claims is from.

        Raises:
            InvalidToken: a claim is missing or not what it must be; the message names it.
        """
        config = self._config
        roles = _choices(payload, config.roles_claim, Role, {Role.DEVELOPER})
        tiers = _choices(payload, config.tiers_claim, Tier, {Tier.STANDARD, Tier.BATCH})
        return Identity(
            tenant=_name(payload, config.tenant_claim),
            user=_name(payload, config.user_claim),
            max_zone=self._zone(payload),
            roles=roles,
            models=_words(payload, config.models_claim),
            tiers=tiers_of(roles, tiers),
        )

    def _zone(self, payload: dict[str, Any]) -> str:
        claim = self._config.zone_claim
        value = _find(payload, claim)
        if value is _ABSENT:
            return self._zones[0]
        if not isinstance(value, str) or value not in self._zones:
            raise InvalidToken(
                f"the token's claim {claim!r} is not a zone of this service: "
                + ", ".join(self._zones)
            )
        return value


def timestamp(payload: dict[str, Any], claim: str) -> float | None:
    """The time in a claim, in Unix seconds; None where the claim is missing.

    Raises:
        InvalidToken: it is not a time.
    """
    value = payload.get(claim, _ABSENT)
    if value is _ABSENT:
        return None
    # Not a number is never between two numbers.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        raise InvalidToken(f"the token's `{claim}` is not a time in seconds since 1970")
    return float(value)


def _find(payload: dict[str, Any], claim: str) -> Any:
    # Some providers' claims are URLs, with dots that lead nowhere.
    if claim in payload:
        return payload[claim]
    value: Any = payload
    for part in claim.split("."):
        if not isinstance(value, dict) or part not in value:
            return _ABSENT
        value = value[part]
    return value


def _name(payload: dict[str, Any], claim: str) -> str:
    value = _find(payload, claim)
    if value is _ABSENT:
        raise InvalidToken(f"the token has no claim {claim!r}")
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InvalidToken(
            f"the token's claim {claim!r} must be 1 to 128 letters, digits or ._@+- and begin with "
            "a letter or digit; the service can be told to take another claim"
        )
    return value


def _words(payload: dict[str, Any], claim: str) -> frozenset[str] | None:
    """The words of a list, or of a text with spaces between; None where the claim is missing."""
    value = _find(payload, claim)
    if value is _ABSENT:
        return None
    words = value.split() if isinstance(value, str) else value
    if (
        not isinstance(words, list)
        or len(words) > _MOST_WORDS
        or not all(isinstance(word, str) and len(word) <= _MOST_WORD for word in words)
    ):
        raise InvalidToken(
            f"the token's claim {claim!r} must be a list of at most {_MOST_WORDS} words, or words "
            "with spaces between"
        )
    return frozenset(words)


def _choices(
    payload: dict[str, Any], claim: str, kind: type[_Choice], default: set[_Choice]
) -> frozenset[_Choice]:
    words = _words(payload, claim)
    if words is None:
        return frozenset(default)
    try:
        return frozenset(kind(word) for word in words)
    except ValueError:
        raise InvalidToken(
            f"the token's claim {claim!r} holds something else than {', '.join(kind)}"
        ) from None
