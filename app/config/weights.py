"""Which weights may be loaded, where they are kept, and what a start may take."""

import datetime as dt
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import AwareDatetime, Field

from app.config.types import Bytes, Count, CountOrZero, Flag, ModelName, Section, Text

KeyId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
PEM_MARK = "-----BEGIN PUBLIC KEY-----"


class TrustedKey(Section):
    """A public key whose signatures on models are believed."""

    id: KeyId
    """Names the key in errors, in the audit log and in signatures."""
    public_key: Text
    """An ECDSA P-256 public key in PEM, or the file that holds one."""
    expires_at: AwareDatetime | None = None
    """From when on it is not believed any more, such as `2030-01-01T00:00:00Z`. By default it is
    for ever."""
    revoked: Flag = False
    """Whether it is not believed any more, whatever it has signed and whenever."""
    models: tuple[ModelName, ...] | None = None
    """Names of the models that it may sign; all by default."""

    def usable_for(self, model: str, at: dt.datetime) -> bool:
        """Whether a signature of this key on a model can be believed at a time.

        Args:
            model: The model's name.
            at: The time, with its zone.
        """
        current = self.expires_at is None or at < self.expires_at
        return not self.revoked and current and (self.models is None or model in self.models)


class S3Config(Section):
    """How models are fetched from an S3 bucket, for sources such as `s3://bucket/models/demo`.

    Credentials come from where boto3 looks for them: environment, profile or instance role.
    """

    endpoint: Text | None = None
    """URL of a service that speaks S3; by default AWS."""
    region: Text | None = None
    """Region of the bucket; by default what boto3 finds."""
    connections: Annotated[int, Field(strict=True, ge=1, le=64)] = 8
    """Ranges that are downloaded at the same time."""
    part: Annotated[Bytes, Field(ge=64 * 1024)] = 16 * 1024 * 1024
    """Size of a range, such as `16MiB`."""
    retries: CountOrZero = 5
    """How often a range is tried again before the download fails."""


class Anomalies(StrEnum):
    """What becomes of a start that is far from its baseline."""

    OFF = "off"
    SHADOW = "shadow"
    STOP = "stop"


class AnomalyConfig(Section):
    """When the start of a model is not what its starts are, and what is done then."""

    action: Anomalies = Anomalies.SHADOW
    """`shadow` records a security event and goes on; `stop` ends the start as well."""
    z_score: Annotated[float, Field(strict=True, gt=0)] = 6.0
    """Robust z-score (0.6745 times the distance from the median, by the median absolute deviation)
    beyond which a stage is an anomaly."""
    least_starts: Annotated[int, Field(strict=True, ge=3)] = 8
    """Starts of a model on the same hardware that must be known before one is judged."""
    memory_factor: Annotated[float, Field(strict=True, ge=1)] = 1.1
    """Times the memory budget (`resources.memory`) from which on a start is one too many."""


class WeightsConfig(Section):
    """Whose signatures are believed, and where verified models are kept."""

    keys: tuple[TrustedKey, ...] = ()
    """The key ring. A model that none of them has signed is not loaded."""
    cache_dir: Text = ".tidegate/weights"
    """Where each node keeps the models it has fetched."""
    cache_size: Bytes = 512 * 1024**3
    """How much of them is kept; the least recently used go first, never one that runs."""
    s3: S3Config = S3Config()
    anomalies: AnomalyConfig = AnomalyConfig()

    def keys_for(self, model: str) -> tuple[TrustedKey, ...]:
        """The keys that may sign a model, expired and revoked ones among them.

        Args:
            model: The model's name.
        """
        return tuple(key for key in self.keys if key.models is None or model in key.models)

    def absolute(self, base: Path) -> Self:
        """The same, with the cache's place and the keys' files made independent of the directory.

        The keys are read, so that nothing that happens to their files later changes who is trusted.

        Args:
            base: What relative paths are relative to.

        Raises:
            OSError: A key's file cannot be read.
        """
        keys = tuple(
            key
            if PEM_MARK in key.public_key
            else key.model_copy(update={"public_key": (base / key.public_key).read_text()})
            for key in self.keys
        )
        cache = str(base / Path(self.cache_dir).expanduser())
        return self.model_copy(update={"keys": keys, "cache_dir": cache})


class RecyclingConfig(Section):
    """When replicas are replaced by fresh ones: the new one is ready before the old one drains."""

    enabled: Flag = True
    """Whether they are."""
    age_s: Annotated[float, Field(strict=True, ge=1)] = 3600.0
    """Seconds after which a replica is replaced."""
    jitter: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.2
    """Share by which each one's own age limit is longer or shorter, so that they do not come due
    together."""
    fragmentation: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.3
    """Share of its memory that is not used for anything, from which on a replica is replaced: on a
    GPU of what is reserved, on a CPU of what is resident, against what was when it was ready."""
    drain_s: Annotated[float, Field(strict=True, gt=0, le=86400)] = 300.0
    """How long the old one may go on with the requests it has; longer ones are moved."""
    share: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.2
    """Largest share of a deployment's replicas that is being replaced at once; at least one is."""
    patience_s: Annotated[float, Field(strict=True, gt=0)] = 900.0
    """How long a fresh replica is waited for before the replacement is put off."""


class TierBounds(Section):
    """How much of a pool there is by default, by its tier."""

    least: Count
    """Replicas that are always ready."""
    most: Count
    """Most replicas."""
    standby: CountOrZero
    """Replicas on standby."""

    def scaled(self, scale: float) -> Self:
        """The same for a smaller or larger fleet; at least one replica is always ready.

        Args:
            scale: What to multiply by, above 0.
        """
        least = max(1, round(self.least * scale))
        return self.model_copy(
            update={
                "least": least,
                "most": max(least, round(self.most * scale)),
                "standby": round(self.standby * scale),
            }
        )
