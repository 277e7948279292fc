"""Where engines and gateways read what is not weights: configuration, tokenizer, chat template.

They open those files by name, several times, long after they were checked. So they get copies that
nobody else writes, whose bytes were hashed before they were written.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from app.weights import durable
from app.weights.cache import address, writable
from app.weights.hashing import open_file
from app.weights.locks import FileLock
from app.weights.manifest import Manifest
from app.weights.safetensors_header import header_bytes
from app.weights.trees import remove_tree


def fill(
    cache_dir: Path, manifest: Manifest, read: Callable[[str], bytes], *, always: bool
) -> Path:
    """A folder with exactly the signed files that are no weights.

    Its path is the same for the same model, since vLLM keys what it has compiled by it. What is
    right there already is left alone, for others may be reading it.

    Args:
        cache_dir: The node's cache.
        manifest: What is signed.
        read: The verified bytes of a file, by its name.
        always: Whether to ask for those too of which there are copies already.

    Raises:
        WeightsUnavailable: The cache cannot be written.
    """
    name = address(manifest, manifest.files)
    folder = cache_dir / "config" / name
    with writable(cache_dir):
        (cache_dir / "locks").mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(cache_dir / "locks" / f"config-{name}").exclusive():
            remove_others(folder, {*manifest.others, *manifest.weights})
            for file in manifest.others:
                there = _is_there(folder / file, manifest.files[file])
                data = read(file) if always or not there else b""
                if not there:
                    (folder / file).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    durable.write(folder / file, data, mode=0o400)
    return folder


def add_headers(cache_dir: Path, manifest: Manifest, folder: Path, weights: Path) -> None:
    """Put the headers of the weight files, without their data, beside the configuration.

    vLLM finds there which layers are quantized and what else the configuration does not say. They
    are not verified here: the loader refuses a file whose header is another.

    Args:
        cache_dir: The node's cache.
        manifest: What is signed.
        folder: What `fill` gave.
        weights: Where the weight files lie, their headers checked.

    Raises:
        WeightsRefused: A header is too large.
        WeightsUnavailable: The cache cannot be written.
        OSError: A weight file cannot be read.
    """
    with (
        writable(cache_dir),
        FileLock(cache_dir / "locks" / f"config-{folder.name}").exclusive(),
    ):
        for name in manifest.weights:
            with open_file(weights / name) as file:
                header = header_bytes(file, os.fstat(file.fileno()).st_size)
            path = folder / name
            with contextlib.suppress(OSError):
                if durable.read(path, len(header)) == header:
                    continue
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            durable.write(path, header, mode=0o400)


def _is_there(path: Path, digest: bytes) -> bool:
    try:
        data = durable.read(path, path.lstat().st_size)
    except OSError:
        return False
    return hashlib.sha256(data).digest() == digest


def remove_others(folder: Path, names: set[str]) -> None:
    """Remove what was not signed, so that it is not read where it lies beside what was.

    Args:
        folder: Where the files are.
        names: The files that stay.

    Raises:
        OSError: It cannot be removed.
    """
    needed = {str(parent) for name in names for parent in Path(name).parents}
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        for name in folders:
            path = here / name
            if path.is_symlink():
                path.unlink()
            elif str(path.relative_to(folder)) not in needed:
                remove_tree(path)
        for name in files:
            if str((here / name).relative_to(folder)) not in names:
                (here / name).unlink()
