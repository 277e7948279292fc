"""Why no replica could be found, in words and as the right error."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.errors import NoCapacity, TidegateError, UnknownModel, error_from_code
from app.routing.balancer import Balancer
from app.routing.breaker import BreakerState
from app.routing.group import Group
from app.routing.route_table import RouteTable
from app.routing.size_class import SizeClass


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request needed when nothing was found for it."""

    model: str
    size_class: SizeClass
    need_tokens: int
    exclude: frozenset[str]
    isolated: bool = False


def why_not(
    asked: Asked,
    table: RouteTable,
    groups: Mapping[str, tuple[Group, ...]],
    balancer: Balancer,
    now: float,
    retry_after_s: float,
) -> TidegateError:
    """The error that says why a zone has no replica for a request.

    Args:
        asked: what the request needed.
        table: the table of its zone.
        groups: the markets of each pool.
        balancer: the replicas.
        now: the time, in monotonic seconds.
        retry_after_s: what to answer, in seconds, where nothing tells when capacity is back.

    Returns:
        UnknownModel, ContextLengthExceeded (no pool takes so long a sequence) or NoCapacity, whose
        message has the state of every pool that might have served.
    """
    model, zone = asked.model, table.zone
    if model not in table.models:
        return UnknownModel(f"Model {model!r} is not served in zone {zone}.")
    candidates = table.candidates(
        model, asked.size_class, asked.need_tokens, isolated=asked.isolated
    )
    if not candidates:
        return error_from_code(
            "context_length_exceeded",
            f"The request can take up to {asked.need_tokens} tokens, more than any pool for "
            f"{asked.size_class} requests to model {model} in zone {zone} holds.",
        )
    waits = []
    words = []
    for route in candidates:
        markets = groups[route.pool]
        for group in markets:
            wait, why = _state_of(group, balancer, asked.exclude, now)
            waits.append(retry_after_s if wait is None else wait)
            where = f" ({group.market})" if len(markets) > 1 else ""
            words.append(f"pool {group.pool}{where}: {why}")
    return NoCapacity(
        f"No replica of model {model} in zone {zone} can take the request now; "
        + "; ".join(words)
        + ".",
        retry_after_s=min(waits),
    )


def _state_of(
    group: Group, balancer: Balancer, exclude: frozenset[str], now: float
) -> tuple[float | None, str]:
    """Seconds until a group may have a replica (None: nobody knows), and its state in words."""
    replicas = balancer.in_group(group.pool, group.market)
    tried = sum(replica.id in exclude for replica in replicas)
    words = [f"{len(replicas)} of {max(group.wanted, len(replicas))} replicas ready"]
    if tried:
        words.append(f"{tried} of them failed this request")
    wait = group.breaker.retry_after(now)
    if group.breaker.state(now) is BreakerState.OPEN:
        words.append(f"breaker open for {wait:.1f} s")
    elif wait > 0:
        words.append("breaker waiting for its probe")
    return (None if len(replicas) == tried else wait), ", ".join(words)
