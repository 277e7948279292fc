"""Handshakes between the two sides of a disaggregated pool, done before a request needs one.

Gateways know the replicas of both sides and tell each side of the other. The workers shake hands in
the background; gateways are told which engines are warm, and hand over between those.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from functools import partial

import structlog
from vllm.config import VllmConfig

from deployments.engine_core import StreamedEngineCore
from deployments.kv_group import GROUP_KEY, in_group
from deployments.messages import KvPeer

MAX_PEERS = 256
FIRST_POLL_S, LAST_POLL_S = 0.05, 1.0

log = structlog.get_logger(__name__)


def own_peer(config: VllmConfig, core: StreamedEngineCore) -> KvPeer:
    """Where an engine itself takes part in transfers."""
    connector = core.scheduler.get_kv_connector().connector_scheduler
    return KvPeer(
        config.kv_transfer_config.engine_id,
        connector.side_channel_host,
        connector.side_channel_port,
        config.parallel_config.tensor_parallel_size,
        config.parallel_config.pipeline_parallel_size,
    )


class Warmth:
    """Keeps an engine's workers acquainted with the engines that gateways have named.

    Args:
        config: the engine's configuration.
        core: the engine.
        changed: called with the ids of warm engines whenever they change.
    """

    def __init__(
        self,
        config: VllmConfig,
        core: StreamedEngineCore,
        changed: Callable[[list[str]], None],
    ) -> None:
        self._group: str = config.kv_transfer_config.kv_connector_extra_config[GROUP_KEY]
        self._core = core
        self._changed = changed
        self._named: dict[int, dict[str, KvPeer]] = {}
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.warm: list[str] = []

    def start(self) -> None:
        """Begins to look after handshakes."""
        self._task = asyncio.get_running_loop().create_task(self._look_after())

    async def close(self) -> None:
        """Ends it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def name(self, gateway: int, peers: Iterable[KvPeer]) -> None:
        """Takes in the engines of the other side that a gateway knows.

        Args:
            gateway: which gateway; what it said before is forgotten.
            peers: the engines; those of other groups are passed over.
        """
        own = {peer.engine_id: peer for peer in peers if in_group(peer.engine_id, self._group)}
        self._named[gateway] = own
        self._news.set()

    def gone(self, gateway: int) -> None:
        """Forgets what a gateway said."""
        if self._named.pop(gateway, None) is not None:
            self._news.set()

    def _peers(self) -> list[KvPeer]:
        known = {key: peer for named in self._named.values() for key, peer in named.items()}
        return list(known.values())[:MAX_PEERS]

    async def _look_after(self) -> None:
        wait = FIRST_POLL_S
        while True:
            if self._news.is_set():
                self._news.clear()
                wait = FIRST_POLL_S
            peers = self._peers()
            try:
                answers = await asyncio.wrap_future(self._core.call(partial(_warm, peers)))
            except Exception as error:  # noqa: BLE001 - the engine's death is told elsewhere
                log.warning("no handshake with other engines", error=str(error))
                answers = []
            # Every rank must be done.
            warm = sorted(set.intersection(*map(set, answers))) if answers else []
            if warm != self.warm:
                self.warm = warm
                self._changed(warm)
            missing = len(warm) < len(peers)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait if missing else None)
            wait = min(LAST_POLL_S, 2 * wait)


def _warm(peers: list[KvPeer], core: StreamedEngineCore) -> list[list[str]]:
    answers: list[list[str]] = core.model_executor.collective_rpc("warm_kv_peers", args=(peers,))
    return answers
