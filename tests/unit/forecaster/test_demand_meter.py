from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from app.routing.size_class import SizeClass
from autoscaling.demand.history import DemandHistory
from autoscaling.demand.terms import Sample, Work
from deployments.demand_meter import DemandMeter
from tests.unit.forecaster.fleets import FLEET

T0 = 1_800_000_000.0


@dataclass
class Request:
    model: str = "m"
    zone: str = "private"
    isolated: bool = False
    prompt_tokens: int = 100
    expected_tokens: int = 40
    answers: int = 1

    @property
    def need_tokens(self) -> int:
        return self.prompt_tokens + self.expected_tokens

    @property
    def size_class(self) -> SizeClass:
        found = SizeClass.of(self.need_tokens)
        assert found is not None
        return found


@dataclass
class Flight:
    tokens: int = 0
    first_at: float = 0.0
    last_at: float = 0.0


@dataclass
class Job:
    admitted: Request = field(default_factory=Request)
    flights: list[Flight] = field(default_factory=list)
    outcome: str = "finished"
    route: Any = None
    arrival: Any = None
    context: Any = field(default_factory=lambda: SimpleNamespace(received_at=0.0))


class Gateway:
    """A meter, with what a gateway has beside it."""

    def __init__(self) -> None:
        self.waiting: list[Request] = []
        handoffs: Any = SimpleNamespace(
            expects=lambda request, pool: pool == "long" and request.prompt_tokens >= 4000
        )
        waiting: Any = SimpleNamespace(requests=self.waiting)
        self.meter: Any = DemandMeter(FLEET, waiting, handoffs)

    def said(self, now: float) -> dict[str, Sample]:
        groups: dict[str, Sample] = self.meter.message(now).groups
        self.meter.answered()
        return groups

    def served(self, at: float, until: float, job: Job, *flights: Flight, pool: str = "") -> Job:
        job.context.received_at = at
        self.meter.arrived(job, at)
        job.flights = list(flights)
        job.route = SimpleNamespace(pool=pool or job.arrival.pool.name)
        self.meter.ended(job, until)
        return job


@pytest.fixture
def gateway() -> Gateway:
    made = Gateway()
    made.said(0.0)
    return made


def test_demand_is_counted_as_it_arrives_as_what_it_is_expected_to_be(gateway: Gateway) -> None:
    gateway.meter.arrived(Job(), 0.5)
    gateway.meter.arrived(Job(Request(answers=3)), 0.6)
    assert gateway.said(1.0) == {"short": Sample(2, Work(200.0, 160.0))}
    assert gateway.said(2.0) == {}


def test_a_prompt_that_is_handed_over_belongs_to_those_who_compute_it(gateway: Gateway) -> None:
    gateway.meter.arrived(Job(Request(prompt_tokens=5000)), 0.5)
    gateway.meter.arrived(Job(Request(prompt_tokens=3000)), 0.5)
    assert gateway.said(1.0) == {
        "long--prefill": Sample(1, Work(5000.0, 0.0)),
        "long": Sample(2, Work(3000.0, 80.0)),
    }


def test_demand_belongs_to_the_pool_that_is_built_for_it_not_to_where_it_spilled(
    gateway: Gateway,
) -> None:
    gateway.served(0.1, 0.9, Job(), Flight(40, 0.2, 0.8), pool="long")
    said = gateway.said(1.0)
    assert (said["short"].requests, said["short"].arrived) == (1, Work(100.0, 40.0))
    assert said["long"].arrived == Work()
    # The answer was the other pool's.
    assert (said["short"].answers, said["long"].answers) == (0, 1)
    gateway.meter.arrived(Job(Request(isolated=True)), 1.5)
    assert set(gateway.said(2.0)) == {"apart"}


def test_a_request_that_fits_nowhere_is_nobodys_demand(gateway: Gateway) -> None:
    job = Job(Request(zone="elsewhere"))
    gateway.meter.arrived(job, 0.5)
    gateway.meter.ended(job, 0.6)
    assert gateway.said(1.0) == {}


def test_what_was_really_done_corrects_what_was_expected(gateway: Gateway) -> None:
    job = Job()
    gateway.meter.arrived(job, 0.5)
    gateway.said(1.0)
    job.flights = [Flight(100, 0.6, 9.0)]
    gateway.meter.ended(job, 20.0)
    [correction] = gateway.said(20.5)["short"].corrections
    assert (correction.age_s, correction.work) == (20.0, Work(0.0, 60.0))
    gateway.meter.ended(job, 21.0)
    assert gateway.said(22.0) == {}


