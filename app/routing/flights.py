"""Requests on their way, and prompts that have been read but have not arrived yet."""

from collections.abc import Hashable

from app.routing.balancer import Replica
from app.routing.breaker import Breaker

_MOST_READ = 4_096


class Flight:
    """A request on its way."""

    __slots__ = ("breaker", "prompt_tokens", "reads", "replica", "started", "ticket", "told")

    def __init__(
        self,
        replica: Replica,
        breaker: Breaker,
        ticket: int,
        prompt_tokens: int,
        started: float,
        *,
        reads: bool = False,
    ) -> None:
        self.replica = replica
        self.breaker = breaker
        self.ticket = ticket
        self.prompt_tokens = prompt_tokens
        self.started = started
        self.reads = reads
        """Whether it only has its prompt read, for another replica to go on with."""
        self.told = False
        """Whether the breaker has had its outcome."""


class Reads:
    """Flights that have had their prompt read, until it has arrived where it is decoded.

    A prefill replica whose KV caches do not arrive reads prompts as well as any other. So its
    breaker has the outcome of a flight only when that of the second half is known. Whoever leaves
    between the halves leaves a flight behind; there are so many of them at most, of which the
    oldest is given up first.
    """

    __slots__ = ("_flights",)

    def __init__(self) -> None:
        self._flights: dict[Hashable, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def keep(self, request_key: Hashable, flight: Flight) -> None:
        """Remembers a flight that has had its prompt read."""
        self.give_up(request_key)
        if len(self._flights) >= _MOST_READ:
            self.give_up(next(iter(self._flights)))
        self._flights[request_key] = flight

    def take(self, request_key: Hashable) -> Flight | None:
        """Forgets a flight whose outcome is known, and returns it, if there is one."""
        return self._flights.pop(request_key, None)

    def give_up(self, request_key: Hashable) -> None:
        """Forgets a flight whose outcome nobody will know, if there is one."""
        flight = self.take(request_key)
        if flight is not None:
            flight.breaker.abandoned(flight.ticket)
