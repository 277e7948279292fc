"""Brings requests to replicas: placed, handed off, and taken elsewhere when a replica goes."""

import asyncio
import time
from collections import Counter

import msgspec

from app.api.context import Placed
from app.api.openai import translated
from app.errors import EngineLost, HandoffFailed, NoCapacity, ReplicaUnreachable, TidegateError
from app.routing.continuation import Seam, Way, next_look, on_death, on_drain
from app.routing.router import Route
from deployments.flight import Flight
from deployments.handoffs import HandOffs
from deployments.job import Admitted, Job
from deployments.link import Link
from deployments.links import Links
from deployments.messages import Submission
from deployments.placing import Placing
from deployments.sampling import to_go_on

LAST_LOOKS_S = 0.5


class Carrier:
    """Sends what is stranded, until it is on its way.

    A request is sent by whoever calls `carry`; if it is stranded later, when nobody waits for that,
    by a task of its own. Its outputs come past here, by the links.

    Args:
        placing: finds replicas, and waits for them.
        links: the streams to them.
        handoffs: reads prompts elsewhere.
        retries: how many further replicas are tried before a first token.
        migrations: how often a request may be taken elsewhere after it.

    Attributes:
        moves: how often requests went on elsewhere, by the way they did.
    """

    def __init__(
        self,
        placing: Placing,
        links: Links,
        handoffs: HandOffs,
        *,
        retries: int,
        migrations: int,
    ) -> None:
        self._placing = placing
        self._links = links
        self._handoffs = handoffs
        self._retries = retries
        self._migrations = migrations
        self._evacuations: set[asyncio.Task[None]] = set()
        self._jobs: dict[Flight, Job] = {}
        self.moves: Counter[str] = Counter()
        links.on_lost = self._source_lost
        links.on_leaving = self._leaving

    async def carry(self, job: Job) -> None:
        """Sends every flight of a request that is stranded.

        Raises:
            TidegateError: it can go nowhere.
        """
        job.carrying = True
        try:
            while job.stranded:
                flights, job.stranded = job.stranded, []
                await self._send(job, self._ways_on(job, flights))
        finally:
            job.carrying = False

    def take(self, job: Job) -> None:
        """Takes charge of a request's flights; all of them are to be sent."""
        job.stranded = list(job.flights)
        for flight in job.flights:
            self._jobs[flight] = job

    def drop(self, job: Job) -> None:
        """Ends whatever is still done for a request."""
        if job.mover is not None:
            job.mover.cancel()
        self._release(job)

    def close(self) -> None:
        """Looks after no replica any more."""
        for task in self._evacuations:
            task.cancel()

    def _release(self, job: Job) -> None:
        self._links.drop(job.flights)
        for flight in job.flights:
            self._jobs.pop(flight, None)
            self._handoffs.forget(flight)

    def failed(self, flight: Flight, error: TidegateError) -> None:
        """Takes the end of an attempt; the request may go on elsewhere."""
        job = self._jobs.get(flight)
        if job is None:
            return
        if isinstance(error, HandoffFailed):
            job.handoffs_failed += 1
            assert job.route is not None
            source = self._handoffs.failed(flight, job.route.pool)
            if source is not None:
                job.failed.add(source.replica_id)
        elif isinstance(error, ReplicaUnreachable):
            self._handoffs.forget(flight)
            if flight.link is not None:
                job.failed.add(flight.link.replica_id)
        else:
            job.give_up(error)
            return
        self._strand(job, flight)

    def _strand(self, job: Job, flight: Flight) -> None:
        flight.link, flight.lost = None, True
        job.stranded.append(flight)
        if not job.carrying:
            job.carrying = True
            job.mover = asyncio.get_running_loop().create_task(self._move(job))

    async def _move(self, job: Job) -> None:
        try:
            await self.carry(job)
        except TidegateError as error:
            job.give_up(error)
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer is told
            job.give_up(translated(error))

    def _ways_on(self, job: Job, flights: list[Flight]) -> list[Flight]:
        """What becomes of flights that are stranded.

        Returns:
            Those to be sent.

        Raises:
            NoCapacity: too many replicas were lost before the first token.
            EngineLost: what has been generated cannot be gone on with.
        """
        assert job.admitted is not None
        lost = [flight for flight in flights if flight.lost]
        for flight in lost:
            flight.lost = False
        begun = [flight for flight in lost if flight.tokens]
        if lost and not begun:
            job.losses += 1
            if job.losses > self._retries:
                raise NoCapacity(f"{job.losses} replicas were lost before the first token")
        for flight in begun:
            decision = on_death(
                job.admitted.traits, flight.tokens, job.migrations, self._migrations
            )
            self.moves[decision.way.value] += 1
            if decision.way is Way.FAIL:
                raise EngineLost(decision.reason)
            if decision.way is Way.RESTART:
                self._release(job)
                job.begin_anew()
                self.take(job)
                flights, job.stranded = job.stranded, []
                break
            flight.seam = Seam(flight.output_ids) if decision.way is Way.REPLAY else None
        if begun:
            job.migrations += 1
        return flights

    # Sending.

    async def _send(self, job: Job, flights: list[Flight]) -> None:
        """Finds a replica, waiting for one if need be, and sends it the flights."""
        admitted = job.admitted
        assert admitted is not None
        route = await self._placing.route(admitted, job.context.deadline, job.failed)
        self._placed(job, admitted, route)
        room = self._placing.pool(route.pool).engine.max_model_len - admitted.prompt_tokens
        reading = []
        for flight in flights:
            params = flight.request.sampling_params
            assert params is not None
            params.max_tokens = min(params.max_tokens or room, room)
            flight.next_wire_id()
            known = flight.tokens if flight.seam is None else 0
            if self._handoffs.wants(job, route.pool, admitted.prompt_tokens + known):
                reading.append(flight)
            else:
                self._direct(job, flight, route)
        if len(reading) == 1:
            await self._hand_off(job, reading[0], route)
        elif reading:
            ends = await asyncio.gather(
                *(self._hand_off(job, flight, route) for flight in reading),
                return_exceptions=True,
            )
            for end in ends:
                if end is not None:
                    raise end

    def _placed(self, job: Job, admitted: Admitted, route: Route) -> None:
        context = job.context
        if context.started and context.placement is not None:
            overhead = context.placement.overhead_ms
        else:
            overhead = (asyncio.get_running_loop().time() - context.received_at) * 1e3
        job.route = route
        context.placement = Placed(
            admitted.zone, route.pool, route.market, admitted.size_class, overhead
        )

    def _submission(self, job: Job, flight: Flight) -> Submission:
        admitted, context = job.admitted, job.context
        assert admitted is not None
        identity = context.identity
        return Submission(
            admitted.zone,
            admitted.prompt_tokens + admitted.expected_tokens,
            identity.tenant,
            identity.user,
            context.tier.value,
            identity.weight,
            flight.output_ids if flight.seam is None else [],
        )

    def _direct(self, job: Job, flight: Flight, route: Route) -> None:
        """Sends a request to be read and decoded in one place."""
        submission = self._submission(job, flight)
        request = flight.request
        if submission.generated:
            params = request.sampling_params
            assert params is not None
            request = msgspec.structs.replace(request, sampling_params=to_go_on(params))
        self._handoffs.watch(flight, route.pool)
        try:
            self._links.send(route, flight, submission, request=request)
        except ReplicaUnreachable:
            job.failed.add(route.replica_id)
            job.stranded.append(flight)

    async def _hand_off(self, job: Job, flight: Flight, route: Route) -> None:
        admitted = job.admitted
        assert admitted is not None
        submission = self._submission(job, flight)
        read = await self._handoffs.read(job, flight, submission, route.pool)
        if read is None:
            self._direct(job, flight, route)
            return
        # Chosen only now, by what is outstanding now.
        target = self._placing.decode(
            route.pool, job.failed, self._links.warm_with(read.source.replica_id)
        )
        if target is None:
            job.stranded.append(flight)
            return
        self._placed(job, admitted, target)
        try:
            self._handoffs.hand_over(flight, read, submission, target)
        except ReplicaUnreachable:
            job.failed.add(target.replica_id)
            job.stranded.append(flight)

    # Replicas that go.

    def _source_lost(self, replica_id: str) -> None:
        """A prefill replica has gone: what was to come from it never will."""
        for flight in self._handoffs.expected_from(replica_id):
            self._links.drop([flight])
            self.failed(flight, HandoffFailed("the replica that has read the prompt was lost"))

    def _leaving(self, link: Link) -> None:
        task = asyncio.get_running_loop().create_task(self._evacuate(link))
        self._evacuations.add(task)
        task.add_done_callback(self._evacuations.discard)

    async def _evacuate(self, link: Link) -> None:
        """Takes requests off a replica that drains, as they turn out not to end in time."""
        while link.connection is not None and link.leaves_at is not None and link.flights:
            now = time.monotonic()
            left_s = link.leaves_at - now
            for flight in list(link.flights.values()):
                job = self._jobs.get(flight)
                if job is not None and self._must_go(job, flight, now, left_s):
                    self._links.drop([flight])
                    self._handoffs.forget(flight)
                    job.failed.add(link.replica_id)
                    self._strand(job, flight)
            # What cannot be moved stays to the end.
            await asyncio.sleep(next_look(left_s) or LAST_LOOKS_S)

    def _must_go(self, job: Job, flight: Flight, now: float, left_s: float) -> bool:
        admitted = job.admitted
        assert admitted is not None
        came = flight.tokens - flight.brought
        elapsed = now - flight.began_at
        pace = came / elapsed if came > 1 and elapsed > 0 else None
        params = flight.request.sampling_params
        most = params.max_tokens - flight.tokens if params and params.max_tokens else 0
        expected = max(1, admitted.expected_tokens - flight.tokens)
        return on_drain(
            admitted.traits,
            min(expected, max(1, most)),
            pace,
            left_s,
            migrations=job.migrations,
            most=self._migrations,
        )
