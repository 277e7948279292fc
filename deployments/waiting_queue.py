"""vLLM's waiting queue, in the order of the fair queue."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from vllm.v1.core.sched.request_queue import RequestQueue
from vllm.v1.request import Request, RequestStatus

from app.admission.fair_queue import FairQueue, Ticket
from app.admission.isolation import Headroom
from deployments.isolation import claim_of


class WaitingQueue(RequestQueue):
    """vLLM's waiting queue over `FairQueue`, open to what the scheduler lets start.

    Args:
        core: the order.
        headroom: what has been promised of the KV cache.
    """

    def __init__(self, core: FairQueue, headroom: Headroom) -> None:
        self.core = core
        self._headroom = headroom
        self._requests: dict[str, Request] = {}
        self._now = 0.0
        self._only: str | None = None
        self._resumed_only = False
        self._closed = False
        self._head: Request | None = None
        self._making_room = False

    def open(
        self,
        now: float,
        *,
        only: str | None = None,
        resumed_only: bool = False,
        closed: bool = False,
    ) -> None:
        """Says what may start in the step that begins.

        Args:
            now: the step's time.
            only: the one tenant whose requests may start; by default all.
            resumed_only: whether only requests may go on that had started before.
            closed: whether nothing may start.
        """
        self._now, self._only = now, only
        self._resumed_only, self._closed = resumed_only, closed
        self._head = None

    def next_tenant(self, now: float, without: set[str]) -> str | None:
        """The tenant that is due and has a request that is ready; None if there is none."""
        skipped = set(without)
        while (key := self.core.head(now, without=skipped)) is not None:
            request = self._requests[key]
            tenant = claim_of(request).tenant
            if not _waits_for_grammar(request):
                return tenant
            skipped.add(tenant)
        return None

    def blocked(self) -> Request | None:
        """The request that is due, if it could start but for the KV cache or a free place."""
        self._due()
        head = self._head
        return None if head is None or _waits_for_grammar(head) else head

    @contextmanager
    def making_room(self) -> Iterator[None]:
        """Requests that are preempted in here are set aside: they go back to where they waited."""
        self._making_room = True
        try:
            yield
        finally:
            self._making_room = False

    def need(self, request: Request) -> int:
        """Tokens of KV cache that a request is expected to occupy."""
        claim = claim_of(request)
        expected = request.num_prompt_tokens + claim.resumed + claim.expected_tokens
        return self._headroom.need(expected, request.num_tokens)

    # vLLM's interface.

    def add_request(self, request: Request) -> None:
        """Takes a new request in."""
        claim = claim_of(request)
        ticket = Ticket(
            claim.tenant,
            claim.tier,
            request.num_prompt_tokens,
            claim.expected_tokens,
            claim.weight,
        )
        self.core.add(request.request_id, ticket, time.monotonic())
        self._requests[request.request_id] = request
        self._head = None

    def peek_request(self) -> Request:
        """The request that is due."""
        head = self._due()
        if head is None:
            raise IndexError("no request may start")
        return head

    def pop_request(self) -> Request:
        """Takes out the request that is due, and charges it."""
        request = self.peek_request()
        self.core.start(request.request_id)
        del self._requests[request.request_id]
        self._headroom.promised += self.need(request)
        self._head = None
        return request

    def prepend_request(self, request: Request) -> None:
        """Takes back a request that was preempted: it goes before all others, unless set aside."""
        if self._making_room:
            self.core.set_aside(request.request_id)
        else:
            self.core.preempt(request.request_id)
        self._requests[request.request_id] = request
        self._headroom.promised -= self.need(request)
        self._head = None

    def prepend_requests(self, requests: Iterable[Request]) -> None:
        """Takes back requests that were popped in this step and could not start."""
        for request in requests:
            self.core.take_back(request.request_id)
            self._requests[request.request_id] = request
            self._headroom.promised -= self.need(request)
        self._head = None

    def remove_request(self, request: Request) -> None:
        """Forgets a request that will not start."""
        if self._requests.pop(request.request_id, None) is not None:
            self.core.leave(request.request_id, claim_of(request).generated)
            self._head = None

    def remove_requests(self, requests: Iterable[Request]) -> None:
        """Forgets requests, those it does not have passed over."""
        for request in requests:
            self.remove_request(request)

    def __bool__(self) -> bool:
        """Whether a request may start now; `len` says how many wait."""
        return self._due() is not None

    def __len__(self) -> int:
        """Requests that wait."""
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        """All that wait."""
        return (self._requests[key] for key in self.core)

    def _due(self) -> Request | None:
        if self._closed or not self._requests:
            return None
        if self._head is None:
            key = self.core.head(self._now, only=self._only, resumed_only=self._resumed_only)
            if key is None:
                return None
            self._head = self._requests[key]
        # What is due but does not fit is waited for: passing it by would starve long requests.
        return self._head if self._headroom.fits(self.need(self._head)) else None


def _waits_for_grammar(request: Request) -> bool:
    structured = request.structured_output_request
    return (
        request.status == RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR
        and structured is not None
        and structured.grammar is None
    )
