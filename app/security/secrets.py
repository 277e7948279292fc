"""The service's own secrets: one master key, from which all others are derived, and the admin key.

Both are taken from the environment, or made once and kept in files that nobody else may read.
"""

import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.errors import ConfigError
from app.security.keys import mint

MASTER_KEY_VARIABLE = "TIDEGATE_MASTER_KEY"
ADMIN_KEY_VARIABLE = "TIDEGATE_ADMIN_KEY"
MASTER_KEY_FILE = "master.key"
ADMIN_KEY_FILE = "admin.key"
LEAST_ADMIN_KEY = 32
MOST_ADMIN_KEY = 512

_SECRET_BYTES = 32
_HEX = re.compile(r"[0-9A-Fa-f]{64}")
# What an Authorization header can carry after `Bearer ` (b64token of RFC 6750, and a little more).
_SHOWABLE = re.compile(r"[!-~]+")
_TOKEN_LIKE = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)
_MOST_FILE = 4096
_READABLE_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class MasterSecret:
    """The root of the service's keyed hashes.

    Every process that hashes keys for one store must have the same one: where ledgers run on
    several nodes, set it by the environment.

    Args:
        secret: 32 bytes.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) != _SECRET_BYTES:
            raise ValueError(f"a master secret has {_SECRET_BYTES} bytes, not {len(secret)}")
        self._secret = secret

    def __repr__(self) -> str:
        return "MasterSecret(...)"

    @classmethod
    def load(cls, data_dir: str | Path, environ: Mapping[str, str]) -> "MasterSecret":
        """The secret of the environment, or of `data_dir/master.key`, which is made if missing.

        Args:
            data_dir: the directory for this node's secrets; made if missing.
            environ: the environment; `TIDEGATE_MASTER_KEY` is 64 hexadecimal digits.

        Raises:
            ConfigError: the variable or the file is not a key, or others may read the file.
        """
        given = environ.get(MASTER_KEY_VARIABLE)
        if given is not None:
            return cls(_unhex(given.strip(), MASTER_KEY_VARIABLE))
        path = Path(data_dir) / MASTER_KEY_FILE
        return cls(_unhex(_read_or_make(path, secrets.token_hex(_SECRET_BYTES)), str(path)))

    def derive(self, label: str) -> bytes:
        """32 bytes for one purpose, that tell nothing about those for another (HKDF-SHA256)."""
        info = b"tidegate/" + label.encode()
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self._secret)

    @property
    def check_value(self) -> int:
        """A number of 62 bits that tells two master secrets apart, and tells nothing else.

        Kept beside the keys, it shows that a process has another secret than the one they were
        hashed with, before every key is taken for a wrong one.
        """
        return int.from_bytes(self.derive("check value")[:8], "big") >> 2


def admin_key(data_dir: str | Path, environ: Mapping[str, str]) -> tuple[str, Path | None]:
    """The first admin key.

    Args:
        data_dir: the directory for this node's secrets; made if missing.
        environ: the environment; `TIDEGATE_ADMIN_KEY` may be any text of 32 to 512 characters
            that fits into a header.

    Returns:
        The key, and the file that it is in; None where it is from the environment.

    Raises:
        ConfigError: the variable or the file does not hold a key, or others may read the file.
    """
    given = environ.get(ADMIN_KEY_VARIABLE)
    if given is not None:
        return _admin_key(given, ADMIN_KEY_VARIABLE), None
    path = Path(data_dir) / ADMIN_KEY_FILE
    _, made = mint()
    return _admin_key(_read_or_make(path, made), str(path)), path


def _admin_key(text: str, source: str) -> str:
    if not LEAST_ADMIN_KEY <= len(text) <= MOST_ADMIN_KEY:
        raise _wrong(
            source,
            f"an admin key has {LEAST_ADMIN_KEY} to {MOST_ADMIN_KEY} characters, not {len(text)}; "
            "make one with: openssl rand -hex 32",
        )
    if not _SHOWABLE.fullmatch(text):
        raise _wrong(
            source,
            "an admin key is sent in a header, so it has visible ASCII characters only and no "
            "spaces; make one with: openssl rand -hex 32",
        )
    if _TOKEN_LIKE.fullmatch(text):
        raise _wrong(
            source,
            "an admin key of three parts with dots between would be taken for a token (JWT); "
            "make one with: openssl rand -hex 32",
        )
    return text


def _unhex(text: str, source: str) -> bytes:
    if not _HEX.fullmatch(text):
        raise _wrong(
            source,
            f"a master key is 64 hexadecimal digits; these are {len(text)} characters that are "
            "not; make one with: openssl rand -hex 32. A new one makes every API key invalid",
        )
    return bytes.fromhex(text)


def _read_or_make(path: Path, text: str) -> str:
    """The first line of the file; if there is none, `text` becomes it, for one process only."""
    try:
        found = _read(path)
        if found is None:
            _make(path, text)
            found = _read(path)
    except OSError as error:
        raise _wrong(
            str(path),
            f"it cannot be read or made: {error.strerror or type(error).__name__}; "
            "args.store.data_dir must be a directory that this process may write",
        ) from None
    if found is None:
        raise _wrong(str(path), "it vanished while it was being made")
    return found


def _read(path: Path) -> str | None:
    try:
        # Asked of the open file, so that it cannot be exchanged between the question and the use.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        _check_file(path, os.fstat(descriptor))
        content = os.read(descriptor, _MOST_FILE + 1)
    finally:
        os.close(descriptor)
    if len(content) > _MOST_FILE:
        raise _wrong(str(path), f"it is longer than {_MOST_FILE} bytes, so it is not a key")
    try:
        return content.decode("ascii").strip()
    except UnicodeDecodeError:
        raise _wrong(str(path), "it holds something else than a key in ASCII") from None


def _check_file(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _wrong(str(path), "it is not a plain file")
    if status.st_mode & _READABLE_BY_OTHERS:
        raise _wrong(
            str(path),
            f"others may read or write it (mode {stat.S_IMODE(status.st_mode):04o}); "
            f"if nobody has: chmod 600 {path}",
        )
    if status.st_uid not in {os.geteuid(), 0}:
        raise _wrong(
            str(path), f"it belongs to user {status.st_uid}; it must be this process's or root's"
        )


def _make(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(descriptor)
        try:
            # A link, unlike a rename, does not replace what another process has just made.
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _wrong(source: str, message: str) -> ConfigError:
    return ConfigError([(source, message)])
