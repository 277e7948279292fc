"""Which signatures and which sources of keys the configuration of tokens may name."""

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit


class KeyKind(NamedTuple):
    """The public keys that an algorithm verifies with."""

    type: str
    """`kty` of the key."""
    curve: str | None = None
    """`crv` of the key."""


_RSA = KeyKind("RSA")
_ED25519 = KeyKind("OKP", "Ed25519")
ALGORITHMS = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), _RSA),
    "ES256": KeyKind("EC", "P-256"),
    "ES384": KeyKind("EC", "P-384"),
    "ES512": KeyKind("EC", "P-521"),
    "EdDSA": _ED25519,
    "Ed25519": _ED25519,
}
"""Signature algorithms that can be allowed, all with a public key, by their names in `alg`."""


def check_algorithms(names: Iterable[str]) -> list[str]:
    """What is wrong with a list of allowed algorithms; nothing, if it is empty.

    Args:
        names: as in `access.jwt.algorithms`.
    """
    names = list(names)
    if not names:
        return ["name at least one algorithm, such as RS256"]
    return [problem for name in names if (problem := _problem(name)) is not None]


def _problem(name: str) -> str | None:
    if name in ALGORITHMS:
        return None
    choices = ", ".join(ALGORITHMS)
    if name.lower() == "none":
        return f"{name!r} would take unsigned tokens from anybody; choose from {choices}"
    if name.upper().startswith("HS"):
        return (
            f"{name!r} is symmetric: whoever has the provider's public key could sign with it; "
            f"choose from {choices}"
        )
    return f"{name!r} is not an algorithm that tokens can be verified with; choose from {choices}"


def check_location(location: str) -> list[str]:
    """What is wrong with the place of a provider's keys; nothing, if it is empty.

    Args:
        location: as in `access.jwt.jwks`: an `https://` URL, or a file.
    """
    if "://" not in location:
        return []
    try:
        parts = urlsplit(location)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        return [f"it is not a URL: {error}"]
    if parts.scheme != "https":
        way_out = "write an https:// URL, or the path of a file"
        return [f"keys read over {parts.scheme}:// could be replaced on their way; {way_out}"]
    if not named:
        return ["the URL names no host"]
    if parts.username is not None or parts.password is not None:
        return ["the URL holds a user or a password; public keys are read without"]
    return []
