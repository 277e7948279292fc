"""What replicas and their warm pool say to each other, and what a pool is set to."""

from dataclasses import dataclass, field
from enum import StrEnum

from autoscaling.plan_terms import Site


class Phase(StrEnum):
    """What a replica says it is."""

    STANDBY = "standby"
    """Started, verified and warm; takes no requests."""
    WAKING = "waking"
    """Being checked and made ready for requests."""
    ACTIVE = "active"
    """Takes requests."""
    PARKING = "parking"
    """Takes no more requests, and goes on standby once those it has are finished or moved."""
    DRAINING = "draining"
    """Takes no more requests, and ends once those it has are finished or moved."""
    FAILED = "failed"
    """Its check before waking failed: it must not serve."""


class Order(StrEnum):
    """What a replica is told to do."""

    KEEP = "keep"
    """Go on."""
    WAKE = "wake"
    """From standby: check yourself, and take requests."""
    PARK = "park"
    """From active: finish or hand over what you have, and go on standby."""
    DRAIN = "drain"
    """From active: finish or hand over what you have, and wait for `exit`."""
    EXIT = "exit"
    """End the process; there are no requests on it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a replica says of itself, about once a second."""

    replica: str
    """Its name, unique in the pool and never used again."""
    phase: Phase
    """What it is."""
    age_s: float
    """Seconds since it was ready for the first time."""
    fragmentation: float = 0.0
    """Share of its memory that is used for nothing, 0 to 1."""
    outstanding_tokens: float = 0.0
    """Tokens of the requests it has, 0 or more."""
    drained: bool = False
    """Whether it has no requests and no KV cache that another still waits for."""
    node: str = ""
    """Id of the node it runs on; empty where nobody knows."""
    site: Site = field(default_factory=lambda: Site("on-demand"))
    """Where that node is."""
    prefill_tps: float = 0.0
    """Prompt tokens a second that it has taken of late."""
    decode_tps: float = 0.0
    """Output tokens a second that it has generated of late."""
    saturated: bool = False
    """Whether requests wait in its engine for others to end."""
    start_s: float = 0.0
    """Seconds from its beginning until it was ready for the first time."""
    cached: bool = False
    """Whether its weights were on its node already."""


@dataclass(frozen=True, slots=True)
class RecycleSettings:
    """When replicas are replaced by fresh ones."""

    enabled: bool = True
    """Whether they are."""
    age_s: float = 3600.0
    """Seconds after which a replica is replaced."""
    jitter: float = 0.2
    """Share by which each one's own age limit is longer or shorter."""
    fragmentation: float = 0.3
    """Share of its memory that is used for nothing, above which a replica is replaced."""
    share: float = 0.2
    """Largest share of the active replicas that is being replaced at once; at least one is."""
    patience_s: float = 900.0
    """Seconds that a fresh replica is waited for before a replacement is put off."""

    def __post_init__(self) -> None:
        """Refuses settings with which everything or nothing would be replaced.

        Raises:
            ValueError: A setting is out of its range; the message names it.
        """
        for name in ("age_s", "patience_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a positive time, not {getattr(self, name)}")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter must be at least 0 and below 1, not {self.jitter}")
        for name in ("fragmentation", "share"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and up to 1, not {getattr(self, name)}")

    def at_once(self, active: int) -> int:
        """How many replicas may be in replacement while so many are active.

        Args:
            active: Replicas that take requests.
        """
        # Products such as 0.29 * 100 fall just below the whole number they stand for.
        return max(1, int(self.share * active + 1e-9))


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How many replicas a warm pool has, and how fast it follows its load."""

    least: int
    """Replicas that are always active."""
    most: int
    """Most replicas, those on standby among them."""
    standby: int
    """Replicas on standby beyond the active ones, as far as `most` allows."""
    tokens_per_replica: int
    """Tokens outstanding at which one replica is saturated."""
    target_load: float = 0.5
    """Share of `tokens_per_replica` to aim at."""
    up_delay_s: float = 5.0
    """Seconds for which more must be wanted before more are woken or started."""
    down_delay_s: float = 600.0
    """Seconds for which fewer must be wanted before one is parked."""
    recycle: RecycleSettings | None = None
    """When replicas are replaced; never by default."""
    silence_s: float = 5.0
    """Seconds without a report after which a replica is taken to be gone."""
    settle_s: float = 10.0
    """Seconds after the first event in which nothing is parked, replaced or given up: what there
    is has to be heard first."""
    listen_s: float = 2.0
    """Seconds after the first event in which nothing is woken: those that are active may not have
    said so."""
    wake_s: float = 60.0
    """Seconds after which a replica that is still waking is not counted on any more."""

    def __post_init__(self) -> None:
        """Refuses settings that no pool could follow.

        Raises:
            ValueError: A setting is out of its range; the message names it.
        """
        if not 0 <= self.least <= self.most:
            raise ValueError(f"least must be from 0 to most ({self.most}), not {self.least}")
        for name, lowest in (("most", 1), ("standby", 0), ("tokens_per_replica", 1)):
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} must be at least {lowest}, not {getattr(self, name)}")
        if not 0 < self.target_load <= 1:
            raise ValueError(f"target_load must be above 0 and up to 1, not {self.target_load}")
        for name in ("up_delay_s", "down_delay_s", "settle_s", "listen_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a time, 0 or more, not {getattr(self, name)}")
        for name in ("silence_s", "wake_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a positive time, not {getattr(self, name)}")

    @property
    def surge(self) -> int:
        """Replicas beyond `most` that there may be while others are being replaced."""
        if self.recycle is None or not self.recycle.enabled:
            return 0
        return self.recycle.at_once(self.most)


@dataclass(frozen=True, slots=True)
class Plan:
    """How many replicas there should be."""

    replicas: int
    """All of them, as a target for Ray Serve: from 0 to `most` and the surge of recycling."""
    active: int
    """Those that should take requests."""
    standby: int
    """Those that should be on standby."""
    reason: str
    """Why, in a few words for people."""
    settled: bool = True
    """Whether every replica has had the time to report. Until then `replicas` only counts upwards:
    whoever carries it out keeps a higher target that stands already."""
