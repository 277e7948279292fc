"""Which files are refused for what they are: pickles, archives and code, by name and by content."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from app.errors import WeightsRefused
from app.weights.manifest import WEIGHTS_SUFFIX
from app.weights.refusal import Reason, refuse

HEAD_BYTES = 512
"""How much of a file's beginning tells what it is."""

_SUFFIXES = {
    "a pickle": (
        ".pt .pth .bin .pkl .pickle .ckpt .joblib .dill .npy .npz .pt2 .mar .h5 .hdf5 .keras"
    ),
    "code": (
        ".py .pyc .pyo .pyd .pyw .pyx .ipynb .so .dylib .dll .exe .com .bat .cmd .ps1 .sh .bash "
        ".zsh .pl .rb .lua .js .mjs .ts .jar .class .wasm .o .a .ko .elf .app .msi .deb .rpm"
    ),
    "an archive": ".zip .tar .tgz .gz .bz2 .xz .zst .lz4 .7z .rar .whl .egg .nemo .tbz .txz",
}
_REFUSED = {suffix: what for what, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
# A pickle of protocol 2 to 5 has its number behind the opcode PROTO.
_PICKLE_MAGIC = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x93NUMPY", "a NumPy file, which may hold a pickle"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, which may hold a pickle"),
    (b"\x7fELF", "a program"),
    (b"\xfe\xed\xfa\xce", "a program"),
    (b"\xfe\xed\xfa\xcf", "a program"),
    (b"\xce\xfa\xed\xfe", "a program"),
    (b"\xcf\xfa\xed\xfe", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\x00asm", "a program"),
    (b"#!", "a script"),
    (b"PK\x03\x04", "an archive"),
    (b"PK\x05\x06", "an archive"),
    (b"\x1f\x8b", "an archive"),
    (b"BZh", "an archive"),
    (b"\xfd7zXZ\x00", "an archive"),
    (b"\x28\xb5\x2f\xfd", "an archive"),
    (b"7z\xbc\xaf\x27\x1c", "an archive"),
)


def check_names(names: Iterable[str]) -> None:
    """Check that no file is of a type that is refused, by the last suffix of its name.

    Args:
        names: Names relative to the model's folder.

    Raises:
        WeightsRefused: One is a pickle, an archive or code.
    """
    for name in names:
        what = _REFUSED.get(PurePosixPath(name).suffix.lower())
        if what is not None:
            raise _forbidden(name, f"{what} by its name")


def check_beginning(name: str, head: bytes) -> None:
    """Check that a file which is not safetensors does not begin like a pickle, archive or program.

    Args:
        name: Its name relative to the model's folder.
        head: Its first bytes, `HEAD_BYTES` or all of them.

    Raises:
        WeightsRefused: It does.
    """
    if name.endswith(WEIGHTS_SUFFIX):
        # Begins with a length, which may look like anything; its header is checked instead.
        return
    if head.startswith(_PICKLE_MAGIC):
        raise _forbidden(name, "a pickle, as it begins")
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise _forbidden(name, f"{what}, as it begins")
    # Two letters alone could be text; DOS headers have zeros.
    if head.startswith(b"MZ") and b"\0" in head:
        raise _forbidden(name, "a program, as it begins")


def _forbidden(name: str, what: str) -> WeightsRefused:
    return refuse(
        Reason.FORBIDDEN_TYPE,
        f"{name!r} is {what}. Models are made of safetensors and plain files: convert weights with "
        "the safetensors package, leave the rest out, and sign the model again.",
    )
