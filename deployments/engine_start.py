"""The start of a replica's engine, stage by stage: fetched, verified, loaded, tried."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import structlog
from vllm.config import VllmConfig
from vllm.tokenizers import get_tokenizer

from app.config import Deployed, Device, FleetConfig
from app.errors import WeightsRefused
from app.weights.baseline import Anomaly, Baselines, Stage, StageRecord
from app.weights.prepare import Prepared, prepare
from deployments.engine_args import check_sides, engine_args, sleeps
from deployments.engine_core import StreamedEngineCore
from deployments.engine_host import EngineHost
from deployments.fitness import Fitness
from deployments.keeper_client import KeeperClient
from deployments.loader import refusal
from deployments.staging import StagedStart, hardware, resident_memory

FIRST_WORDS = "The tide comes in."
MODEL_EVENT = "model"

log = structlog.get_logger(__name__)


class Started(NamedTuple):
    """An engine on standby."""

    host: EngineHost
    fitness: Fitness
    prepared: Prepared | None
    """The verified model that it has loaded; None where it was not to be verified."""


class EngineStart:
    """Starts one engine.

    Args:
        config: the fleet's configuration.
        deployed: which of its deployments the engine is of.
        keeper: is told how far it is and what it took; says what it is held against.
        on_violation: see `EngineHost`.
    """

    def __init__(
        self,
        config: FleetConfig,
        deployed: Deployed,
        keeper: KeeperClient,
        on_violation: Callable[[str], None],
    ) -> None:
        self._config = config
        self._deployed = deployed
        self._model = config.model(deployed.pool.model)
        self._keeper = keeper
        self._on_violation = on_violation
        self._loop = asyncio.get_running_loop()
        engine = deployed.pool.engine
        ranks = f"TP {engine.tensor_parallel_size} PP {engine.pipeline_parallel_size}"
        self._hardware = f"{hardware()}, {ranks}"
        self._events: list[asyncio.Task[None]] = []
        self._floor = 0
        self._staged: StagedStart

    async def run(self, address: str) -> Started:
        """Goes through all stages.

        Args:
            address: an address of this node, where the engine's stream is to listen.

        Raises:
            WeightsRefused: the model is not what somebody who is trusted has signed.
            WeightsUnavailable: it cannot be fetched.
            LoadingAnomaly: the start is far from what it usually is.
            ConfigError: the configuration does not fit the model.
        """
        prepared: Prepared | None = None
        try:
            await self._recall()
            prepared = await self._prepare()
            vllm_config, prompt = await self._configured(prepared, address)
            host = await self._load(vllm_config, address)
            fitness = self._fitness(host, vllm_config, prompt)
            with self._staged.stage(Stage.FIRST_INFERENCE):
                await fitness.first_inference()
        except WeightsRefused as error:
            if prepared is not None:
                prepared.discard()
            await self._keeper.event(
                MODEL_EVENT,
                what="refused",
                model=self._model.name,
                reason=error.reason,
                message=str(error),
            )
            raise
        finally:
            await asyncio.gather(*self._events)
        version = 0 if prepared is None else prepared.manifest.counted_version
        rows = self._staged.rows(self._model.name, self._hardware, time.time())
        self._keeper.started(self._model.name, self._hardware, version, rows)
        return Started(host, fitness, prepared)

    async def _recall(self) -> None:
        self._floor, rows = await self._keeper.begin(self._model.name, self._hardware)
        self._staged = StagedStart(
            self._config.weights.anomalies,
            Baselines.read(rows),
            memory_budget=self._deployed.pool.resources.memory,
            on_progress=self._progress,
            on_anomaly=self._anomaly,
        )

    async def _prepare(self) -> Prepared | None:
        model, staged = self._model, self._staged
        if model.unverified:
            log.warning("UNVERIFIED WEIGHTS: nobody has signed what is loaded", model=model.name)
            await self._keeper.event(MODEL_EVENT, what="unverified", model=model.name)
            return None
        before = resident_memory()
        self._progress(Stage.FETCH.value, 0, 0)
        prepared = await asyncio.to_thread(
            prepare,
            model,
            self._config.weights,
            least_version=self._floor,
            progress=self._progress,
        )
        grown = resident_memory() - before
        staged.add(StageRecord(Stage.FETCH, prepared.fetch_s, prepared.fetched_bytes))
        staged.add(StageRecord(Stage.VERIFY, prepared.verify_s, memory=grown))
        return prepared

    async def _configured(
        self, prepared: Prepared | None, address: str
    ) -> tuple[VllmConfig, list[int]]:
        """The engine's configuration, and a short prompt in its tokens."""
        pool, role = self._deployed.pool, self._deployed.role
        zone = self._config.zones[pool.zone]
        with self._staged.stage(Stage.TOKENIZER):
            args = engine_args(
                self._model, pool, zone, self._config.fairness, role, address, prepared
            )
            vllm_config = args.create_engine_config()
            check_sides(vllm_config, pool)
            model = vllm_config.model_config
            tokenizer = get_tokenizer(
                model.tokenizer,
                tokenizer_mode=model.tokenizer_mode,
                revision=model.tokenizer_revision,
                trust_remote_code=False,
            )
            prompt = list(tokenizer.encode(FIRST_WORDS))
        return vllm_config, prompt

    async def _load(self, vllm_config: VllmConfig, address: str) -> EngineHost:
        host = EngineHost(vllm_config, self._deployed.pool.zone, self._on_violation, standby=True)
        self._progress(Stage.WEIGHTS.value, 0, 0)
        before, began = resident_memory(), time.monotonic()
        try:
            await host.start(address)
        except Exception as error:
            # Where there are several ranks, vLLM does not say what one of them found.
            if (refused := refusal(vllm_config)) is not None:
                raise refused from error
            raise
        took, grown = time.monotonic() - began, resident_memory() - before
        try:
            loads = await host.call(_loads)
            weights_s = max((load.get("seconds", 0.0) for load in loads), default=0.0)
            size = sum(load.get("bytes", 0) for load in loads)
            if size:
                # Weights and what comes after them are one call into vLLM: the loader knows its
                # own time, and memory is told apart by what it read.
                read = min(size, max(0, grown))
                self._staged.add(StageRecord(Stage.WEIGHTS, weights_s, size, read))
                grown -= read
            self._staged.add(StageRecord(Stage.MEMORY, max(0.0, took - weights_s), memory=grown))
        except BaseException:
            await host.close()
            raise
        return host

    def _fitness(self, host: EngineHost, vllm_config: VllmConfig, prompt: list[int]) -> Fitness:
        pool = self._deployed.pool
        ranks = vllm_config.parallel_config.world_size
        cache = (pool.engine.kv_cache_memory or 0) if pool.resources.device is Device.CPU else 0
        return Fitness(host, prompt, kv_cache_bytes=cache * ranks, sleeps=sleeps(pool))

    def _progress(self, stage: str, done: int, total: int) -> None:
        self._loop.call_soon_threadsafe(self._keeper.starting, stage, done, total)

    def _anomaly(self, anomaly: Anomaly) -> None:
        event = self._keeper.event(
            MODEL_EVENT, what="anomaly", model=self._model.name, **anomaly.detail()
        )
        self._events.append(asyncio.ensure_future(event))


def _loads(core: StreamedEngineCore) -> list[dict[str, Any]]:
    return list(core.model_executor.collective_rpc("loading_record"))
