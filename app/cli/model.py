"""``tidegate model``: weights that can be trusted, signed and verified without a service."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import model_store
from app.cli.model_shared import Config, Name, PublicKey, bar, explained, trust
from app.cli.show import AsJson, new_table, plain, print_json, print_tables
from app.errors import WeightsRefused

if TYPE_CHECKING:
    from app.weights.manifest import Manifest

app = typer.Typer(
    help="Models: sign, verify, move and look at them.",
    epilog="""Examples:

    \b
      tidegate model keygen models.key
      tidegate model sign llama-70b --version 3 --key models.key
      tidegate model verify llama-70b --public-key models.key.pub
      tidegate model push llama-70b s3://models/llama-70b
      tidegate model inspect llama-70b""",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Argument(file_okay=False, exists=True, help="The model's folder.")]


@app.command(
    epilog="""Examples:

    \b
      tidegate model keygen models.key
      TIDEGATE_SIGNING_PASSPHRASE=... tidegate model keygen models.key models.pub

    Keep the private key away from the machines that serve, and the public one in their
    configuration, under `weights.keys`."""
)
def keygen(
    private: Annotated[Path, typer.Argument(dir_okay=False, help="Where the private key goes.")],
    public: Annotated[
        Path | None,
        typer.Argument(dir_okay=False, help="Where the public key goes. [PRIVATE.pub]"),
    ] = None,
) -> None:
    """Make an ECDSA P-256 key that signs models.

    The private key is encrypted if TIDEGATE_SIGNING_PASSPHRASE is set, and readable by you alone.
    """
    from app.weights.key_files import ENVIRONMENT, make_keys

    public = public or private.with_name(f"{private.name}.pub")
    with explained():
        make_keys(private, public, os.environ.get(ENVIRONMENT))
    open_ = "" if os.environ.get(ENVIRONMENT) else " (not encrypted)"
    typer.echo(f"private key: {private}{open_}\npublic key:  {public}")


@app.command(
    epilog="""Examples:

    \b
      tidegate model sign llama-70b --version 3 --key models.key
      tidegate model sign downloads/snapshot --name llama-70b --version 4 --key models.key"""
)
def sign(
    folder: Folder,
    version: Annotated[
        int, typer.Option(min=1, help="Version of the model; fleets only ever go up.")
    ],
    key: Annotated[Path, typer.Option(dir_okay=False, help="The private key.")],
    name: Annotated[
        str | None,
        typer.Option(help="Name of the model, as fleets configure it. [the folder's name]"),
    ] = None,
) -> None:
    """Sign every file of a model's folder, into its model.sig.

    What no fleet would load (links, pickles, code, safetensors that are not well formed) is not
    signed: exits with 1 and says what it is. An encrypted key is opened with the passphrase in
    TIDEGATE_SIGNING_PASSPHRASE.
    """
    from app.weights.key_files import ENVIRONMENT, load_private
    from app.weights.signing import sign_model

    with explained(), bar("signing") as progress:
        private = load_private(key, os.environ.get(ENVIRONMENT))
        path = sign_model(folder, name or folder.resolve().name, version, private, progress)
    if key.stat().st_mode & 0o077:
        typer.secho(f"{key} can be read by others: run `chmod 600 {key}`", err=True, fg="yellow")
    typer.echo(f"{path}: {name or folder.resolve().name}, version {version}")


@app.command(
    epilog="""Examples:

    \b
      tidegate model verify llama-70b --public-key models.key.pub
      tidegate model verify llama-70b --config serve_config.yaml --model llama-70b --json"""
)
def verify(
    folder: Folder,
    public_key: PublicKey = None,
    config: Config = None,
    model: Name = None,
    least_version: Annotated[
        int, typer.Option(min=0, help="The version below which it is refused.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Verify a model's folder whole: who signed it, and that every byte is what was signed.

    Exits with 1 if it is not, and says why.
    """
    from app.weights.signing import read_signature, verify_model

    with explained(), bar("verifying") as progress:
        data = read_signature(folder)
        ring, wanted, least = trust(data, public_key, config, model)
        manifest = verify_model(
            folder,
            ring,
            model=wanted,
            least_version=max(least, least_version),
            now=datetime.now(UTC),
            progress=progress,
        )
        signer = ring.key_of(data)
    if as_json:
        print_json({"model": wanted, "key": signer, **_summary(manifest)})
        return
    typer.echo(
        f"{folder}: {wanted}, {_version(manifest)}, signed with key {signer}; "
        f"{len(manifest.files)} files are what was signed"
    )


@app.command(
    epilog="""Examples:

    \b
      tidegate model inspect llama-70b
      tidegate model inspect llama-70b --json"""
)
def inspect(folder: Folder, as_json: AsJson = False) -> None:
    """Show what a model's signature says, and the tensors in its folder, without believing any.

    Nothing is verified: `tidegate model verify` does that.
    """
    from app.weights import bundle
    from app.weights.signing import read_signature
    from app.weights.statement import manifest_of

    with explained():
        signed = bundle.read(read_signature(folder))
        manifest = manifest_of(signed.statement)
        tensors = {name: _tensors(folder / name) for name in manifest.weights}
    if as_json:
        print_json(
            {"model": manifest.name, "key_hint": signed.hint, **_summary(manifest)}
            | {"tensors": tensors, "verified": False}
        )
        return
    table = new_table(
        f"{plain(manifest.name)}, {_version(manifest)}", "file", "bytes", "SHA-256", "tensors"
    )
    for name, digest in manifest.files.items():
        size = manifest.sizes.get(name)
        count = tensors.get(name)
        table.add_row(
            plain(name),
            "-" if size is None else f"{size:,}",
            digest.hex(),
            "" if name not in tensors else "unreadable" if count is None else f"{count:,}",
        )
    print_tables(table)
    typer.echo(f"root digest: {manifest.root}\nkey hint:    {signed.hint or '-'}")
    typer.echo("Nothing of this is verified: `tidegate model verify` does that.")


app.command(epilog=model_store.PUSH_EXAMPLES)(model_store.push)
app.command(epilog=model_store.PULL_EXAMPLES)(model_store.pull)


def _summary(manifest: "Manifest") -> dict[str, Any]:
    return {
        "version": manifest.version,
        "root": manifest.root,
        "files": {
            name: {"sha256": digest.hex(), "bytes": manifest.sizes.get(name)}
            for name, digest in manifest.files.items()
        },
    }


def _version(manifest: "Manifest") -> str:
    return "no version" if manifest.version is None else f"version {manifest.version}"


def _tensors(path: Path) -> int | None:
    from app.weights.hashing import open_file
    from app.weights.safetensors_header import read_header

    try:
        with open_file(path) as file:
            return len(read_header(file, path.stat().st_size).entries)
    except (WeightsRefused, OSError):
        return None
