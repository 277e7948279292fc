"""Where the keeper puts its plan and Serve's controller reads it: Ray's key-value store.

Serve calls a policy many times a second on its controller's event loop, where nothing may block. So
a thread of the policy's process reads the plan now and then, and the policy looks at what it read.
"""

import contextlib
import threading
import time
from collections.abc import Mapping

import msgspec
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

_NAMESPACE = b"tidegate"
READ_S = 0.5
STALE_S = 30.0


class Wanted(msgspec.Struct, frozen=True, array_like=True):
    """How many replicas a deployment should have.

    Attributes:
        replicas: the number.
        settled: whether the keeper has heard of all there are; until then it is no reason to stop
            any.
    """

    replicas: int
    settled: bool


class Posted(msgspec.Struct, frozen=True):
    """What is on the board.

    Attributes:
        at: when it was put there, Unix time.
        wanted: what is wanted, by deployment.
    """

    at: float
    wanted: dict[str, Wanted]


def post(application: str, wanted: Mapping[str, Wanted]) -> None:
    """Puts a plan where the policies of an application find it; blocks for about a millisecond."""
    posted = msgspec.msgpack.encode(Posted(time.time(), dict(wanted)))
    _internal_kv_put(_key(application), posted, overwrite=True, namespace=_NAMESPACE)


class PlanBoard:
    """Follows the plan of one application, on a thread of its own.

    Args:
        application: its name.
    """

    def __init__(self, application: str) -> None:
        self._key = _key(application)
        self._posted: Posted | None = None
        threading.Thread(target=self._follow, name="plan-board", daemon=True).start()

    def wanted(self, deployment: str) -> Wanted | None:
        """What a deployment should have; None where nobody has said so lately."""
        posted = self._posted
        if posted is None or time.time() - posted.at > STALE_S:
            return None
        return posted.wanted.get(deployment)

    def _follow(self) -> None:
        while True:
            # The store is away while Ray's head restarts; what was read last goes stale by itself.
            with contextlib.suppress(Exception):
                data = _internal_kv_get(self._key, namespace=_NAMESPACE)
                if data is not None:
                    self._posted = msgspec.msgpack.decode(data, type=Posted)
            time.sleep(READ_S)


def _key(application: str) -> bytes:
    return f"plan:{application}".encode()
