"""Replicas, their queue and their gateway in compiled code; `engine` is the way in.

A replica is brought up to a time only when somebody looks at it, event by event; its events are
the end of a prefill and the end of an answer. The sequences that it decodes share one clock, which
counts the tokens given to each of them and runs at one token a step. A sequence ends when the clock
shows what stands in the replica's heap. (Virtual time, as in fair queueing: Demers, Keshav and
Shenker, SIGCOMM 1989.)

Nothing here depends on the machine: sums are in a fixed order, and there is no logarithm. It is one
file because numba's cache looks at the file of a function only: after a change in another one it
would go on with what it had compiled before.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from autoscaling.simulator.engine_records import CLOSED, COMING, FREE, OPEN
from autoscaling.simulator.histogram import BINS, LOWEST, PARTS

Records = NDArray[np.void]

MOST_MOVES = 3
"""How often a request may be moved to another replica."""


@njit(cache=True)
def check(arrival_s: Any, prompt: Any, output: Any, begin_s: float, end_s: float) -> int:
    """The index of the first request that is none, or -1."""
    before = begin_s
    for index in range(len(arrival_s)):
        at = arrival_s[index]
        if not (before <= at < end_s) or prompt[index] < 1 or output[index] < 1:
            return index
        before = at
    return -1


@njit(cache=True)
def run(
    gates: Records,
    replicas: Records,
    heaps: Records,
    requests: Records,
    arrival_s: Any,
    prompt: Any,
    output: Any,
    until_s: float,
) -> None:
    """Lets requests arrive and replicas work until a time."""
    gate = gates[0]
    if gate.changed:
        gate.changed = 0
        _dispatch(gate, replicas, heaps, requests, gate.now_s)
    index, count = 0, len(arrival_s)
    while True:
        arrives = arrival_s[index] if index < count else math.inf
        until = min(arrives, until_s)
        if gate.coming > 0:
            at = _opening(replicas)
            if at <= until:
                _let_in(gate, replicas, heaps, requests, until)
                _open_due(gate, replicas, at)
                _dispatch(gate, replicas, heaps, requests, at)
                continue
        _let_in(gate, replicas, heaps, requests, until)
        if index == count:
            break
        _arrive(gate, replicas, heaps, requests, arrives, prompt[index], output[index])
        index += 1
    for slot in range(len(replicas)):
        replica = replicas[slot]
        _advance(gate, replica, heaps, requests, until_s)
    _expire(gate, requests, until_s)
    gate.now_s = until_s


@njit(cache=True)
def open_slot(gates: Records, replicas: Records, at_s: float) -> int:
    """Puts a replica into a free slot; -1 where there is none."""
    gate = gates[0]
    for slot in range(len(replicas)):
        replica = replicas[slot]
        if replica.state == FREE:
            replica.last_s = max(at_s, gate.now_s)
            if at_s <= gate.now_s:
                _open(gate, replicas, slot)
                gate.changed = 1
            else:
                replica.state = COMING
                gate.coming += 1
            return slot
    return -1


@njit(cache=True)
def close_slot(gates: Records, replicas: Records, slot: int) -> None:
    """Lets a replica take no more requests."""
    gate, replica = gates[0], replicas[slot]
    if replica.state == OPEN:
        gate.open -= 1
        last = gate.opened[gate.open]
        gate.opened[replica.place] = last
        replicas[last].place = replica.place
    elif replica.state == COMING:
        gate.coming -= 1
        replica.last_s = gate.now_s
    replica.state = CLOSED


@njit(cache=True)
def empty_slot(
    gates: Records, replicas: Records, heaps: Records, requests: Records, slot: int
) -> int:
    """Takes a replica away; its requests go to the front of the queue. How many they were."""
    close_slot(gates, replicas, slot)
    gate, replica = gates[0], replicas[slot]
    _sync(replica, gate.now_s)
    ids = np.empty(replica.seqs + replica.waiting + 1, np.int64)
    busy = 0
    for place in range(replica.seqs):
        sequence = heaps[replica.heap + place]
        request = requests[sequence.request]
        # What it still lacks, in whole tokens: one that is computed in part is lost.
        left = min(max(math.ceil(sequence.end - replica.clock), 1), request.left)
        request.prompt += request.left - left
        request.left = left
        ids[busy] = sequence.request
        busy += 1
    if replica.reading >= 0:
        ids[busy] = replica.reading
        busy += 1
    index = replica.first
    for _ in range(replica.waiting):
        ids[busy] = index
        busy += 1
        index = requests[index].next
    came = np.empty(busy, np.float64)
    for place in range(busy):
        came[place] = requests[ids[place]].arrived_s
    for place in np.argsort(came, kind="mergesort"):
        _move(gate, requests, ids[place])
    clear(replicas, slot)
    gate.changed = 1
    return busy


@njit(cache=True)
def clear(replicas: Records, slot: int) -> None:
    """Makes a slot free."""
    replica = replicas[slot]
    replica.state = FREE
    replica.next_s = math.inf
    replica.clock = replica.ends = replica.pace = replica.unread_tokens = 0.0
    replica.unread = replica.read_pace = replica.read_s = 0.0
    replica.kv = replica.seqs = replica.waiting = replica.next_is_end = 0
    replica.reading = replica.first = replica.last = -1


@njit(cache=True)
def loads(gates: Records, replicas: Records) -> tuple[int, int, float, float]:
    """Running, waiting, outstanding tokens, and the mean use of the cache of open replicas."""
    gate = gates[0]
    running, waiting, tokens, kv = 0, 0, 0.0, 0
    for slot in range(len(replicas)):
        replica = replicas[slot]
        running += replica.seqs + (1 if replica.reading >= 0 else 0)
        waiting += replica.waiting
        tokens += _outstanding(replica, gate.now_s)
        if replica.state == OPEN:
            kv += replica.kv
    room = gate.open * gate.kv_tokens
    return running, waiting, tokens, kv / room if room > 0 else 0.0


@njit(cache=True)
def _arrive(
    gate: Any,
    replicas: Records,
    heaps: Records,
    requests: Records,
    at: float,
    prompt: int,
    out: int,
) -> None:
    gate.arrived += 1
    need = np.int64(prompt) + np.int64(out)
    if need > gate.kv_tokens:
        gate.refused += 1
        return
    slot = -1
    if gate.queued + gate.moved > 0:
        _expire(gate, requests, at)
    # Nobody is overtaken: as long as requests wait there is no room.
    if gate.queued + gate.moved == 0:
        slot = _pick(gate, replicas, heaps, requests, at, need)
    if slot < 0 and gate.queued >= gate.queue_most:
        gate.refused += 1
        return
    index = gate.unused
    request = requests[index]
    gate.unused = request.next
    request.arrived_s = at
    request.first_s = -1.0
    request.prompt = prompt
    request.left = out
    request.output = out
    request.moves = 0
    if slot >= 0:
        _assign(gate, replicas[slot], heaps, requests, index, at)
        return
    request.since_s = at
    request.next = -1
    if gate.queued == 0:
        gate.queue_first = index
    else:
        requests[gate.queue_last].next = index
    gate.queue_last = index
    gate.queued += 1
    gate.queued_tokens += need
    gate.queued_ever += 1


@njit(cache=True)
def _move(gate: Any, requests: Records, index: int) -> None:
    request = requests[index]
    request.moves += 1
    if request.moves > MOST_MOVES:
        _drop(gate, requests, index)
        return
    gate.retried += 1
    request.since_s = gate.now_s
    request.next = -1
    if gate.moved == 0:
        gate.moved_first = index
    else:
        requests[gate.moved_last].next = index
    gate.moved_last = index
    gate.moved += 1
    gate.queued_tokens += request.prompt + request.left


@njit(cache=True)
def _drop(gate: Any, requests: Records, index: int) -> None:
    gate.lost += 1
    requests[index].next = gate.unused
    gate.unused = index


@njit(cache=True)
def _pop(gate: Any, requests: Records) -> int:
    """Takes the request that is served next; moved ones go first."""
    if gate.moved > 0:
        index = gate.moved_first
        gate.moved_first = requests[index].next
        gate.moved -= 1
    else:
        index = gate.queue_first
        gate.queue_first = requests[index].next
        gate.queued -= 1
    gate.queued_tokens -= requests[index].prompt + requests[index].left
    return index


@njit(cache=True)
def _expire(gate: Any, requests: Records, at: float) -> None:
    """Gives up what has waited too long; both queues are in the order of their patience."""
    since = at - gate.patience_s
    while gate.moved > 0 and requests[gate.moved_first].since_s < since:
        _drop(gate, requests, _pop(gate, requests))
    while gate.queued > 0 and requests[gate.queue_first].since_s < since:
        index = gate.queue_first
        gate.queue_first = requests[index].next
        gate.queued -= 1
        gate.queued_tokens -= requests[index].prompt + requests[index].left
        _drop(gate, requests, index)


@njit(cache=True)
def _need(gate: Any, requests: Records) -> int:
    request = requests[gate.moved_first if gate.moved > 0 else gate.queue_first]
    return request.prompt + request.left


@njit(cache=True)
def _dispatch(gate: Any, replicas: Records, heaps: Records, requests: Records, at: float) -> None:
    """Gives requests of the queue to replicas while any has room."""
    _expire(gate, requests, at)
    while gate.queued + gate.moved > 0:
        slot = _pick(gate, replicas, heaps, requests, at, _need(gate, requests))
        if slot < 0:
            return
        _assign(gate, replicas[slot], heaps, requests, _pop(gate, requests), at)


@njit(cache=True)
def _let_in(gate: Any, replicas: Records, heaps: Records, requests: Records, until: float) -> None:
    """Serves the queue as room appears, until a time.

    While requests wait no replica has room, so that it is the next event that makes some.
    """
    while gate.queued + gate.moved > 0:
        at, slot = math.inf, -1
        for place in range(gate.open):
            each = gate.opened[place]
            if replicas[each].next_s < at:
                at, slot = replicas[each].next_s, each
        if slot < 0 or at > until:
            return
        waited = gate.queued + gate.moved
        _expire(gate, requests, at)
        replica = replicas[slot]
        _advance(gate, replica, heaps, requests, at)
        if gate.most_waiting == 0 and gate.queued + gate.moved < waited:
            # Who is first now may fit where the one before did not.
            _dispatch(gate, replicas, heaps, requests, at)
        while gate.queued + gate.moved > 0 and _has_room(gate, replica, _need(gate, requests)):
            _assign(gate, replica, heaps, requests, _pop(gate, requests), at)
            if gate.most_waiting == 0:
                _dispatch(gate, replicas, heaps, requests, at)


@njit(cache=True)
def _opening(replicas: Records) -> float:
    at = math.inf
    for slot in range(len(replicas)):
        if replicas[slot].state == COMING:
            at = min(at, replicas[slot].last_s)
    return at


@njit(cache=True)
def _open_due(gate: Any, replicas: Records, at: float) -> None:
    for slot in range(len(replicas)):
        if replicas[slot].state == COMING and replicas[slot].last_s <= at:
            gate.coming -= 1
            _open(gate, replicas, slot)


@njit(cache=True)
def _open(gate: Any, replicas: Records, slot: int) -> None:
    replicas[slot].state = OPEN
    replicas[slot].place = gate.open
    gate.opened[gate.open] = slot
    gate.open += 1


@njit(cache=True)
def _pick(
    gate: Any, replicas: Records, heaps: Records, requests: Records, at: float, need: int
) -> int:
    """The less loaded of two open replicas drawn at random; any with room if they have none."""
    count = gate.open
    if count == 0:
        return -1
    draw = _random(gate)
    many, half = np.uint64(count), np.uint64(32)
    first = np.int64(((draw >> half) * many) >> half)
    second = np.int64(((draw & np.uint64(0xFFFFFFFF)) * many) >> half)
    one, other = gate.opened[first], gate.opened[second]
    _advance(gate, replicas[one], heaps, requests, at)
    _advance(gate, replicas[other], heaps, requests, at)
    free = _has_room(gate, replicas[one], need)
    if _has_room(gate, replicas[other], need):
        less = free and _outstanding(replicas[one], at) <= _outstanding(replicas[other], at)
        return one if less else other
    if free:
        return one
    for offset in range(1, count):
        slot = gate.opened[(first + offset) % count]
        replica = replicas[slot]
        _advance(gate, replica, heaps, requests, at)
        if _has_room(gate, replica, need):
            return slot
    return -1


@njit(cache=True)
def _random(gate: Any) -> Any:
    """64 random bits: xorshift64* (Vigna, ACM Transactions on Mathematical Software, 2016)."""
    bits = gate.random
    bits ^= bits >> np.uint64(12)
    bits ^= bits << np.uint64(25)
    bits ^= bits >> np.uint64(27)
    gate.random = bits
    return bits * np.uint64(2685821657736338717)


@njit(cache=True)
def _has_room(gate: Any, replica: Any, need: int) -> bool:
    if replica.waiting < gate.most_waiting:
        return True
    return replica.waiting == 0 and _fits(gate, replica, need)


@njit(cache=True)
def _fits(gate: Any, replica: Any, need: int) -> bool:
    """Whether a replica can begin with a request at once."""
    if replica.reading >= 0 or replica.seqs >= gate.max_seqs:
        return False
    return replica.kv + need <= gate.kv_tokens


@njit(cache=True)
def _outstanding(replica: Any, at: float) -> float:
    """Tokens to be computed: a prompt until it has been read, and what answers still lack."""
    clock = replica.clock + (at - replica.last_s) * replica.pace
    return replica.unread_tokens + max(0.0, replica.ends - replica.seqs * clock)


@njit(cache=True)
def _assign(
    gate: Any, replica: Any, heaps: Records, requests: Records, index: int, at: float
) -> None:
    """Gives a request to a replica that is up to date and has room."""
    request = requests[index]
    request.next = -1
    if replica.waiting == 0:
        replica.first = index
    else:
        requests[replica.last].next = index
    replica.last = index
    replica.waiting += 1
    replica.unread_tokens += request.prompt + request.left
    if replica.reading < 0:
        _sync(replica, at)
        if _begin_reading(gate, replica, requests):
            _plan(gate, replica, heaps, requests)


@njit(cache=True)
def _advance(gate: Any, replica: Any, heaps: Records, requests: Records, at: float) -> None:
    while replica.next_s <= at:
        _sync(replica, replica.next_s)
        if replica.next_is_end:
            _end(gate, replica, heaps, requests)
        else:
            _read(gate, replica, heaps, requests)
        _begin_reading(gate, replica, requests)
        _plan(gate, replica, heaps, requests)


@njit(cache=True)
def _sync(replica: Any, at: float) -> None:
    """Moves the clock and the prompt that is read on to a time up to the next event."""
    passed = at - replica.last_s
    if passed > 0:
        replica.clock += passed * replica.pace
        replica.unread = max(0.0, replica.unread - passed * replica.read_pace)
        replica.last_s = at


@njit(cache=True)
def _plan(gate: Any, replica: Any, heaps: Records, requests: Records) -> None:
    """How fast it goes from here on, and what happens next."""
    seqs, end_s, pace = replica.seqs, math.inf, 0.0
    step_s = gate.itl_s[seqs]
    if replica.reading >= 0:
        takes_s = replica.read_s
        if seqs > 0:
            # As many steps as the prompt has chunks: each has a chunk and a token of everyone.
            chunks = requests[replica.reading].prompt / gate.chunk_tokens
            takes_s += chunks * step_s
            pace = chunks / takes_s
        replica.read_pace = 1.0 / takes_s
        end_s = replica.last_s + replica.unread * takes_s
    elif seqs > 0:
        pace = 1.0 / step_s
    replica.pace = pace
    replica.next_is_end = 0
    if seqs > 0:
        lacks = max(0.0, heaps[replica.heap].end - replica.clock)
        through_s = replica.last_s + lacks / pace
        if through_s <= end_s:
            end_s = through_s
            replica.next_is_end = 1
    replica.next_s = end_s


@njit(cache=True)
def _begin_reading(gate: Any, replica: Any, requests: Records) -> bool:
    """Takes the first that waits if it fits; whether it did."""
    if replica.waiting == 0:
        return False
    request = requests[replica.first]
    need = request.prompt + request.left
    if not _fits(gate, replica, need):
        return False
    replica.reading = replica.first
    replica.first = request.next
    replica.waiting -= 1
    replica.kv += need
    replica.unread = 1.0
    replica.read_s = _prefill_s(gate, request.prompt)
    return True


@njit(cache=True)
def _prefill_s(gate: Any, prompt: int) -> float:
    """As `ServiceModel.prefill_times` has it."""
    tokens, seconds = gate.prefill_tokens, gate.prefill_s
    if prompt <= tokens[0]:
        return seconds[0]
    above = 1
    while above < gate.points - 1 and tokens[above] < prompt:
        above += 1
    slope = (seconds[above] - seconds[above - 1]) / (tokens[above] - tokens[above - 1])
    return seconds[above] + (prompt - tokens[above]) * slope


@njit(cache=True)
def _read(gate: Any, replica: Any, heaps: Records, requests: Records) -> None:
    """The end of a prefill: the first token."""
    index = replica.reading
    request = requests[index]
    replica.reading = -1
    replica.unread = 0.0
    replica.unread_tokens -= request.prompt + request.left
    request.prompt += 1
    request.left -= 1
    if request.first_s < 0:
        request.first_s = replica.last_s
    if request.left == 0:
        _finish(gate, replica, requests, index)
        return
    end = replica.clock + request.left
    replica.ends += end
    base, place = replica.heap, replica.seqs
    replica.seqs += 1
    while place > 0:
        above = (place - 1) >> 1
        if heaps[base + above].end <= end:
            break
        heaps[base + place].end = heaps[base + above].end
        heaps[base + place].request = heaps[base + above].request
        place = above
    heaps[base + place].end = end
    heaps[base + place].request = index


@njit(cache=True)
def _end(gate: Any, replica: Any, heaps: Records, requests: Records) -> None:
    """The end of the answer that is through first."""
    base = replica.heap
    index, replica.clock = heaps[base].request, heaps[base].end
    replica.ends -= replica.clock
    replica.seqs -= 1
    count = replica.seqs
    end, last = heaps[base + count].end, heaps[base + count].request
    place = 0
    while 2 * place + 1 < count:
        below = 2 * place + 1
        if below + 1 < count and heaps[base + below + 1].end < heaps[base + below].end:
            below += 1
        if heaps[base + below].end >= end:
            break
        heaps[base + place].end = heaps[base + below].end
        heaps[base + place].request = heaps[base + below].request
        place = below
    heaps[base + place].end = end
    heaps[base + place].request = last
    if count == 0:
        replica.clock = replica.ends = 0.0
    _finish(gate, replica, requests, index)


@njit(cache=True)
def _finish(gate: Any, replica: Any, requests: Records, index: int) -> None:
    request = requests[index]
    tokens = request.prompt + request.left
    replica.kv -= tokens
    gate.finished += 1
    gate.prompt_tokens += tokens - request.output
    gate.output_tokens += request.output
    ttft = request.first_s - request.arrived_s
    met = ttft <= gate.ttft_slo
    gate.sum_ttft += ttft
    gate.ttft[_bin(ttft)] += 1
    if request.output > 1:
        itl = (replica.last_s - request.first_s) / (request.output - 1)
        met = met and itl <= gate.itl_slo
        gate.itl_count += 1
        gate.sum_itl += itl
        gate.itl[_bin(itl)] += 1
    if met:
        gate.met += 1
    request.next = gate.unused
    gate.unused = index


@njit(cache=True)
def _bin(seconds: float) -> int:
    """As `histogram.bins` has it."""
    if seconds <= 0:
        return 0
    share, power = math.frexp(seconds)
    place = (power - 1 - LOWEST) * PARTS + int((share - 0.5) * 2 * PARTS)
    if place < 0:
        return 0
    return place if place < BINS else BINS - 1
