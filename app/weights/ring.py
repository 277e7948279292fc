"""The key ring: whose signature on which model is believed, and down to which version.

A core: the bundle's bytes and the time go in, a manifest or a refusal comes out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.config.weights import TrustedKey
from app.errors import ConfigError
from app.weights import bundle
from app.weights.manifest import Manifest
from app.weights.refusal import Reason, refuse
from app.weights.statement import manifest_of


@dataclass(frozen=True, slots=True)
class _Key:
    trusted: TrustedKey
    public: ec.EllipticCurvePublicKey

    def has_signed(self, signed: bundle.Signed) -> bool:
        try:
            self.public.verify(signed.signature, signed.message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


class KeyRing:
    """The keys whose signatures are believed, each within its limits.

    Args:
        keys: The configured keys, each `public_key` a PEM by now.

    Raises:
        ConfigError: One is not an ECDSA P-256 public key, or two are the same.
    """

    def __init__(self, keys: Sequence[TrustedKey]) -> None:
        self._by_hint: dict[str, _Key] = {}
        for index, trusted in enumerate(keys):
            path = f"weights.keys[{index}].public_key"
            public = _public_key(trusted.public_key, path)
            hint = bundle.key_hint(public)
            if hint in self._by_hint:
                other = self._by_hint[hint].trusted.id
                message = f"{trusted.id!r} is the same key as {other!r}: leave one of them out"
                raise ConfigError([(path, message)])
            self._by_hint[hint] = _Key(trusted, public)

    def verify(self, data: bytes, *, model: str, least_version: int, now: datetime) -> Manifest:
        """The manifest in a bundle, if somebody who may do so has signed it.

        Nothing that the statement says is looked at before the signature on it is verified.

        Args:
            data: The bundle's bytes.
            model: Name of the model that is to be loaded.
            least_version: The version below which it is refused; a bundle without one counts as 0.
            now: The time, with its zone.

        Raises:
            WeightsRefused: It is not to be believed; the reason says why.
        """
        signed = bundle.read(data)
        key = self._signer(signed).trusted
        if key.revoked:
            raise refuse(
                Reason.REVOKED_KEY,
                f"{model!r} was signed with key {key.id!r}, which is revoked: sign it with another "
                "key, once it is sure that the model is the right one.",
            )
        if key.expires_at is not None and now >= key.expires_at:
            raise refuse(
                Reason.EXPIRED_KEY,
                f"{model!r} was signed with key {key.id!r}, which expired on "
                f"{key.expires_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC: sign it with another key.",
            )
        if not key.usable_for(model, now):
            raise refuse(
                Reason.KEY_NOT_FOR_MODEL,
                f"{model!r} was signed with key {key.id!r}, which may sign "
                f"{', '.join(key.models or ()) or 'nothing'}: sign it with a key of its own, or "
                f"add it to the key's `models` in `weights.keys`.",
            )
        manifest = manifest_of(signed.statement)
        _check_name_and_version(manifest, model, least_version)
        return manifest

    def key_of(self, data: bytes) -> str:
        """Id of the key that has signed a bundle, for logs; whether it may is not asked.

        Args:
            data: The bundle's bytes.

        Raises:
            WeightsRefused: No key of the ring has signed it.
        """
        return self._signer(bundle.read(data)).trusted.id

    def _signer(self, signed: bundle.Signed) -> _Key:
        if signed.hint is None:
            for key in self._by_hint.values():
                if key.has_signed(signed):
                    return key
            raise refuse(
                Reason.UNKNOWN_KEY,
                f"None of the {len(self._by_hint)} keys in `weights.keys` has signed the model: "
                "add the key that did, if you trust it.",
            )
        found = self._by_hint.get(signed.hint)
        if found is None:
            raise refuse(
                Reason.UNKNOWN_KEY,
                f"The model was signed with a key that is not in `weights.keys` (SHA-256 of its "
                f"PEM: {signed.hint}): add it, if you trust it.",
            )
        if not found.has_signed(signed):
            raise refuse(
                Reason.BAD_SIGNATURE,
                f"The signature is not that of key {found.trusted.id!r} on this statement: it was "
                "changed after it was signed. Fetch the model again from where it was signed.",
            )
        return found


def _public_key(pem: str, path: str) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError([(path, "is not a public key in PEM")]) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not bundle.is_p256(key):
        message = "is not an ECDSA key on curve P-256: make one with `tidegate model keygen`"
        raise ConfigError([(path, message)])
    return key


def _check_name_and_version(manifest: Manifest, model: str, least_version: int) -> None:
    # Others' statements carry the name of a folder, which says nothing.
    if manifest.version is not None and manifest.name != model:
        raise refuse(
            Reason.OTHER_MODEL,
            f"What was signed is {manifest.name[:200]!r}, not {model!r}: name the right source, or "
            f"sign the folder as {model!r} with `tidegate model sign --name`.",
        )
    if manifest.counted_version < least_version:
        shown = "no version" if manifest.version is None else f"version {manifest.version}"
        raise refuse(
            Reason.OLDER_VERSION,
            f"{model!r} was signed with {shown}, and must be version {least_version} or later: "
            "versions only go up. To go back to older weights, sign them with a higher version.",
        )
