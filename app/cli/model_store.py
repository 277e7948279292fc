"""``tidegate model push`` and ``pull``: signed models between folders and buckets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.model_shared import Config, Name, PublicKey, bar, explained, trust

if TYPE_CHECKING:
    from app.config.weights import S3Config
    from app.weights.source import LocalSource, S3Source

PUSH_EXAMPLES = """Examples:

    \b
      tidegate model push llama-70b s3://models/llama-70b/3
      tidegate model push llama-70b /mnt/models/llama-70b --public-key models.key.pub
      tidegate model push llama-70b s3://models/llama-70b --endpoint https://minio.internal:9000

    Credentials come from where boto3 looks for them: environment, profile or instance role."""

PULL_EXAMPLES = """Examples:

    \b
      tidegate model pull s3://models/llama-70b/3 llama-70b --public-key models.key.pub
      tidegate model pull s3://models/demo demo --config serve_config.yaml --model demo

    Credentials come from where boto3 looks for them: environment, profile or instance role."""

Endpoint = Annotated[
    str | None,
    typer.Option(help="URL of a service that speaks S3. [weights.s3 of --config, or AWS]"),
]
Region = Annotated[
    str | None, typer.Option(help="Region of the bucket. [weights.s3 of --config, or boto3's]")
]


def push(
    folder: Annotated[
        Path, typer.Argument(file_okay=False, exists=True, help="The signed model's folder.")
    ],
    destination: Annotated[
        str, typer.Argument(help="s3://BUCKET/PREFIX, or a folder whose parent exists.")
    ],
    public_key: PublicKey = None,
    config: Config = None,
    model: Name = None,
    endpoint: Endpoint = None,
    region: Region = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of a model that is there.")
    ] = False,
) -> None:
    """Copy a signed model to where fleets fetch it; the signature goes last.

    Every file is compared with the signature first. With --public-key or --config the signature
    must be theirs as well.
    """
    from app.weights import push as moving
    from app.weights.destination import destination as opened
    from app.weights.signing import read_signature

    with explained():
        target = opened(_place(destination), _s3(config, endpoint, region))
        ring, wanted, least = None, model, 0
        if public_key is not None or config is not None:
            ring, wanted, least = trust(read_signature(folder), public_key, config, model)
        with bar("checking") as progress:
            checked = moving.check(
                folder, ring=ring, model=wanted, least_version=least, progress=progress
            )
        with bar("pushing") as progress:
            moving.push(checked, target, replace=replace, progress=progress)
    typer.echo(f"{destination}: {checked.manifest.name}, {checked.bytes:,} bytes")


def pull(
    source: Annotated[str, typer.Argument(help="s3://BUCKET/PREFIX, or a folder.")],
    folder: Annotated[
        Path, typer.Argument(file_okay=False, help="Where it goes; must not be there yet.")
    ],
    public_key: PublicKey = None,
    config: Config = None,
    model: Name = None,
    least_version: Annotated[
        int, typer.Option(min=0, help="The version below which it is refused.")
    ] = 0,
    endpoint: Endpoint = None,
    region: Region = None,
) -> None:
    """Copy a signed model here, verified; one that broke off goes on where it was.

    Exits with 1 if it is not what was signed, and says why; the folder is not made then.
    """
    from app.weights import push as moving
    from app.weights.s3 import place_of

    with explained():
        place = place_of(_place(source), _s3(config, endpoint, region))
        ring, wanted, least = trust(place.signature(), public_key, config, model)
        with bar("pulling") as progress:
            manifest = moving.pull(
                place,
                folder,
                ring=ring,
                model=wanted,
                least_version=max(least, least_version),
                progress=progress,
            )
    typer.echo(f"{folder}: {wanted}, {len(manifest.files)} files are what was signed")


def _place(text: str) -> "LocalSource | S3Source":
    from app.weights.source import SCHEME, LocalSource, parse_source

    # On a command line a folder may well be one that is to be made.
    return parse_source(text) if SCHEME[-3:] in text else LocalSource(Path(text).expanduser())


def _s3(config: Path | None, endpoint: str | None, region: str | None) -> "S3Config":
    from app.config import load_config
    from app.config.weights import S3Config

    given = {"endpoint": endpoint, "region": region}
    base = S3Config() if config is None else load_config(config).weights.s3
    return base.model_copy(update={name: value for name, value in given.items() if value})
