"""Ways to tamper with a signed model, none of which may be accepted.

Each mutation is made to a copy of the signed folder, and changes something that the signature
covers: spaces in the bundle's JSON are nobody's.
"""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from app.weights.manifest import SIGNATURE_FILE, WEIGHTS_SUFFIX
from benchmarks.weights import forgeries

Kind = Callable[[Path, random.Random], None]


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change."""

    name: str
    """Its kind."""
    seed: int
    weights_only: bool
    """Whether it leaves names, sizes and every other file as they are, so that it can also be made
    after a model has been checked and before it is loaded."""
    _kind: Kind

    def apply(self, root: Path) -> None:
        """Make the change.

        Args:
            root: A copy of the signed folder, which must be writable.
        """
        self._kind(root, random.Random(self.seed))


def mutations(signed: Path, rng: random.Random) -> Iterator[Mutation]:
    """Mutations without end, every kind in turn, each with a place of its own.

    Args:
        signed: The signed folder; kinds that it has nothing for are left out.
        rng: Where the places come from.
    """
    kinds = {**_IN_WEIGHTS, **_ANYWHERE}
    if len(_files(signed, "")) < 2 or not _files(signed, WEIGHTS_SUFFIX):
        raise ValueError(f"{signed} needs weights and another file")
    while True:
        for name, kind in kinds.items():
            yield Mutation(name, rng.getrandbits(64), name in _IN_WEIGHTS, kind)


def _files(root: Path, suffix: str) -> list[Path]:
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file()
        and path.stat().st_size
        and path.name != SIGNATURE_FILE
        and path.name.endswith(suffix)
    )


def _weights(root: Path, rng: random.Random) -> Path:
    return rng.choice(_files(root, WEIGHTS_SUFFIX))


def _any(root: Path, rng: random.Random) -> Path:
    return rng.choice(_files(root, ""))


def _other(root: Path, rng: random.Random) -> Path:
    plain = [path for path in _files(root, "") if path.suffix != WEIGHTS_SUFFIX]
    return rng.choice(plain)


def _data_start(path: Path) -> int:
    with path.open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


def _patch(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def _at(path: Path, at: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(at)
        return file.read(count)


def _flip(path: Path, at: int, rng: random.Random) -> None:
    _patch(path, at, bytes([_at(path, at, 1)[0] ^ (1 << rng.randrange(8))]))


def flip_bit_in_tensor(root: Path, rng: random.Random) -> None:
    path = _weights(root, rng)
    _flip(path, rng.randrange(_data_start(path), path.stat().st_size), rng)


def flip_last_bit(root: Path, rng: random.Random) -> None:
    path = _weights(root, rng)
    _flip(path, path.stat().st_size - 1, rng)


def overwrite_block(root: Path, rng: random.Random) -> None:
    path = _weights(root, rng)
    start, size = _data_start(path), path.stat().st_size
    at = rng.randrange(start, size)
    count = min(4096, size - at)
    before = _at(path, at, count)
    _patch(path, at, bytes(byte ^ 0x55 for byte in before))


def exchange_two_ranges(root: Path, rng: random.Random) -> None:
    path = _weights(root, rng)
    start, size = _data_start(path), path.stat().st_size
    count = min(256, (size - start) // 2)
    one = rng.randrange(start, size - 2 * count + 1)
    two = rng.randrange(one + count, size - count + 1)
    left, right = _at(path, one, count), _at(path, two, count)
    if left == right:
        right = bytes(byte ^ 1 for byte in right)
    _patch(path, one, right)
    _patch(path, two, left)


def replace_all_tensors(root: Path, rng: random.Random) -> None:
    path = _weights(root, rng)
    start, size = _data_start(path), path.stat().st_size
    _patch(path, start, rng.randbytes(size - start))


def replace_file_by_rename(root: Path, rng: random.Random) -> None:
    # A fresh inode: whoever holds the old one open does not see it, whoever opens anew does.
    path = _weights(root, rng)
    copy = path.with_name(f"{path.name}.tmp")
    shutil.copyfile(path, copy)
    _flip(copy, rng.randrange(_data_start(copy), copy.stat().st_size), rng)
    copy.replace(path)


def flip_bit_in_header(root: Path, rng: random.Random) -> None:
    path = _weights(root, rng)
    _flip(path, rng.randrange(8, _data_start(path)), rng)


def exchange_tensor_names(root: Path, rng: random.Random) -> None:
    path = _weights(root, rng)
    text = _at(path, 8, _data_start(path) - 8)
    document = json.loads(text)
    names = [name for name in document if name != "__metadata__"]
    name = rng.choice(names)
    same = [other for other in names if len(other) == len(name) and other != name]
    other = rng.choice(same) if same else name[:-1] + ("x" if name[-1] != "x" else "y")
    swapped = text.replace(f'"{name}"'.encode(), b'"\0"').replace(
        f'"{other}"'.encode(), f'"{name}"'.encode()
    )
    _patch(path, 8, swapped.replace(b'"\0"', f'"{other}"'.encode()))


def huge_header(root: Path, rng: random.Random) -> None:
    _patch(_weights(root, rng), 0, rng.randrange(100_000_001, 2**63).to_bytes(8, "little"))


def header_one_byte_longer(root: Path, rng: random.Random) -> None:
    path = _weights(root, rng)
    _patch(path, 0, (_data_start(path) - 8 + 1).to_bytes(8, "little"))


def flip_bit_in_other_file(root: Path, rng: random.Random) -> None:
    path = _other(root, rng)
    _flip(path, rng.randrange(path.stat().st_size), rng)


def truncate(root: Path, rng: random.Random) -> None:
    path = _any(root, rng)
    os.truncate(path, rng.randrange(path.stat().st_size))


def append(root: Path, rng: random.Random) -> None:
    with _any(root, rng).open("ab") as file:
        file.write(rng.randbytes(rng.randrange(1, 64)))


def exchange_two_files(root: Path, rng: random.Random) -> None:
    files = _files(root, "")
    one = rng.choice(files)
    two = rng.choice([path for path in files if path.read_bytes() != one.read_bytes()])
    one.rename(root / ".swap")
    two.rename(one)
    (root / ".swap").rename(two)


def rename_file(root: Path, rng: random.Random) -> None:
    path = _any(root, rng)
    path.rename(path.with_name(f"x{path.name}"))


def remove_file(root: Path, rng: random.Random) -> None:
    _any(root, rng).unlink()


def add_file(root: Path, rng: random.Random) -> None:
    name = rng.choice(["extra.json", ".hidden", "model-00002.safetensors", "special_tokens.txt"])
    (root / name).write_bytes(rng.randbytes(16))


def add_file_below(root: Path, rng: random.Random) -> None:
    folder = root / rng.choice(["onnx", ".cache", "a/b"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")


def add_code(root: Path, rng: random.Random) -> None:
    name = rng.choice(["modeling.py", "tokenizer.so", "setup.sh", "__pycache__/modeling.pyc"])
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text("import os")


def add_pickle(root: Path, rng: random.Random) -> None:
    name = rng.choice(["pytorch_model.bin", "model.pt", "optimizer.pkl", "vocab.npy"])
    (root / name).write_bytes(b"\x80\x04N.")


def link_for_file(root: Path, rng: random.Random) -> None:
    path = _any(root, rng)
    # To the very bytes that were signed: a link is refused for what it may point to later.
    target = root.parent / f"{root.name}-target-{rng.getrandbits(32)}"
    path.rename(target)
    path.symlink_to(target)


def add_link(root: Path, rng: random.Random) -> None:
    (root / rng.choice(["link.json", "folder"])).symlink_to(rng.choice(["/etc/passwd", "..", "/"]))


def pipe_for_file(root: Path, rng: random.Random) -> None:
    path = _any(root, rng)
    path.unlink()
    os.mkfifo(path)


def folder_for_file(root: Path, rng: random.Random) -> None:
    path = _any(root, rng)
    path.unlink()
    path.mkdir()


def _named(*kinds: Kind) -> dict[str, Kind]:
    return {kind.__name__.replace("_", " "): kind for kind in kinds}


_IN_WEIGHTS = _named(
    flip_bit_in_tensor,
    flip_last_bit,
    overwrite_block,
    exchange_two_ranges,
    replace_all_tensors,
    replace_file_by_rename,
    flip_bit_in_header,
    exchange_tensor_names,
    huge_header,
    header_one_byte_longer,
)
_ANYWHERE = _named(
    flip_bit_in_other_file,
    truncate,
    append,
    exchange_two_files,
    rename_file,
    remove_file,
    add_file,
    add_file_below,
    add_code,
    add_pickle,
    link_for_file,
    add_link,
    pipe_for_file,
    folder_for_file,
    forgeries.remove_signature,
    forgeries.empty_signature,
    forgeries.truncate_signature,
    forgeries.flip_bit_in_signature,
    forgeries.forge_statement,
    forgeries.sign_as_stranger,
    forgeries.sign_under_trusted_hint,
    forgeries.raise_version,
)
KINDS = (*_IN_WEIGHTS, *_ANYWHERE)
"""Names of all kinds."""
