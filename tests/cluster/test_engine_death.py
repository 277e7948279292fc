"""`kill -9` of engines under load."""

import os
import signal
from contextlib import ExitStack

from tests.cluster.fleet import Fleet, until
from tests.cluster.streams import Streams

SPOT = "public-small--spot"
CONFIDENTIAL = "confidential--on-demand"
WHOLE_AGAIN_S = 120.0


def test_death_of_engines_under_load(fleet: Fleet) -> None:
    """One replica of two dies, and the only one of another pool, each with requests in its queue.

    Both engines run eight requests at once, so that further ones have no token yet.
    """
    pids = {name: fleet.replicas(name)[0]["pid"] for name in (SPOT, CONFIDENTIAL)}
    body = fleet.chat("Tell me of the sea.", max_tokens=600, ignore_eos=True)
    calm = fleet.post(body).json()["choices"][0]["message"]["content"]
    with ExitStack() as stack:
        pair = stack.enter_context(Streams(fleet, 24, body))
        single = stack.enter_context(Streams(fleet, 12, body, zone="confidential"))
        until(lambda: started(pair) >= 16 and started(single) == 8, 60, every_s=0.02)
        waiting = [s for s in (*pair.all, *single.all) if s.status is None]
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        until(lambda: not fleet.whole(), 20, every_s=0.05)
        pair.join(200)
        single.join(200)

    # Those that had begun go on where they were; the others are sent again. Both to the replica
    # that is left, or to the replacement.
    assert len(waiting) == 12
    for stream in (*pair.all, *single.all):
        assert stream.whole, stream
        assert stream.finish == "length"
        assert stream.text == calm
    assert {stream.headers["x-tidegate-zone"] for stream in single.all} == {"confidential"}
    moves = fleet.status()["moves"]
    assert moves.keys() == {"continue"}
    assert 8 <= moves["continue"] <= 16

    until(fleet.whole, WHOLE_AGAIN_S)
    for name, pid in pids.items():
        (replica,) = fleet.replicas(name)
        assert replica["pid"] != pid
    fleet.settle()
    for zone in ("public", "confidential"):
        answer = fleet.post(fleet.chat(), x_tidegate_zone=zone)
        assert answer.status_code == 200, answer.text


def started(streams: Streams) -> int:
    return sum(stream.tokens > 0 for stream in streams.all)