@pytest.mark.parametrize(
    ("outcome", "tokens", "corrected"),
    [
        ("cancelled", 0, Work(-100.0, -40.0)),
        ("cancelled", 10, Work(0.0, -30.0)),
        ("content_refused", 0, Work(-100.0, -40.0)),
        ("invalid_request", 0, Work(-100.0, -40.0)),
        ("no_capacity", 0, None),
        ("request_timeout", 0, None),
        ("engine_lost", 10, None),
        ("finished", 40, None),
    ],
)
def test_what_was_not_worked_is_taken_back_but_for_what_could_not_be_served(
    gateway: Gateway, outcome: str, tokens: int, corrected: Work | None
) -> None:
    flight = Flight(tokens, 0.5, 0.6) if tokens else Flight()
    gateway.served(0.5, 0.9, Job(outcome=outcome), flight)
    sample = gateway.said(1.0)["short"]
    assert sample.arrived == Work(100.0, 40.0)
    prefill = sum(each.work.prefill for each in sample.corrections)
    decode = sum(each.work.decode for each in sample.corrections)
    assert Work(prefill, decode) == (corrected or Work())
    assert sample.answers == (outcome == "finished")


def test_corrections_are_put_together_by_when_their_requests_arrived(gateway: Gateway) -> None:
    jobs = [(0.5 + second, Job()) for second in range(3000)]
    for at, job in jobs:
        gateway.meter.arrived(job, at)
    gateway.said(3000.0)
    for _, job in jobs:
        gateway.meter.ended(job, 3001.0)
    corrections = gateway.said(3001.0)["short"].corrections
    assert len(corrections) == 64
    assert sum(each.work.decode for each in corrections) == -40.0 * 3000
    assert min(each.age_s for each in corrections) == pytest.approx(6.0)
    assert max(each.age_s for each in corrections) > 640


@pytest.mark.parametrize(
    ("flights", "late"),
    [
        ([Flight(40, 1.9, 4.0)], False),
        ([Flight(40, 2.1, 4.0)], True),
        ([Flight(41, 1.0, 5.1)], True),
        ([Flight(1, 1.0, 1.0)], False),
        ([Flight(40, 1.0, 2.0), Flight(40, 1.5, 9.0)], True),
    ],
)
def test_an_answer_is_late_if_it_missed_its_first_token_or_its_pace(
    gateway: Gateway, flights: list[Flight], late: bool
) -> None:
    gateway.served(0.0, 10.0, Job(), *flights)
    sample = gateway.said(11.0)["short"]
    assert (sample.answers, sample.late) == (1, late)


def test_a_late_first_token_is_prefills_and_a_slow_pace_is_decodes(gateway: Gateway) -> None:
    long = Request(prompt_tokens=5000)
    gateway.served(0.0, 9.0, Job(long), Flight(40, 3.0, 4.0))
    gateway.served(0.0, 9.0, Job(long), Flight(40, 1.0, 9.0))
    gateway.served(0.0, 9.0, Job(Request(prompt_tokens=3000)), Flight(40, 3.0, 4.0))
    said = gateway.said(11.0)
    assert (said["long--prefill"].answers, said["long--prefill"].late) == (2, 1)
    assert (said["long"].answers, said["long"].late) == (3, 2)


def test_what_waits_is_the_backlog_of_where_it_should_go(gateway: Gateway) -> None:
    gateway.waiting += [Request(), Request(answers=2), Request(prompt_tokens=5000)]
    said = gateway.said(1.0)
    assert said["short"].backlog == Work(200.0, 120.0)
    assert said["long--prefill"].backlog == Work(5000.0, 0.0)
    assert said["long"].backlog == Work(0.0, 40.0)
    gateway.waiting.clear()
    assert gateway.said(2.0) == {}


def test_a_message_that_was_not_answered_is_sent_again_and_nothing_is_lost_or_doubled() -> None:
    gateway = Gateway()
    history = DemandHistory(["short"])
    for second in range(1, 101):
        gateway.meter.arrived(Job(Request(expected_tokens=0)), second - 0.5)
        message = gateway.meter.message(float(second))
        arrives, answer_arrives = second % 3 != 0, second % 5 != 0
        if arrives:
            history.take(message, T0 + second)
        if arrives and answer_arrives:
            gateway.meter.answered()
    for second in (101, 102):
        history.take(gateway.meter.message(float(second)), T0 + second)
        gateway.meter.answered()
    series = history.series("short", "prefill", 10.0, T0 + 102)
    # A request a second, each where it belongs; the first message cannot say since when it counts.
    assert series.values[1:] == pytest.approx([100.0] * 9, rel=0.08)
    kept = history._records["short"].values[0]
    assert kept[120:840].sum() == pytest.approx(100 * 100.0)


def test_gateways_are_never_taken_for_each_other() -> None:
    assert Gateway().meter.message(0.0).gateway != Gateway().meter.message(0.0).gateway
