"""The keeper: one actor that carries the cores of all warm pools, and what starts are held against.

Replicas report to it and do what it answers; gateways tell it what waits for a replica; Serve's
controller finds its plan on the board. It may die at any moment: replicas and their number stay as
they are until the next one has heard of them.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import structlog
from ray import serve
from ray.serve.handle import DeploymentHandle

from app.config import FleetConfig
from autoscaling.keeper_news import KeeperNews
from autoscaling.nodes import Kind
from autoscaling.plan_terms import Ask, Site
from autoscaling.warm_pool import Report
from deployments.keeper_metrics import KeeperMetrics
from deployments.keeping import REFUSED, Keeping, Told
from deployments.nodes import NodeBoard, off_spot
from deployments.plan_board import Wanted, post

NAME = "keeper"
PLAN_S = 0.5
LEDGER_S = 10.0

log = structlog.get_logger(__name__)


class Keeper:
    """Carries a `Keeping`, and passes to the ledger what is to outlive it.

    Args:
        config: the fleet's configuration.
        ledgers: handles of the ledger's shards; none where keys are off. Then what is known of
            earlier starts and versions is lost with the keeper.
    """

    async def __init__(self, config: FleetConfig, ledgers: Sequence[DeploymentHandle]) -> None:  # type: ignore[misc]
        self._keeping = Keeping(config)
        self._ledger = ledgers[0] if ledgers else None
        self._metrics = KeeperMetrics()
        self._nodes = NodeBoard()
        self._application = serve.get_replica_context().app_name
        self._versions: dict[str, int] = {}
        self._known: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._planner = asyncio.get_running_loop().create_task(self._plan_forever())

    # From replicas.

    async def begin(self, model: str, hardware: str) -> tuple[int, list[dict[str, Any]]]:
        """What a start of a model is held against.

        Args:
            model: the model's name.
            hardware: what it starts on, see `deployments.staging.hardware`.

        Returns:
            The version below which it is refused, and the stages of earlier starts.
        """
        floor, history = self._versions.get(model, 0), self._known.get((model, hardware), [])
        if self._ledger is not None:
            versions = await self._told(self._ledger.model_versions.remote())
            floor = max(floor, (versions or {}).get(model, 0))
            history = (
                await self._told(self._ledger.recall_starts.remote(model, hardware)) or history
            )
        return floor, history

    async def starting(
        self,
        deployment: str,
        replica: str,
        stage: str,
        done: int,
        total: int,
        node: str,
        site: Site,
    ) -> None:
        """Takes how far a replica's start is, and where it is."""
        now = time.monotonic()
        self._keeping.starting(deployment, replica, stage, done, total, now, node=node, site=site)

    async def started(
        self, model: str, hardware: str, version: int, records: list[dict[str, Any]]
    ) -> None:
        """Takes the stages of a start that has ended well, to hold later ones against.

        Args:
            model: the model's name.
            hardware: what it has started on.
            version: the signed version that was loaded; 0 where there is none.
            records: a row for each stage.
        """
        known = self._known.setdefault((model, hardware), [])
        known += records
        del known[:-_MOST_KNOWN]
        self._versions[model] = max(version, self._versions.get(model, 0))
        self._metrics.started(model, records)
        if self._ledger is not None:
            await self._told(self._ledger.remember_starts.remote(records))
            await self._told(self._ledger.raise_version.remote(model, version))

    async def report(self, deployment: str, report: Report) -> Told:
        """Takes a replica's report; what it is to do, and how long its node is there."""
        return self._keeping.report(deployment, report, time.monotonic())

    async def event(self, kind: str, detail: dict[str, str | int | float | bool]) -> None:
        """Has something that concerns security recorded in the audit log."""
        log.warning("event", kind=kind, **detail)
        if detail.get("what") == REFUSED:
            who = str(detail["deployment"]), str(detail["replica"])
            self._keeping.refused(*who, str(detail["reason"]), time.monotonic())
        if self._ledger is not None:
            await self._told(self._ledger.security_event.remote(kind, detail))

    # From gateways.

    async def waiting(
        self, gateway: str, demand: Mapping[str, tuple[float, int]]
    ) -> list[dict[str, Any]]:
        """Takes what waits at a gateway for a replica, by deployment: tokens and requests.

        Returns:
            The starts under way.
        """
        now = time.monotonic()
        self._keeping.waiting(gateway, demand, now)
        return self._keeping.starts(now)

    # From whoever looks ahead.

    async def planned(self, asks: dict[str, Ask]) -> KeeperNews:
        """Takes how many replicas are asked for, by deployment; what has happened since."""
        return self._keeping.planned(asks, time.monotonic())

    # From the nodes.

    async def notice(self, node: str, kind: Kind, left_s: float | None) -> bool:
        """Takes that a node goes, or that it may.

        Args:
            node: its id.
            kind: `preempted` for one that goes, which Ray has been told; `rebalance` for one that
                may go.
            left_s: seconds until it is gone; None where nobody has said.

        Returns:
            Whether any replica has reported from it.
        """
        now = time.monotonic()
        known = self._keeping.notice(node, kind, None if left_s is None else now + left_s, now)
        log.warning("notice", node=node, kind=kind, left_s=left_s, known=known)
        return known

    async def status(self) -> dict[str, Any]:
        """The plan, the counts of each pool and the starts under way."""
        now = time.monotonic()
        plans = self._keeping.plans(now)
        return {
            "starting": self._keeping.starts(now),
            "pools": {
                name: {"plan": plans[name].replicas, "reason": plans[name].reason}
                | pool.snapshot(now)
                for name, pool in self._keeping.pools.items()
            },
        }

    async def _plan_forever(self) -> None:
        while True:
            now = time.monotonic()
            if (view := self._nodes.view) is not None:
                # Whatever becomes of the notices, Ray knows which nodes drain.
                since = now - time.time()
                leaving = {node: at + since for node, at in view.leaving.items()}
                self._keeping.seen(view.labels.keys(), leaving, view.at)
            plans = self._keeping.plans(now)
            wanted = {name: Wanted(plan.replicas, plan.settled) for name, plan in plans.items()}
            # Away while Ray's head restarts; the policy then leaves everything as it is.
            with contextlib.suppress(Exception):
                await asyncio.to_thread(post, self._application, wanted)
            self._metrics.publish(
                {name: pool.snapshot(now) for name, pool in self._keeping.pools.items()}
            )
            await asyncio.sleep(PLAN_S)

    async def _told(self, answer: Awaitable[Any]) -> Any:
        """The ledger's answer; None if there is none in time: it is no reason not to serve."""
        try:
            return await asyncio.wait_for(answer, LEDGER_S)
        except Exception as error:  # noqa: BLE001 - Ray raises whatever the ledger did, and more
            log.warning("the ledger did not answer", error=type(error).__name__)
            return None

    async def __del__(self) -> None:
        planner = getattr(self, "_planner", None)
        if planner is not None:
            planner.cancel()


_MOST_KNOWN = 64 * 6


def keeper_application(
    config: FleetConfig, ledgers: Sequence[serve.Application]
) -> serve.Application:
    """Binds the keeper's deployment."""
    deployment = serve.deployment(Keeper).options(
        name=NAME,
        num_replicas=1,
        max_ongoing_requests=1000,
        # It computes next to nothing, and must not wait for a core to be free.
        ray_actor_options={"num_cpus": 0} | off_spot(config),
    )
    return deployment.bind(config, list(ledgers))
