"""What gateways and ledger shards say to each other beside ticks, and who is asked for whom."""

from hashlib import sha256
from typing import Any

import msgspec

from app.admission.exchange import Tick, Tock
from app.errors import InternalError, TidegateError, error_from_code
from app.security.identity import Identity


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An error as its parts."""

    code: str
    message: str
    param: str | None
    retry_after_s: float | None

    @classmethod
    def of(cls, error: TidegateError) -> "Failure":
        """The parts of one error."""
        return cls(error.code, error.message, error.param, error.retry_after_s)

    def error(self) -> TidegateError:
        """The error, rebuilt."""
        return error_from_code(
            self.code, self.message, param=self.param, retry_after_s=self.retry_after_s
        )


class Call(msgspec.Struct, frozen=True, array_like=True):
    """An admin call, numbered by the gateway that makes it on behalf of `caller`."""

    number: int
    method: str
    params: dict[str, Any]
    caller: Identity


class Result(msgspec.Struct, frozen=True, array_like=True):
    """What became of one numbered call: a value or a failure."""

    number: int
    value: dict[str, Any] | None = None
    failure: Failure | None = None

    def get(self) -> dict[str, Any]:
        """The value.

        Raises:
            TidegateError: what the call failed with.
        """
        if self.failure is not None:
            raise self.failure.error()
        if self.value is None:
            raise InternalError("the ledger answered a call with nothing")
        return self.value


def shard_of(tenant: str, shards: int) -> int:
    """The shard that keeps this tenant, the same in every process and release."""
    if shards == 1:
        return 0
    return int.from_bytes(sha256(tenant.encode()).digest()[:8], "big") % shards


ENCODER = msgspec.msgpack.Encoder()
TICK = msgspec.msgpack.Decoder(Tick)
TOCK = msgspec.msgpack.Decoder(Tock)
CALL = msgspec.msgpack.Decoder(Call)
RESULT = msgspec.msgpack.Decoder(Result)
