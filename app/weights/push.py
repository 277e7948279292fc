"""Signed models, moved: pushed to where fleets fetch them, pulled from there into a folder."""

import datetime as dt
import shutil
from dataclasses import dataclass
from pathlib import Path

from app.errors import WeightsUnavailable
from app.weights import bundle, config_folder, contents, durable, signing
from app.weights.counting import Progress, counter
from app.weights.destination import Destination
from app.weights.hashing import Advance, hash_tree
from app.weights.locks import FileLock
from app.weights.manifest import SIGNATURE_FILE, Manifest
from app.weights.place import Place, read_checked, readable
from app.weights.ring import KeyRing
from app.weights.statement import manifest_of


@dataclass(frozen=True, slots=True)
class Checked:
    """A folder whose files are what its signature says."""

    folder: Path
    signature: bytes
    manifest: Manifest
    bytes: int
    """Of all its files but the signature."""


def check(
    folder: Path,
    *,
    ring: KeyRing | None = None,
    model: str | None = None,
    least_version: int = 0,
    now: dt.datetime | None = None,
    progress: Progress | None = None,
) -> Checked:
    """Hash a signed folder before it is pushed.

    Args:
        folder: The model's folder.
        ring: Whose signatures are believed; without one, only that the files match is checked.
        model: The model's name, for the ring; by default what the signature says.
        least_version: The version below which the ring refuses it.
        now: The time at which keys must be valid; by default it is asked for.
        progress: Told of the bytes that are hashed, from several threads.

    Raises:
        WeightsRefused: The folder is not what was signed.
        WeightsUnavailable: It cannot be read.
    """
    with readable(folder):
        data = signing.read_signature(folder)
        manifest = manifest_of(bundle.read(data).statement)
        if ring is not None:
            manifest = ring.verify(
                data,
                model=model or manifest.name,
                least_version=least_version,
                now=now or dt.datetime.now(dt.UTC),
            )
        contents.check_tree(folder, manifest)
        contents.check_headers(folder, manifest.weights)
        total = sum((folder / name).lstat().st_size for name in manifest.files)
        count = counter(progress, total)
        signing.check_digests(manifest, hash_tree(folder, manifest.files, progress=count))
    return Checked(folder, data, manifest, total)


def push(
    checked: Checked,
    destination: Destination,
    *,
    replace: bool = False,
    progress: Progress | None = None,
) -> None:
    """Copy a model to where fleets fetch it.

    The signature goes last, and goes first where there is one already: what is half there never
    verifies. A push that broke off is simply begun again.

    Args:
        checked: The model.
        destination: Where it goes.
        replace: Whether it may take the place of a model that is there; files that it does not have
            are removed then.
        progress: Told of the bytes that are written, possibly from several threads.

    Raises:
        ValueError: Another model is there.
        WeightsUnavailable: The destination cannot be written.
    """
    manifest = checked.manifest
    there = set(destination.names())
    others = sorted(there - manifest.files.keys() - {SIGNATURE_FILE})
    if not replace and (others or SIGNATURE_FILE in there):
        raise ValueError(
            f"there is {others[0] if others else 'a signed model'!r} at the destination already: "
            "push each version to a place of its own, or say --replace, with which replicas that "
            "start meanwhile are refused the model"
        )
    if SIGNATURE_FILE in there:
        destination.remove(SIGNATURE_FILE)
    count = counter(progress, checked.bytes)
    for name in (*manifest.weights, *manifest.others):
        destination.put(name, checked.folder / name, count)
    for name in others:
        destination.remove(name)
    destination.write(SIGNATURE_FILE, checked.signature)


def pull(
    place: Place,
    folder: Path,
    *,
    ring: KeyRing,
    model: str,
    least_version: int = 0,
    now: dt.datetime | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Copy a model from where it was pushed to, once it is verified, and verify every byte of it.

    The folder appears when it is whole. A pull that broke off goes on where it was.

    Args:
        place: Where the model is.
        folder: Where it goes; it must not be there yet, or be empty.
        ring: Whose signatures are believed.
        model: The model's name.
        least_version: The version below which it is refused.
        now: The time at which keys must be valid; by default it is asked for.
        progress: Told of the bytes that are there, from this thread.

    Returns:
        What is signed.

    Raises:
        ValueError: There is something in the folder, or somebody else is pulling into it.
        WeightsRefused: It is not what somebody who is trusted has signed.
        WeightsUnavailable: It cannot be read, or the folder not be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already: name one that is not, or that is empty")
    data = place.signature()
    now = now or dt.datetime.now(dt.UTC)
    manifest = ring.verify(data, model=model, least_version=least_version, now=now)
    place.check(manifest)
    incoming = folder.with_name(f".{folder.name}.incoming")
    try:
        for path in (incoming / "files", incoming / "parts"):
            path.mkdir(parents=True, exist_ok=True)
        with FileLock(incoming / "lock") as lock:
            if not lock.try_exclusive():
                raise ValueError(f"another process is pulling into {folder}: wait for it")
            _bring(place, manifest, incoming, counter(progress, place.size_of(manifest.files)))
            durable.write(incoming / "files" / SIGNATURE_FILE, data, mode=0o644)
            (incoming / "files").replace(folder)
            shutil.rmtree(incoming)
            durable.sync(folder.parent)
    except OSError as error:
        raise WeightsUnavailable(
            f"{str(folder)!r} cannot be written: {error.strerror or error}. Pull into a folder "
            "that this user may write, on a disk with room for the model."
        ) from error
    return manifest


def _bring(place: Place, manifest: Manifest, incoming: Path, count: Advance) -> None:
    files = incoming / "files"
    # An earlier pull may have been of another version.
    config_folder.remove_others(files, set(manifest.files))
    for name in manifest.others:
        data = read_checked(place, manifest, name)
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        durable.write(files / name, data, mode=0o644)
        count(len(data))
    place.fetch(manifest, incoming, count)
    contents.check_headers(files, manifest.weights)
    for name in manifest.weights:
        (files / name).chmod(0o644)
