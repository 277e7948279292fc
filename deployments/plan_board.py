"""Where the keeper puts its plan and Serve's controller reads it: Ray's key-value store.

Serve calls a policy many times a second on its controller's event loop, where nothing may block. So
a thread of the policy's process reads the plan now and then, and the policy looks at what it read.
"""

import logging
import threading
import time
from collections.abc import Mapping

import msgspec
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

_NAMESPACE = b"tidegate"
READ_S = 0.5
STALE_S = 30.0

# Serve's controller shows what this logger says.
log = logging.getLogger("ray.serve")


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


_POSTED = msgspec.msgpack.Decoder(Posted)


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
            try:
                data = _internal_kv_get(self._key, namespace=_NAMESPACE)
                if data is not None:
                    self._posted = _POSTED.decode(data)
            except Exception as error:  # noqa: BLE001 - away while Ray's head restarts, for example
                # What was read last goes stale by itself.
                log.warning("the plan cannot be read: %r", error)
            time.sleep(READ_S)


def board_of(application: str) -> PlanBoard:
    """The board of an application, one a process."""
    if application not in _boards:
        _boards[application] = PlanBoard(application)
    return _boards[application]


_boards: dict[str, PlanBoard] = {}


def _key(application: str) -> bytes:
    return f"plan:{application}".encode()
