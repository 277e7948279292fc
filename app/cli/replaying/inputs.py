"""What the command line names: files, a store, prices."""

from collections.abc import Callable
from pathlib import Path

from app.cli import times
from app.cli.replaying.demand import Demand, Kind, read_record
from app.cli.replaying.store import read_store
from app.cli.replaying.supply import read_trace
from app.cli.show import fail
from app.config import FleetConfig
from app.errors import ConfigError, StoreUnavailable
from autoscaling.simulator.terms import SpotSupply

Tell = Callable[[str, float | None], None]
"""Told what is being done, and which share of all of it is; None where nobody knows."""


def from_file(
    file: Path, fleet: FleetConfig, zone: str | None, model: str | None, tell: Tell
) -> Demand:
    """Requests from a CSV file, all of one zone and one model.

    Args:
        file: The file.
        fleet: A valid configuration.
        zone: Their zone; None for the default one.
        model: Their model; None for the only one of the zone.
        tell: Told how many lines have been read.

    Raises:
        typer.Exit: It cannot be read, or there is no such zone or model; it is said why.
        TraceInvalid: It is not what it should be.
    """
    zone = fleet.default_zone if zone is None else zone
    if zone not in fleet.zones:
        fail(f"--zone: there is no zone {zone!r}; there are {', '.join(fleet.zones)}")
    models = list(dict.fromkeys(pool.model for pool in fleet.pools if pool.zone == zone))
    if model is None and len(models) != 1:
        fail(f"--model: zone {zone} serves {', '.join(models) or 'none'}: say which it is")
    kind = Kind(zone, models[0] if model is None else model)
    if kind.model not in models:
        fail(f"--model: zone {zone} serves {', '.join(models)}, not {kind.model!r}")
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            return read_record(
                lines, str(file), kind, lambda count: tell(f"{count:,} lines read", None)
            )
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror or error}")
    except UnicodeDecodeError as error:
        fail(f"{file} is not UTF-8 text ({error.reason} at byte {error.start:,})")


def from_store(url: str, since: str | None, until: str | None, tell: Tell) -> Demand:
    """Requests from a store's history.

    Args:
        url: As `store.url`.
        since: From when, as a span or a date; None for all.
        until: Up to when; None for all.
        tell: Told how many have been read.

    Raises:
        typer.Exit: It cannot be read; it is said why.
        TraceInvalid: It is not what it should be.
    """
    try:
        return read_store(
            url,
            since=times.ago(since, "--since"),
            until=times.ago(until, "--until"),
            progress=lambda count: tell(f"{count:,} requests read", None),
        )
    except (ConfigError, StoreUnavailable) as error:
        fail(str(error))


def prices_of(texts: list[str]) -> dict[str, float]:
    """Prices such as `on-demand=10.49`, in dollars, by where.

    Args:
        texts: From the command line.

    Raises:
        typer.Exit: One is no price; it is said which.
    """
    found = {}
    for text in texts:
        where, _, dollars = text.partition("=")
        try:
            found[where] = times.micros(dollars, "--price") / 1e6 if where else -1.0
        except ValueError:
            found[where] = -1.0
        if found[where] < 0:
            fail(f"--price: {text!r} is no price; write it like on-demand=10.49")
    return found


def trace_of(file: Path | None, unit: str) -> SpotSupply | None:
    """A trace of spot nodes; None without a file.

    Args:
        file: The file.
        unit: Of its times, where it does not tell.

    Raises:
        typer.Exit: It cannot be read; it is said why.
        TraceInvalid: It is no trace.
    """
    if file is None:
        return None
    try:
        with file.open(encoding="utf-8") as lines:
            return read_trace(file.name, lines, unit)
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror or error}")
    except UnicodeDecodeError:
        fail(f"{file} is not UTF-8 text")
