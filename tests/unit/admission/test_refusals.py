import itertools

from hypothesis import given
from hypothesis import strategies as st

from app.admission.refusals import OTHERS, Refusal, RefusalTally
from app.audit.events import EventKind

IDS = map(str, itertools.count())
refusals = st.builds(
    Refusal, st.just(EventKind.REFUSED), st.sampled_from("abc"), tenant=st.sampled_from("xyz")
)


@given(st.lists(refusals, max_size=50), st.integers(1, 5))
def test_every_refusal_is_counted_in_bounded_room(seen: list[Refusal], most: int) -> None:
    tally = RefusalTally(most)
    for number, refusal in enumerate(seen):
        tally.add(refusal, f"r{number}")
    events = tally.take(1.0, IDS)
    assert sum(int(event.detail["count"]) for event in events) == len(seen)
    assert len(events) <= most + 1
    assert tally.take(2.0, IDS) == []


def test_events_name_the_first_request_and_the_rule() -> None:
    tally = RefusalTally(1)
    limited = Refusal(EventKind.REFUSED, "rate_limit_exceeded", "acme", "ada", "k", "public", "r")
    tally.add(limited, "first")
    tally.add(limited, "second")
    tally.add(Refusal(EventKind.UNAUTHENTICATED, "invalid_api_key"), "third")
    known, others = tally.take(5.0, IDS)
    assert (known.request_id, known.tenant, known.at) == ("first", "acme", 5.0)
    assert known.detail == {"code": "rate_limit_exceeded", "count": 2, "rule": "r"}
    assert others.detail == {"code": OTHERS, "count": 1}
