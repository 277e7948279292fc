"""What travels in the frames beside vLLM's own EngineCoreRequest and EngineCoreOutputs."""

from collections.abc import Sequence
from typing import Any

import msgspec


class Submission(msgspec.Struct, frozen=True, array_like=True):
    """Goes with a request to an engine.

    Attributes:
        zone: the zone the request was admitted to; the engine refuses any but its own.
        tokens: prompt tokens + expected output tokens, what the request is reckoned to occupy.
        tenant: who pays, for the engine's fair queue and audit.
    """

    zone: str
    tokens: int
    tenant: str


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """An engine's no to one request, by the `code` of an error in `app.errors`."""

    request_id: str
    code: str
    message: str


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
    """The classifier's verdict on one numbered text."""

    number: int
    task: str
    zone_floor: str | None
    risk: float
    reasons: list[str]


def encode(message: Any) -> bytes:
    """One message as msgpack."""
    return _ENCODER.encode(message)


def encode_ids(request_ids: Sequence[str]) -> bytes:
    """The ids of requests to abort."""
    return _ENCODER.encode(list(request_ids))


_ENCODER = msgspec.msgpack.Encoder()
