"""A model's folder, signed and verified whole."""

import os
import secrets
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from app.weights import bundle, contents
from app.weights.hashing import Advance, hash_tree, open_file
from app.weights.manifest import SIGNATURE_FILE, Manifest
from app.weights.refusal import Reason, refuse
from app.weights.ring import KeyRing
from app.weights.statement import check_version

Progress = Callable[[int, int], None]
"""Told how many bytes of how many have been hashed; called from several threads, one at a time."""


def sign_model(
    root: Path,
    name: str,
    version: int,
    private_key: ec.EllipticCurvePrivateKey,
    progress: Progress | None = None,
) -> Path:
    """Sign every file of a folder, and write the signature into it.

    What would be refused when the model is loaded is refused here: nothing else is signed.

    Args:
        root: The model's folder. Nothing may write to it meanwhile.
        name: Name of the model, as fleets configure it.
        version: Its version, from 1; the next one must be higher.
        private_key: A P-256 key.
        progress: Told of bytes as they are hashed.

    Returns:
        The file with the signature.

    Raises:
        WeightsRefused: The folder holds what no fleet would load.
        ValueError: The version or the key is none that can be used.
        OSError: A file cannot be read, or the signature not written.
    """
    check_version(version)
    sizes = dict(contents.files_of(root))
    if not sizes:
        raise refuse(Reason.MISSING_FILE, f"There is nothing to sign in {root}.")
    draft = Manifest(name, dict.fromkeys(sizes, b""), sizes, version)
    contents.check_tree(root, draft)
    contents.check_headers(root, draft.weights)
    digests = hash_tree(root, draft.files, progress=_counted(progress, sum(sizes.values())))
    data = bundle.sign(Manifest(name, digests, sizes, version), private_key)
    return _write(root / SIGNATURE_FILE, data)


def read_signature(root: Path) -> bytes:
    """The signature in a model's folder, as it is.

    Args:
        root: The folder.

    Raises:
        WeightsRefused: There is none, or it is too large or a link.
        OSError: It cannot be read.
    """
    path = root / SIGNATURE_FILE
    if not os.path.lexists(path):
        raise refuse(
            Reason.UNSIGNED,
            f"{root} is not signed: there is no {SIGNATURE_FILE}. Sign it with `tidegate model "
            "sign`, or fetch it from where it was signed.",
        )
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > bundle.MAX_BUNDLE:
            raise refuse(
                Reason.MALFORMED,
                f"{path} has {size:,} bytes, more than {bundle.MAX_BUNDLE:,}: it is no signature.",
            )
        return file.read(bundle.MAX_BUNDLE + 1)


def verify_model(
    root: Path,
    ring: KeyRing,
    *,
    model: str,
    least_version: int = 0,
    now: datetime,
    progress: Progress | None = None,
) -> Manifest:
    """Verify a folder whole: signature, files, headers, digests.

    Args:
        root: The model's folder.
        ring: Whose signatures are believed.
        model: Name of the model.
        least_version: The version below which it is refused.
        now: The time, with its zone.
        progress: Told of bytes as they are hashed.

    Returns:
        What was signed.

    Raises:
        WeightsRefused: The folder is not what somebody who may do so has signed.
        OSError: A file cannot be read.
    """
    manifest = ring.verify(read_signature(root), model=model, least_version=least_version, now=now)
    contents.check_tree(root, manifest)
    contents.check_headers(root, manifest.weights)
    total = sum((root / name).stat().st_size for name in manifest.files)
    check_digests(manifest, hash_tree(root, manifest.files, progress=_counted(progress, total)))
    return manifest


def check_digests(manifest: Manifest, digests: dict[str, bytes]) -> None:
    """Compare what files hash to with what was signed.

    Args:
        manifest: What was signed, verified before.
        digests: SHA-256 of files by name; those of other files are not looked at.

    Raises:
        WeightsRefused: One differs.
    """
    for name, digest in digests.items():
        if digest != manifest.files[name]:
            raise refuse(
                Reason.CHANGED_FILE,
                f"{name!r} is not the file that was signed (SHA-256 {digest.hex()}, signed was "
                f"{manifest.files[name].hex()}): fetch the model again.",
            )


def _counted(progress: Progress | None, total: int) -> Advance | None:
    if progress is None:
        return None
    lock = threading.Lock()
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        with lock:
            done += count
            progress(done, total)

    return advance


def _write(path: Path, data: bytes) -> Path:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path
