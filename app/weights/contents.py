"""What may lie in a model's folder: the files that were signed, and of those no code.

Code is refused even where it is signed. Nothing here runs it, but a model's folder is where other
programs would, and a key that signs weights must not be one that signs programs.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from app.errors import WeightsRefused
from app.weights import safetensors_header
from app.weights.file_types import HEAD_BYTES, check_beginning, check_names
from app.weights.hashing import open_file
from app.weights.manifest import MAX_FILES, SIGNATURE_FILE, Manifest, check_name
from app.weights.refusal import Reason, refuse
from app.weights.statement import IGNORED

__all__ = [
    "HEAD_BYTES",
    "PLAIN_LIMIT",
    "check_beginning",
    "check_headers",
    "check_names",
    "check_tree",
    "files_of",
]

PLAIN_LIMIT = 256 * 1024 * 1024
"""Most bytes of a file that is no weights: configuration, tokenizer, chat template."""


def check_tree(root: Path, manifest: Manifest) -> None:
    """Check that a folder holds the signed files and no others, and none of a refused type or size.

    Sizes are compared where they were signed; digests are not, so that nothing is read twice.

    Args:
        root: The model's folder.
        manifest: What was signed, verified before.

    Raises:
        WeightsRefused: It does not; the reason says why.
        OSError: The folder or a file cannot be read.
    """
    check_names(manifest.files)
    found = dict(files_of(root, keep=manifest.files))
    extra, missing = sorted(found.keys() - manifest.files), sorted(manifest.files - found.keys())
    if extra:
        raise refuse(
            Reason.EXTRA_FILE,
            f"{root} holds {_some(extra)}, which nobody signed: remove what does not belong to the "
            "model, or sign it again.",
        )
    if missing:
        raise refuse(
            Reason.MISSING_FILE,
            f"{root} lacks {_some(missing)}, which was signed: fetch the model again.",
        )
    for name, size in manifest.sizes.items():
        if found[name] != size:
            raise refuse(
                Reason.CHANGED_FILE,
                f"{root / name} has {found[name]:,} bytes, and {size:,} were signed: fetch the "
                "model again.",
            )
    for name in manifest.others:
        if found[name] > PLAIN_LIMIT:
            raise refuse(
                Reason.FORBIDDEN_TYPE,
                f"{name!r} has {found[name]:,} bytes, more than the {PLAIN_LIMIT:,} of a file that "
                "is not safetensors: leave it out of the model, and sign it again.",
            )
        with open_file(root / name) as file:
            check_beginning(name, file.read(HEAD_BYTES))


def check_headers(root: Path, names: Iterable[str]) -> None:
    """Check the headers of safetensors files.

    Args:
        root: The model's folder.
        names: The files, relative to it.

    Raises:
        WeightsRefused: One is too large or not well formed; the message names the file.
        OSError: One cannot be read.
    """
    for name in names:
        with open_file(root / name) as file:
            try:
                safetensors_header.read_header(file, os.fstat(file.fileno()).st_size)
            except WeightsRefused as error:
                raise refuse(Reason(error.reason), f"{root / name}: {error.message}") from None


def files_of(root: Path, keep: Iterable[str] = ()) -> Iterator[tuple[str, int]]:
    """Every file of a model's folder with its size, but for the signature.

    What version control leaves beside a model is left out, as model-signing leaves it out.

    Args:
        root: The folder.
        keep: Names of what was signed, which is not left out.

    Raises:
        WeightsRefused: There is a link or a special file, a name that is none, or too many files.
        OSError: A folder cannot be read.
    """
    skipped = frozenset((SIGNATURE_FILE, *IGNORED)).difference(name.split("/")[0] for name in keep)
    for count, (name, status) in enumerate(_walk(root, "", skipped)):
        if count == MAX_FILES:
            raise refuse(
                Reason.EXTRA_FILE,
                f"{root} holds more than {MAX_FILES:,} files: a model may not have so many.",
            )
        yield name, status.st_size


def _walk(
    folder: Path, prefix: str, skipped: frozenset[str]
) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            if name in skipped:
                continue
            check_name(name)
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                yield from _walk(folder / entry.name, f"{name}/", skipped)
            elif stat.S_ISREG(status.st_mode):
                yield name, status
            else:
                what = "a link" if stat.S_ISLNK(status.st_mode) else "neither file nor folder"
                raise refuse(
                    Reason.LINK,
                    f"{folder / entry.name} is {what}: put the file itself there, and sign the "
                    "model again if it was signed with something else in its place.",
                )


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
