"""What travels in the frames beside vLLM's own EngineCoreRequest and EngineCoreOutputs."""

from collections.abc import Sequence
from typing import Any

import msgspec


class Submission(msgspec.Struct, frozen=True, array_like=True):
    """Goes with a request to an engine.

    Attributes:
        zone: the zone the request was admitted to; the engine refuses any but its own.
        tokens: prompt tokens + expected output tokens, what the request is reckoned to occupy.
        tenant: who pays, for the engine's fair queue, its isolation and the audit.
        user: who asks, for its isolation.
        tier: the band of the fair queue.
        weight: the tenant's share in the fair queue, against 1 for everybody else.
        generated: output tokens that another replica has generated before; the engine goes on after
            them, as if it had been its own and preempted the request.
    """

    zone: str
    tokens: int
    tenant: str
    user: str = ""
    tier: str = "standard"
    weight: float = 1.0
    generated: list[int] = []


class SharedBatch(msgspec.Struct, frozen=True, array_like=True):
    """Goes before the outputs of requests, with what is new since it last went.

    Attributes:
        tenants: by request id, tenants that shared a batch with it, its own included; of more than
            64, those that came first.
    """

    tenants: dict[str, list[str]]


class Alert(msgspec.Struct, frozen=True, array_like=True):
    """An engine found a breach of isolation. Names no prompt.

    Attributes:
        zone: the engine's zone.
        code: the `code` of the error in `app.errors`.
        message: what was found.
        fatal: whether the engine has stopped over it.
    """

    zone: str
    code: str
    message: str
    fatal: bool


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """An engine's no to one request, by the `code` of an error in `app.errors`."""

    request_id: str
    code: str
    message: str


class KvPeer(msgspec.Struct, frozen=True, array_like=True):
    """Where one side of a disaggregated pool takes part in transfers of KV caches.

    Attributes:
        engine_id: vLLM's id of the engine for its connector; begins with the zone and the pool.
        host: address of its side channel.
        port: port of its side channel.
        tensor_parallel_size: its TP.
        pipeline_parallel_size: its PP.
    """

    engine_id: str
    host: str
    port: int
    tensor_parallel_size: int
    pipeline_parallel_size: int


class Leaving(msgspec.Struct, frozen=True, array_like=True):
    """A replica drains.

    Attributes:
        deadline_s: seconds from now after which it stops, whatever still runs.
    """

    deadline_s: float


class Load(msgspec.Struct, frozen=True, array_like=True):
    """What an engine reports, once a second and whenever a gateway connects.

    Attributes:
        foreign_tokens: tokens outstanding here on behalf of other gateways.
        waiting: requests in the engine's queue.
        running: requests in the engine's batch.
        kv_usage: share of the KV cache in use, 0 to 1.
        prefill_tps: prompt tokens computed a second, since the last report.
        decode_tps: output tokens generated a second, since the last report.
    """

    foreign_tokens: int
    waiting: int
    running: int
    kv_usage: float
    prefill_tps: float
    decode_tps: float


class Judgement(msgspec.Struct, frozen=True, array_like=True):
    """A text for the classifier, numbered by the gateway that asks."""

    number: int
    text: str


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """The classifier's verdict on one numbered text; `found` counts by `app.guards.kinds`."""

    number: int
    task: str
    zone_floor: str | None
    risk: float
    reasons: list[str]
    found: dict[str, int] = {}


def encode(message: Any) -> bytes:
    """One message as msgpack."""
    return _ENCODER.encode(message)


def encode_ids(request_ids: Sequence[str]) -> bytes:
    """The ids of requests to abort."""
    return _ENCODER.encode(list(request_ids))


_ENCODER = msgspec.msgpack.Encoder()
