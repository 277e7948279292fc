"""Everything that happens to a model before an engine or a gateway may touch it.

The signature comes first, and what it says is believed before anything else is read: which files
there are, and their digests. What is read here is hashed here. The weights themselves are not read:
the loader hashes them as it hands them to the engine, so that nothing can change in between.
"""

import datetime as dt
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from app.config.fleet import ModelConfig
from app.config.weights import WeightsConfig
from app.errors import ConfigError
from app.weights import config_folder, contents
from app.weights.away import AwayPlace, LastSignature
from app.weights.cache import Cache, Lease, writable
from app.weights.counting import counter
from app.weights.manifest import Manifest
from app.weights.place import LocalPlace, Place, read_checked, readable
from app.weights.ring import KeyRing
from app.weights.s3 import S3Place, place_of
from app.weights.s3_errors import ServiceAway
from app.weights.source import LocalSource, S3Source, parse_source
from app.weights.versions import VersionFloor

_log = structlog.get_logger(__name__)

Progress = Callable[[str, int, int], None]
"""Told of a stage (`fetch`), the bytes of it that are done and all of them."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model that may be loaded, for as long as this is not closed."""

    model: str
    """Its name in the configuration."""
    manifest: Manifest
    """What is signed."""
    key_id: str
    """The key that signed it."""
    folder: Path
    """Where configuration, tokenizer and chat template are read; no weights are in it."""
    weights: Path
    """Where the weights are. They are not verified yet: whoever loads them does that."""
    fetched_bytes: int
    """What came over the network."""
    fetch_s: float
    """Seconds of fetching, or of waiting for another process that fetched the same."""
    verify_s: float
    """Seconds of everything else."""
    _lease: Lease = field(repr=False)
    _cache: Cache | None = field(repr=False)

    def close(self) -> None:
        """Let a fetched copy be evicted, as far as this process is concerned."""
        self._lease.close()

    def discard(self) -> None:
        """Close, and remove a fetched copy that proved to be damaged, unless others use it.

        A model that is loaded where it lies is left alone.
        """
        self._lease.close()
        if self._cache is not None:
            self._cache.discard(self.manifest)


def prepare(
    model: ModelConfig,
    weights: WeightsConfig,
    *,
    least_version: int = 0,
    with_weights: bool = True,
    now: dt.datetime | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Verify a model, and bring to this node what of it is elsewhere.

    Args:
        model: The model.
        weights: Whose signatures are believed, and where the node's cache is.
        least_version: The highest version that anybody else knows to have been loaded.
        with_weights: Whether the weights are needed too; gateways read the rest only.
        now: The time at which keys must be valid, with its zone; by default it is asked for.
        progress: Told how far it is, from this thread.

    Raises:
        ConfigError: The model's source is no place that models are loaded from.
        WeightsRefused: What is there is not what somebody who is trusted has signed.
        WeightsUnavailable: It cannot be read, fetched or kept.
    """
    started = time.monotonic()
    cache_dir = Path(weights.cache_dir).expanduser().absolute()
    source = _source(model)
    place: Place = place_of(source, weights.s3)
    last = LastSignature(cache_dir, f"{weights.s3.endpoint} {source}")
    cache = Cache(cache_dir, weights.cache_size)
    floor = VersionFloor(cache_dir)
    ring = KeyRing(weights.keys)
    try:
        data = place.signature()
    except ServiceAway as error:
        remembered = last.recall()
        if remembered is None:
            raise
        _log.warning("weights.away", model=model.name, source=str(source), error=error.message)
        place, data = AwayPlace(remembered, error), remembered
    manifest = ring.verify(
        data,
        model=model.name,
        least_version=max(model.least_version, least_version, floor.get(model.name)),
        now=now or dt.datetime.now(dt.UTC),
    )
    place.check(manifest)
    folder = config_folder.fill(
        cache_dir,
        manifest,
        lambda name: read_checked(place, manifest, name),
        # What lies on a disk is compared with the copies every time, at the price of reading it.
        always=isinstance(place, LocalPlace),
    )
    lease, fetch_s = Lease(cache_dir, None), 0.0
    if with_weights:
        fetching = time.monotonic()
        lease = _weights(place, manifest, cache, progress)
        fetch_s = time.monotonic() - fetching
    try:
        if with_weights:
            with readable(lease.folder):
                contents.check_headers(lease.folder, manifest.weights)
                config_folder.add_headers(cache_dir, manifest, folder, lease.folder)
        with writable(cache_dir):
            floor.raise_to(model.name, manifest.counted_version)
            if isinstance(place, S3Place):
                last.keep(data)
    except BaseException:
        lease.close()
        raise
    return Prepared(
        model=model.name,
        manifest=manifest,
        key_id=ring.key_of(data),
        folder=folder,
        weights=lease.folder,
        fetched_bytes=place.fetched,
        fetch_s=fetch_s,
        verify_s=time.monotonic() - started - fetch_s,
        _lease=lease,
        _cache=None if isinstance(place, LocalPlace) else cache,
    )


def _source(model: ModelConfig) -> LocalSource | S3Source:
    try:
        return parse_source(model.source)
    except ValueError as error:
        raise ConfigError([(f"source of model {model.name!r}", str(error))]) from error


def _weights(place: Place, manifest: Manifest, cache: Cache, progress: Progress | None) -> Lease:
    if isinstance(place, LocalPlace):
        return Lease(place.root, None)
    total = place.size_of(manifest.weights)
    told = None if progress is None else functools.partial(progress, "fetch")
    count = counter(told, total)
    return cache.hold(manifest, total, lambda folder: place.fetch(manifest, folder, count))
