"""The hand-off: a prompt is read by a prefill replica, and decoded by another from its KV cache."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import msgspec
from vllm.v1.engine import EngineCoreOutput, FinishReason

from app.config import PoolConfig
from app.errors import HandoffFailed, ReplicaUnreachable, TidegateError
from app.routing.handoff import HandoffThreshold
from app.routing.router import Route, Router
from deployments.flight import Flight
from deployments.job import Admitted, Job
from deployments.links import Links
from deployments.messages import Submission
from deployments.sampling import to_decode, to_read

MOST_FAILED = 2
"""After so many hand-offs that failed, a request is decoded where its prompt is read."""


@dataclass(frozen=True, slots=True)
class Read:
    """A prompt that has been read.

    Attributes:
        source: the prefill replica that holds its KV cache.
        transfer: what the decode engine has to be told to get it.
    """

    source: Route
    transfer: dict[str, Any]


@dataclass(slots=True)
class _Record:
    """What has been measured of one pool's hand-offs."""

    threshold: HandoffThreshold
    count: int = 0
    failed: int = 0
    seconds: float = 0.0
    last_s: float = 0.0


class HandOffs:
    """Carries the threshold of each disaggregated pool, and what is on its way between its sides.

    Args:
        pools: all pools; those that are not disaggregated are passed over.
        router: chooses replicas.
        links: the streams to them.
    """

    def __init__(self, pools: tuple[PoolConfig, ...], router: Router, links: Links) -> None:
        self._router = router
        self._links = links
        self._records = {
            pool.name: _Record(
                HandoffThreshold(
                    pool.disaggregated.handoff_from, least=max(64, pool.engine.block_size or 0)
                )
            )
            for pool in pools
            if pool.disaggregated is not None
        }
        self._expected: defaultdict[str, set[Flight]] = defaultdict(set)

    def wants(self, job: Job, pool: str, tokens: int) -> bool:
        """Whether a prompt of so many tokens is to be read elsewhere than decoded.

        Args:
            job: the request.
            pool: the pool that it goes to.
            tokens: the prompt, and what has been generated of the answer.
        """
        if job.admitted is None or job.handoffs_failed >= MOST_FAILED:
            return False
        return self._wants(job.admitted, pool, tokens)

    def expects(self, request: Admitted, pool: str) -> bool:
        """Whether the prompt of a request that has just arrived would be read elsewhere.

        Args:
            request: what is known of it.
            pool: the pool that it would go to.
        """
        return self._wants(request, pool, request.prompt_tokens)

    def _wants(self, request: Admitted, pool: str, tokens: int) -> bool:
        record = self._records.get(pool)
        if record is None or not request.movable_prompt:
            return False
        return record.threshold.wants(tokens)

    async def read(
        self, job: Job, flight: Flight, submission: Submission, pool: str
    ) -> Read | None:
        """Has a prefill replica read a prompt, and what has been generated already.

        Returns:
            What was read; None where no prefill replica could, so that decode has to read itself.

        Raises:
            TidegateError: the request was refused.
        """
        tokens = [*(flight.request.prompt_token_ids or ()), *submission.generated]
        request = msgspec.structs.replace(
            flight.request, prompt_token_ids=tokens, sampling_params=to_read()
        )
        ask = msgspec.structs.replace(submission, tokens=len(tokens) + 1, generated=[])
        tried: set[str] = set()
        while True:
            route = self._router.prefill_route(pool, _now(), frozenset(job.failed | tried))
            if route is None:
                return None
            tried.add(route.replica_id)
            try:
                output = await self._read(flight, route, ask, request)
            except (ReplicaUnreachable, HandoffFailed):
                continue
            if output.kv_transfer_params is not None:
                return Read(route, output.kv_transfer_params)

    async def _read(
        self, flight: Flight, route: Route, ask: Submission, request: Any
    ) -> EngineCoreOutput:
        done: asyncio.Future[EngineCoreOutput] = asyncio.get_running_loop().create_future()

        def failed(_: Flight, error: TidegateError) -> None:
            if not done.done():
                done.set_exception(error)

        def landed(output: EngineCoreOutput) -> None:
            if done.done():
                return
            if output.finish_reason in {FinishReason.LENGTH, FinishReason.STOP}:
                done.set_result(output)
            else:
                done.set_exception(HandoffFailed("the prompt could not be read"))

        reading = Flight(request, failed, wire_id=flight.wire_id, landed=landed)
        try:
            self._links.send(route, reading, ask, request=request)
            return await done
        finally:
            self._links.drop([reading])
            flight.batch_tenants |= reading.batch_tenants

    def hand_over(self, flight: Flight, read: Read, submission: Submission, target: Route) -> None:
        """Sends a request whose prompt has been read to the replica that goes on with it.

        Raises:
            ReplicaUnreachable: the replica has just gone.
        """
        params = flight.request.sampling_params
        assert params is not None
        request = msgspec.structs.replace(
            flight.request, sampling_params=to_decode(params, read.transfer)
        )
        pool = target.pool
        flight.arrived = lambda arrived, seconds, _: self._arrived(pool, arrived, seconds)
        # Decode has only the last token of the prompt to compute.
        self._links.send(target, flight, submission, request=request, prompt_tokens=1)
        flight.source = read.source
        self._expected[read.source.replica_id].add(flight)

    def _arrived(self, pool: str, flight: Flight, seconds: float) -> None:
        record = self._records[pool]
        record.count += 1
        record.seconds += seconds
        record.last_s = seconds
        record.threshold.handed_over(seconds)
        self.forget(flight)

    def watch(self, flight: Flight, pool: str) -> None:
        """Learns from a prompt that is read where it is decoded."""
        record = self._records.get(pool)
        flight.arrived = (
            None
            if record is None
            else lambda _, seconds, computed: record.threshold.prefilled(computed, seconds)
        )

    def forget(self, flight: Flight) -> None:
        """Expects nothing more for a request."""
        source, flight.source = flight.source, None
        if source is not None:
            flights = self._expected[source.replica_id]
            flights.discard(flight)
            if not flights:
                del self._expected[source.replica_id]

    def expected_from(self, replica_id: str) -> list[Flight]:
        """Requests that still expect their KV cache from a prefill replica."""
        return list(self._expected.get(replica_id, ()))

    def failed(self, flight: Flight, pool: str) -> Route | None:
        """Notes that a hand-off failed; returns the prefill replica that it was from."""
        source = flight.source
        self.forget(flight)
        if (record := self._records.get(pool)) is not None:
            record.failed += 1
        if source is not None:
            self._router.blamed(source, _now())
        return source

    def statistics(self) -> dict[str, dict[str, float]]:
        """By pool: hand-offs, seconds they took in all and at last, failures, the threshold."""
        return {
            pool: {
                "count": record.count,
                "seconds": record.seconds,
                "last_s": record.last_s,
                "failed": record.failed,
                "threshold": record.threshold.threshold,
            }
            for pool, record in self._records.items()
        }


def _now() -> float:
    return asyncio.get_running_loop().time()
