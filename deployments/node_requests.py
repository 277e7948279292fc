"""Asks Ray's autoscaler for the nodes that the planned fleet needs, before its replicas do."""

import asyncio
import time
from collections.abc import Sequence

import structlog
from ray.autoscaler.sdk import request_resources

NodeNeed = tuple[dict[str, float], dict[str, str], int]
"""Resources of one replica or rank, labels of the node it needs, and how many of them."""
REPEAT_S = 60.0
RETRY_S = 10.0
MOST = 20_000

log = structlog.get_logger(__name__)


class NodeRequests:
    """Repeats what is needed, all of it each time: Ray counts what runs already as part of it.

    A cluster without an autoscaler takes no notice.
    """

    def __init__(self) -> None:
        self._asked: list[NodeNeed] | None = None
        self._next_at = 0.0
        self._failing = False

    async def ask(self, needs: Sequence[NodeNeed]) -> bool:
        """Asks for nodes where that has changed, or was last done a minute ago.

        Args:
            needs: Everything the fleet needs.

        Returns:
            Whether Ray was asked, and has answered.
        """
        wanted, now = list(needs), time.monotonic()
        if now < self._next_at and (wanted == self._asked or self._failing):
            return False
        bundles, selectors = bundles_of(wanted)
        try:
            await asyncio.to_thread(
                request_resources, bundles=bundles, bundle_label_selectors=selectors
            )
        except Exception as error:  # noqa: BLE001 - away while Ray's head restarts, for example
            if not self._failing:
                log.warning("nodes cannot be asked for", error=repr(error))
            self._failing, self._next_at = True, now + RETRY_S
            return False
        self._asked, self._failing, self._next_at = wanted, False, now + REPEAT_S
        return True


def bundles_of(needs: Sequence[NodeNeed]) -> tuple[list[dict[str, float]], list[dict[str, str]]]:
    """Resources and labels, one entry for each replica or rank, as Ray wants them.

    Args:
        needs: What is needed; where it is more than any cluster has, the rest is left out.
    """
    bundles: list[dict[str, float]] = []
    selectors: list[dict[str, str]] = []
    for resources, labels, count in needs:
        some = max(0, min(count, MOST - len(bundles)))
        bundles += [dict(resources) for _ in range(some)]
        selectors += [dict(labels) for _ in range(some)]
    return bundles, selectors
