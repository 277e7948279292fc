"""The keys that sign models and verify them, as PEM files."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.weights.bundle import is_p256

ENVIRONMENT = "TIDEGATE_SIGNING_PASSPHRASE"
"""The environment variable that private keys are encrypted and decrypted with."""


def make_keys(private: Path, public: Path, passphrase: str | None = None) -> None:
    """Make a P-256 key: a file for whoever signs, and one for the key rings of fleets.

    Args:
        private: Where the private key goes, readable by its owner alone; nothing may be there.
        public: Where the public key goes; what is there is replaced.
        passphrase: What the private key is encrypted with; it lies open without one.

    Raises:
        FileExistsError: There is a private key already.
        OSError: A file cannot be written.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    data = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    public.write_bytes(public_pem(key.public_key()))


def load_private(path: Path, passphrase: str | None = None) -> ec.EllipticCurvePrivateKey:
    """A private key from its file.

    Args:
        path: The file, in PEM.
        passphrase: What it is encrypted with, if it is.

    Raises:
        ValueError: It is no P-256 key, or the passphrase is not its.
        OSError: The file cannot be read.
    """
    data = path.read_bytes()
    password = passphrase.encode() if passphrase and b"ENCRYPTED" in data else None
    try:
        key = serialization.load_pem_private_key(data, password)
    except TypeError:
        raise ValueError(f"{path} is encrypted: set {ENVIRONMENT} to its passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(
            f"{path} is not a private key in PEM, or {ENVIRONMENT} is not its passphrase"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not is_p256(key):
        raise ValueError(
            f"{path} is not an ECDSA key on curve P-256: make one with `tidegate model keygen`"
        )
    return key


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key in PEM.

    Args:
        key: The key.
    """
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
