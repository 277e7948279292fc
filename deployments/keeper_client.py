"""What a replica says to the keeper, and what it does without an answer."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import structlog
from ray.serve.handle import DeploymentHandle

from autoscaling.plan_terms import Site
from autoscaling.warm_pool import Report
from deployments.keeping import Told

BEGIN_S = 30.0
TELL_S = 10.0
STAGE_S = 0.5

log = structlog.get_logger(__name__)


class KeeperClient:
    """Speaks to the keeper for one replica. It is never a reason not to start.

    Args:
        keeper: the keeper's handle.
        deployment: the replica's deployment.
        replica: Serve's id of the replica.
        node: id of the node that it runs on.
        site: where that is.
    """

    def __init__(
        self, keeper: DeploymentHandle, deployment: str, replica: str, node: str, site: Site
    ) -> None:
        self._keeper = keeper
        self._deployment = deployment
        self._replica = replica
        self._node, self._site = node, site
        self._told: set[asyncio.Task[Any]] = set()
        self._stage, self._told_at = "", 0.0

    async def begin(self, model: str, hardware: str) -> tuple[int, list[dict[str, Any]]]:
        """The lowest version to load and earlier starts; nothing of either if nobody answers."""
        answer = await self._answer(self._keeper.begin.remote(model, hardware), BEGIN_S)
        return answer or (0, [])

    def starting(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Tells how far the start is, without waiting, and not more often than it is looked at."""
        now = time.monotonic()
        if stage == self._stage and now - self._told_at < STAGE_S:
            return
        self._stage, self._told_at = stage, now
        call = self._keeper.starting.remote(
            self._deployment, self._replica, stage, done, total, self._node, self._site
        )
        self._tell(call)

    def started(
        self, model: str, hardware: str, version: int, records: Sequence[dict[str, Any]]
    ) -> None:
        """Tells that the start has ended well, without waiting; on the loop."""
        self._tell(self._keeper.started.remote(model, hardware, version, list(records)))

    async def event(self, kind: str, **detail: str | float | bool) -> None:
        """Has something that concerns security recorded."""
        detail |= {"deployment": self._deployment, "replica": self._replica}
        log.error("security event", kind=kind, **detail)
        await self._answer(self._keeper.event.remote(kind, detail), TELL_S)

    async def report(self, report: Report) -> Told:
        """Sends a report; what the replica is to do, and how long its node is there.

        Raises:
            Exception: the keeper has not answered, for whatever reason Ray has for it.
        """
        told: Told = await self._keeper.report.remote(self._deployment, report)
        return told

    def _tell(self, call: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(call, TELL_S))
        self._told.add(task)
        task.add_done_callback(self._told.discard)

    async def _answer(self, call: Any, timeout_s: float) -> Any:
        try:
            return await asyncio.wait_for(call, timeout_s)
        except Exception as error:  # noqa: BLE001 - Ray raises what it likes
            log.warning("the keeper did not answer", error=type(error).__name__)
            return None
