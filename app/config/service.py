"""What stands in front of the pools: gateway, classifier, routing, admission."""

from typing import Annotated

from pydantic import Field

from app.config.types import (
    Bytes,
    Count,
    CountOrZero,
    Cpus,
    Flag,
    Fraction,
    OnUnavailable,
    Seconds,
    Section,
    Text,
    ZoneName,
)


class GatewayConfig(Section):
    """The deployment that clients speak to."""

    replicas: Count = 1
    """Gateways, each with its own share of the traffic."""
    cpus: Cpus = 1.0
    """CPU cores that Ray sets aside for each gateway."""
    max_body: Bytes = 4 * 1024 * 1024
    """Longest request body, such as `4MiB`."""
    request_timeout_s: Seconds = 600.0
    """Longest time that one request may take, from its arrival to its last token."""
    max_open_requests: Count = 1024
    """Most requests that one gateway has open; further ones are answered with 503."""
    retry_after_s: Seconds = 1.0
    """What such an answer says in `retry-after`."""
    max_messages: Count = 4096
    """Most messages in one chat request."""
    max_n: Count = 16
    """Most choices (`n`) that one request may ask for."""
    graceful_shutdown_timeout_s: Seconds = 300.0
    """How long a stopping gateway may go on with the requests it has."""


class ClassifierConfig(Section):
    """The deployment that judges the text of requests."""

    enabled: Flag = True
    """Without it, no request is judged and zones are raised by nobody."""
    replicas: Count = 1
    """Classifiers, each with a share of the texts."""
    cpus: Cpus = 1.0
    """CPU cores that Ray sets aside for each classifier."""
    timeout_s: Seconds = 5.0
    """How long a gateway waits for the answer."""
    on_unavailable: OnUnavailable = OnUnavailable.REFUSE
    """What becomes of a request when no answer comes in time."""
    zone_markers: dict[ZoneName, tuple[Text, ...]] = Field(default={})
    """RE2 patterns by zone: text that matches one is served in that zone or a higher one."""
    refuse_above: Fraction | None = None
    """Risk from 0 to 1 above which a request is refused; none is by default."""


class BreakerConfig(Section):
    """When a pool's market is left alone because it keeps failing, and how it is tried again."""

    failures: Count = 5
    """Consecutive failures that open the breaker."""
    failure_ratio: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.5
    """Share of failures within the window that opens it."""
    least_outcomes: Count = 20
    """Outcomes that the window must hold before the share counts."""
    window_s: Seconds = 30.0
    """Seconds that the window looks back."""
    open_s: Seconds = 2.0
    """Seconds for which it lets nothing through at first; doubles while the pool stays ill."""
    most_open_s: Seconds = 60.0
    """Most seconds for which it lets nothing through."""
    half_open_probes: Count = 1
    """Requests that then try whether the pool is well; it closes once they all succeed."""
    probe_timeout_s: Seconds = 30.0
    """Seconds after which a probe without an outcome makes room for another."""


class RoutingConfig(Section):
    """How requests find a replica."""

    breaker: BreakerConfig = BreakerConfig()
    retries: CountOrZero = 3
    """Further replicas that are tried when one fails before its first token."""
    migrations: CountOrZero = 3
    """How often a request that has begun may be taken to another replica, when its own dies or
    drains."""
    silence_s: Annotated[float, Field(strict=True, ge=3, allow_inf_nan=False)] = 20.0
    """A replica of which nothing is heard for so long counts as lost; each reports once a
    second."""
    capacity_wait_s: Seconds = 120.0
    """How long a request waits for a replica when none is ready, before it is answered with 503."""


class ExpectedOutputConfig(Section):
    """How the length of an answer is foreseen, for its size class and its reservation."""

    quantile: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.75
    """Share of answers that shall be no longer than foreseen."""
    prior_tokens: Count = 128
    """What is foreseen while nothing is known."""
    max_keys: Count = 10_000
    """Most combinations of tenant, model and task that are remembered."""
