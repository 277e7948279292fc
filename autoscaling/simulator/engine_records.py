"""The memory of the compiled engine: records that are read and written in place.

Lists of requests are linked by `Request.next`: the free places, the queue, the queue of those that
were moved, and the requests that wait in a replica. -1 stands for none.

numba's cache of `engine_kernel` notices a changed record, but no changed number: who changes one of
the states below touches that file too.
"""

from __future__ import annotations

import numpy as np

from autoscaling.simulator.histogram import BINS

MOST_REPLICAS = 4096
MOST_SEQS = 4096
MOST_POINTS = 256
"""Known prefill times of a replica, at most."""

FREE, COMING, OPEN, CLOSED = range(4)
"""What a slot is: without a replica, with one that opens later, open, or closed to requests."""

REPLICA = np.dtype(
    [
        ("next_s", np.float64),  # when its next event is; infinite without one
        ("last_s", np.float64),  # when it was brought up to date; of one that comes: when it opens
        ("clock", np.float64),  # tokens given to each sequence since there was none
        ("ends", np.float64),  # sum of the clock's values at which its sequences end
        ("pace", np.float64),  # how fast the clock runs: tokens a second
        ("unread", np.float64),  # share of the prompt being read that is left
        ("read_pace", np.float64),  # how much of it a second
        ("read_s", np.float64),  # how long it takes alone
        ("unread_tokens", np.float64),  # prompts and answers of the requests that are not read
        ("kv", np.int64),  # tokens of the cache that are promised to requests
        ("heap", np.int64),  # where its sequences begin in the heaps
        ("seqs", np.int32),  # sequences that decode
        ("reading", np.int32),  # the request whose prompt is read
        ("first", np.int32),  # the first and the last that wait
        ("last", np.int32),
        ("waiting", np.int32),  # how many those are
        ("state", np.int32),
        ("place", np.int32),  # where it stands among the open ones
        ("next_is_end", np.int32),  # whether its next event is the end of an answer
    ],
    align=True,
)

SEQUENCE = np.dtype([("end", np.float64), ("request", np.int32)], align=True)
"""A place in a heap: the clock's value at which a sequence ends."""

REQUEST = np.dtype(
    [
        ("arrived_s", np.float64),
        ("first_s", np.float64),  # when its first token came; -1 before
        ("since_s", np.float64),  # when it began to wait at the gateway
        ("prompt", np.int64),  # tokens to read and tokens still to be given: their sum stays
        ("left", np.int64),
        ("output", np.int64),  # all the tokens to be given
        ("moves", np.int32),
        ("next", np.int32),
    ],
    align=True,
)

GATE = np.dtype(
    [
        ("now_s", np.float64),
        ("random", np.uint64),
        # Lists of requests, and how long they are.
        ("unused", np.int32),
        ("queue_first", np.int32),
        ("queue_last", np.int32),
        ("moved_first", np.int32),
        ("moved_last", np.int32),
        ("queued", np.int64),
        ("moved", np.int64),
        ("queued_tokens", np.int64),
        # Replicas.
        ("open", np.int64),
        ("coming", np.int64),
        ("changed", np.int64),  # whether one opened or requests were moved since the last run
        ("opened", np.int32, (MOST_REPLICAS,)),
        # What has been counted.
        ("arrived", np.int64),
        ("finished", np.int64),
        ("refused", np.int64),
        ("lost", np.int64),
        ("retried", np.int64),
        ("met", np.int64),
        ("prompt_tokens", np.int64),
        ("output_tokens", np.int64),
        ("itl_count", np.int64),
        ("queued_ever", np.int64),
        ("sum_ttft", np.float64),
        ("sum_itl", np.float64),
        ("ttft", np.int64, (BINS,)),
        ("itl", np.int64, (BINS,)),
        # What was said at the beginning.
        ("ttft_slo", np.float64),
        ("itl_slo", np.float64),
        ("patience_s", np.float64),
        ("queue_most", np.int64),
        ("max_seqs", np.int64),
        ("kv_tokens", np.int64),
        ("chunk_tokens", np.int64),
        ("most_waiting", np.int64),
        ("itl_s", np.float64, (MOST_SEQS + 1,)),
        ("points", np.int64),
        ("prefill_tokens", np.float64, (MOST_POINTS,)),
        ("prefill_s", np.float64, (MOST_POINTS,)),
    ],
    align=True,
)
"""The gateway; there is one."""
