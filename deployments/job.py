"""One call of `generate`: what is known of it, from its arrival to its account."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.api.context import RequestContext
from app.errors import TidegateError
from app.routing.continuation import Traits
from app.routing.router import Route
from app.routing.size_class import SizeClass
from deployments.admission import Work
from deployments.flight import Flight
from deployments.gate import AnswerFilters

if TYPE_CHECKING:
    from deployments.demand_meter import Arrival


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request whose length, zone and class are known.

    Attributes:
        model: the model asked for.
        zone: the zone it belongs to.
        isolated: whether its risk sets it apart within the zone.
        task: what kind of task its text looks like.
        prompt_tokens: tokens of its prompt.
        expected_tokens: output that is expected of each answer.
        answers: how many answers it asks for.
        size_class: its class.
        need_tokens: the longest its sequence can become.
        work: what is reserved for it.
        traits: what tells whether another replica can go on with it.
        movable_prompt: whether its prompt can be read by one engine for another.
    """

    model: str
    zone: str
    isolated: bool
    task: str
    prompt_tokens: int
    expected_tokens: int
    answers: int
    size_class: SizeClass
    need_tokens: int
    work: Work
    traits: Traits
    movable_prompt: bool


@dataclass(slots=True, eq=False)
class Job:
    """One call of `generate`.

    Attributes:
        context: the request's.
        give_up: told what ends it, where no caller is there to raise to.
        begin_anew: makes its flights once more, without anything that has come.
        admitted: what is known of it once it is admitted.
        reservation: what the ledger knows it by.
        arrival: what has been counted of it as demand; None before, and once it has been settled.
        registered: the output processor's id of all its answers.
        filters: what its answers pass through.
        flights: one for each answer.
        route: where it was last sent.
        failed: replicas that have failed it.
        losses: replicas lost before a first token.
        migrations: how often it was taken elsewhere after one.
        handoffs_failed: how often its KV cache did not come over.
        stranded: flights that are on no replica and have to be sent.
        carrying: whether somebody sends them already.
        mover: the task that does, where `generate` does not.
        outcome: how it ended.
    """

    context: RequestContext
    give_up: Callable[[TidegateError], None] = lambda _: None
    begin_anew: Callable[[], None] = lambda: None
    admitted: Admitted | None = None
    reservation: str | None = None
    arrival: "Arrival | None" = None
    registered: str | None = None
    filters: AnswerFilters | None = None
    flights: list[Flight] = field(default_factory=list)
    route: Route | None = None
    failed: set[str] = field(default_factory=set)
    losses: int = 0
    migrations: int = 0
    handoffs_failed: int = 0
    stranded: list[Flight] = field(default_factory=list)
    carrying: bool = False
    mover: asyncio.Task[None] | None = None
    outcome: str = "cancelled"

    def fail(self, error: TidegateError) -> None:
        """Remembers why it ended, also for those who only see a stream's end."""
        self.context.error = error
        self.outcome = error.code
