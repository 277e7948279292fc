"""The key that signs checkpoints."""

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_FILE = "audit.key"
ENVIRONMENT = "TIDEGATE_AUDIT_KEY"

_SEED_BYTES = 32


class SigningKey:
    """An Ed25519 key. Its secret is neither printed nor pickled.

    Args:
        seed: the 32 secret bytes.
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) != _SEED_BYTES:
            raise ValueError(f"an Ed25519 key is made of {_SEED_BYTES} bytes, not {len(seed)}")
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._private.public_key().public_bytes_raw()
        """The 32 bytes that verify its signatures: to be pinned wherever the log is verified."""

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of a signature."""
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a signing key stays in the process that has loaded it")


def load_signing_key(
    data_dir: str | Path, environ: Mapping[str, str] | None = None, *, make: bool = True
) -> SigningKey:
    """The key of this node: from the environment, or from its file, which is made if need be.

    Ledgers on several nodes sign with the same key only if ``TIDEGATE_AUDIT_KEY`` gives them one;
    otherwise each node has its own, and whoever verifies pins them all.

    Args:
        data_dir: the directory for secrets; ``audit.key`` in it holds the seed as 64 hex digits.
        environ: the environment; this process's by default.
        make: whether to make the file if it is missing.

    Raises:
        ValueError: the variable or the file holds something else, or others may read the file.
        OSError: the file can be neither read nor made.
    """
    given = (os.environ if environ is None else environ).get(ENVIRONMENT, "").strip()
    if given:
        return SigningKey(_seed(given, ENVIRONMENT))
    path = Path(data_dir) / KEY_FILE
    try:
        return _read(path)
    except FileNotFoundError:
        if not make:
            raise
        _make(path)
    # Also where another process was first.
    return _read(path)


def _read(path: Path) -> SigningKey:
    # The permissions are those of the very file that is read.
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise ValueError(
                f"{path} may be read by others (mode {mode:04o}), so whoever has it could sign a "
                f"forged log: run `chmod 600 {path}`, or remove it to have a new key made"
            )
        text = file.read(1024).decode("ascii", "replace").strip()
    return SigningKey(_seed(text, str(path)))


def _seed(text: str, source: str) -> bytes:
    try:
        seed = bytes.fromhex(text)
    except ValueError:
        seed = b""
    if len(seed) != _SEED_BYTES:
        raise ValueError(
            f"{source} must hold {2 * _SEED_BYTES} hex digits, as `openssl rand -hex 32` prints "
            "them, and nothing else"
        )
    return seed


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(_SEED_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, leaves the key of a process that was faster.
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        temporary.unlink()
