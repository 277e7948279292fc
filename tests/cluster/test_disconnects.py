"""Clients that leave: nothing may go on for nobody."""

import time

from tests.cluster.fleet import Fleet, until
from tests.cluster.streams import Streams


def test_a_hundred_clients_that_leave_in_mid_stream_leave_nothing_behind(fleet: Fleet) -> None:
    body = fleet.chat("Tell me of the sea.", max_tokens=1500, ignore_eos=True)
    # Some leave with their request, some after the first tokens; the others once all are served.
    with Streams(fleet, 100, body, leave_after=(-1, 0, 1, 2, 5, -1, 20, -1, 50, -1)) as streams:
        time.sleep(3)
        until(lambda: sum(stream.tokens > 0 for stream in streams.all) > 20, 60)
        assert fleet.status()["open_requests"] > 0
        streams.leave()
    fleet.settle(30)
    assert [stream.broken for stream in streams.all if stream.broken] == []
    answer = fleet.post(fleet.chat())
    assert answer.status_code == 200, answer.text


def test_clients_that_leave_while_the_prompt_is_read(fleet: Fleet) -> None:
    body = fleet.chat(" tide" * 6_000, max_tokens=4)
    with Streams(fleet, 4, body) as streams:
        until(lambda: fleet.status()["in_flight"] == 4, 30, every_s=0.05)
        streams.leave()
    fleet.settle(30)
