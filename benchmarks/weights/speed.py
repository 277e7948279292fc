"""How fast folders are signed and verified, against SHA-256 on one thread.

::

    python -m benchmarks.weights.speed DIRECTORY --gib 1 --files 4 --out speed.json

makes files of random tensors in the directory, and hashes them: from memory on one thread, file by
file on one thread, and as `tidegate model sign` and `verify` do, with and without the page cache.
"""

import datetime as dt
import hashlib
import json
import os
import statistics
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric import ec

from app.config.weights import TrustedKey
from app.weights.hashing import hash_file
from app.weights.key_files import public_pem
from app.weights.manifest import SIGNATURE_FILE
from app.weights.ring import KeyRing
from app.weights.signing import sign_model, verify_model

GIB = 1024**3
BLOCK = 64 * 1024**2


def make(folder: Path, gib: float, files: int) -> int:
    """Write a model of random bytes; says how many."""
    folder.mkdir(parents=True, exist_ok=True)
    size = int(gib * GIB) // files
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    for number in range(files):
        with (folder / f"model-{number:05}.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            for start in range(0, size, BLOCK):
                file.write(os.urandom(min(BLOCK, size - start)))
            file.flush()
            os.fsync(file.fileno())
    return files * (8 + len(header) + size)


def drop_from_cache(folder: Path) -> None:
    """Have the kernel forget a folder's files, so that they are read from the disk again."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main(
    directory: Annotated[Path, typer.Argument(help="Where the files are made.")],
    gib: Annotated[float, typer.Option(help="Size of all files.")] = 1.0,
    files: Annotated[int, typer.Option(help="Number of files.")] = 4,
    runs: Annotated[int, typer.Option(help="Runs of each kind, in turn.")] = 5,
    out: Annotated[Path | None, typer.Option(help="Where the figures go, as JSON.")] = None,
) -> None:
    """Measure signing and verifying."""
    folder = directory / f"random-{files}"
    size = make(folder, gib, files)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = public_pem(key.public_key()).decode()
    ring = KeyRing([TrustedKey(id="benchmark", public_key=pem)])
    block = os.urandom(BLOCK)

    def in_memory() -> None:
        digest = hashlib.sha256()
        for start in range(0, size, BLOCK):
            digest.update(block[: min(BLOCK, size - start)])

    def file_by_file() -> None:
        for path in folder.iterdir():
            hash_file(path)

    def sign() -> None:
        sign_model(folder, "random", 1, key)

    def verify() -> None:
        verify_model(folder, ring, model="random", now=dt.datetime.now(dt.UTC))

    kinds: list[tuple[str, bool, Callable[[], None]]] = [
        ("one thread, from memory", False, in_memory),
        ("one thread, from files, warm", False, file_by_file),
        ("sign, warm", False, sign),
        ("verify, warm", False, verify),
        ("sign, cold", True, sign),
        ("verify, cold", True, verify),
    ]
    sign()
    took: dict[str, list[float]] = {name: [] for name, _, _ in kinds}
    for _ in range(runs):
        for name, cold, what in kinds:
            if cold:
                drop_from_cache(folder)
            begun = time.perf_counter()
            what()
            took[name].append(time.perf_counter() - begun)
    (folder / SIGNATURE_FILE).unlink()
    speeds = {name: size / GIB / statistics.median(times) for name, times in took.items()}
    for name, speed in speeds.items():
        print(f"{name}: {speed:.2f} GiB/s")
    if out is not None:
        document = {
            "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "bytes": size,
            "files": files,
            "cores": len(os.sched_getaffinity(0)),
            "gib_per_s": speeds,
            "seconds": took,
        }
        out.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
