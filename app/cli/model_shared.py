"""What the commands on models share: whom they believe, how they fail, how far they are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.show import fail
from app.errors import ConfigError, TidegateError, WeightsRefused

if TYPE_CHECKING:
    from app.config import FleetConfig
    from app.weights.ring import KeyRing

PublicKey = Annotated[
    Path | None,
    typer.Option("--public-key", dir_okay=False, help="PEM of the key that must have signed."),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", dir_okay=False, help="Serve file whose `weights.keys` are believed instead."
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        "--model", help="Name of the model. [as it was signed; with --config it must be given]"
    ),
]


def trust(
    data: bytes, public_key: Path | None, config: Path | None, model: str | None
) -> "tuple[KeyRing, str, int]":
    """Whose signatures are believed on which model, from the command line.

    Args:
        data: The model's signature.
        public_key: `--public-key`.
        config: `--config`.
        model: `--model`.

    Returns:
        The ring, the model's name, and the version below which it is refused.

    Raises:
        WeightsRefused: The signature is none.
        ConfigError: The configuration or a key in it is not valid.
        OSError: A file cannot be read.
    """
    from app.weights import bundle
    from app.weights.ring import KeyRing
    from app.weights.statement import manifest_of

    if (public_key is None) == (config is None):
        fail("give either --public-key or --config: somebody has to be believed")
    if public_key is not None:
        ring = _ring_of(public_key)
        if model is None:
            # The name is in the statement, which is believed once its signature is verified.
            ring.key_of(data)
            model = manifest_of(bundle.read(data).statement).name
        return ring, model, 0
    assert config is not None
    fleet = _fleet(config)
    names = [known.name for known in fleet.models]
    if model is None or model not in names:
        fail(f"--model: name one of the models in {config}: {', '.join(names)}")
    return KeyRing(fleet.weights.keys), model, fleet.model(model).least_version


def _ring_of(public_key: Path) -> "KeyRing":
    from app.config.weights import TrustedKey
    from app.weights.ring import KeyRing

    pem = public_key.read_text(errors="replace")
    try:
        return KeyRing([TrustedKey.model_construct(id=public_key.name, public_key=pem)])
    except ConfigError as error:
        fail(f"{public_key} {error.issues[0].message}")


def _fleet(config: Path) -> "FleetConfig":
    from app.config import load_config

    fleet = load_config(config)
    # Keys' files are relative to where `serve run` is started: here.
    return fleet.model_copy(update={"weights": fleet.weights.absolute(Path.cwd())})


@contextmanager
def explained() -> Iterator[None]:
    """Turn what the package raises into exit codes: 1 for a refusal, 2 for what cannot be read."""
    try:
        yield
    except WeightsRefused as error:
        fail(f"{error.reason}: {error.message}", code=1)
    except ConfigError as error:
        fail(str(error))
    except TidegateError as error:
        fail(error.message)
    except (OSError, ValueError) as error:
        fail(str(error))


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, to be told of the bytes that are done and of all.

    Args:
        what: What is being done.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    with Progress(
        "{task.description}",
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
