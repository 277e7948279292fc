"""Whose request an engine starts next: virtual token counters inside bands of priority.

Inside a band this is the Virtual Token Counter of Sheng et al., "Fairness in Serving Large Language
Models" (OSDI 2024). Each client (a tenant) has a counter of the service it has had, in weighted
tokens over its own weight; the backlogged client with the lowest counter is served next. A client
that returns after a pause is lifted to where the band's service stands, less a small credit, so
that time spent away is no licence to flood. Where that is, is the highest counter at which a
request was started, as the virtual time of start-time fair queueing (Goyal et al., SIGCOMM 1996).
Without the credit, who sends a little now and then would wait behind a flood for his last request
to be made up for. No slot is ever left free while somebody waits.

A request is charged when it starts, with its prompt and its expected output; with what it really
generates as soon as that is more; and what was charged too much is given back when it leaves. With
U for what a full batch of the largest requests costs, two clients of one band that are backlogged
all the while never get service that differs by more than 2 U, as in the paper, and the credit.

Bands are strict: a request is started only if none of a more urgent band may be. So that nothing
starves, a request moves up one band each time it has waited for `ageing_s`. Counters of different
bands are apart: what a client used in one is no debt in another.

Without `fair` the order is that of arrival, whatever the band and the client.
"""

from collections import OrderedDict, deque
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from enum import Enum
from heapq import heapify, heappop, heappush
from math import inf

from app.admission.tier import Tier

_SLACK = 16  # entries of a heap that may be stale before it is built anew


@dataclass(frozen=True, slots=True)
class FairQueueSettings:
    """What service costs and how long waiting may take."""

    fair: bool = True
    """False for the order of arrival."""
    prompt_weight: float = 1.0
    """What a prompt token counts."""
    output_weight: float = 2.0
    """What an output token counts."""
    ageing_s: float = 30.0
    """Seconds of waiting after which a request moves up one band."""
    credit: float = 4.0
    """How many requests of its own a client may be ahead of the others after a pause."""
    max_idle: int = 4096
    """Counters of clients without requests that are remembered, in each band."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work.

        Raises:
            ValueError: a setting is out of its range; the message names it.
        """
        for name in ("prompt_weight", "output_weight", "ageing_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if not self.credit >= 0:
            raise ValueError(f"credit must be at least 0, not {self.credit}")
        if self.max_idle < 0:
            raise ValueError(f"max_idle must be at least 0, not {self.max_idle}")


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the queue needs to know of a request.

    Attributes:
        client: whose counter it is charged to.
        tier: the band it starts in.
        prompt_tokens: length of its prompt.
        expected_tokens: output that is expected of it.
        weight: the client's share against 1 for everybody else; more than 0.
    """

    client: str
    tier: Tier
    prompt_tokens: int
    expected_tokens: int
    weight: float = 1.0


class _State(Enum):
    WAITING = 0
    STARTED = 1
    PREEMPTED = 2


@dataclass(slots=True, eq=False)
class _Client:
    name: str
    counter: float = 0.0
    # (number of arrival, key) of requests that wait; those that have left are dropped when met.
    line: list[tuple[int, str]] = field(default_factory=list)
    waiting: int = 0
    started: int = 0
    weight: float = 1.0
    credit: float = 0.0


@dataclass(slots=True, eq=False)
class _Entry:
    ticket: Ticket
    number: int
    band: int
    due: float
    client: _Client
    state: _State = _State.WAITING
    resumed: bool = False
    set_aside: bool = False
    prompt_charged: bool = False
    output_charged: int = 0


class _Band:
    """The counters of one band."""

    __slots__ = ("ageing", "backlogged", "clients", "idle", "virtual")

    def __init__(self) -> None:
        self.clients: dict[str, _Client] = {}
        self.backlogged: dict[str, _Client] = {}
        self.idle: OrderedDict[str, None] = OrderedDict()
        # Where the band's service stands: the highest counter at which a request was started.
        self.virtual = 0.0
        self.ageing: list[tuple[float, int, str]] = []

    def client(self, name: str) -> _Client:
        found = self.clients.get(name)
        if found is None:
            # It is lifted when it lines up.
            found = self.clients[name] = _Client(name, -inf)
        self.idle.pop(name, None)
        return found


class FairQueue:
    """Requests that wait for an engine, and the counters of those who sent them.

    Keys name requests. A request is added, started, perhaps preempted or set aside and started
    again, and leaves; a start that came to nothing is taken back.
    """

    def __init__(self, settings: FairQueueSettings | None = None) -> None:
        self._settings = settings or FairQueueSettings()
        self._bands = [_Band() for _ in Tier]
        self._entries: dict[str, _Entry] = {}
        self._preempted: deque[str] = deque()
        self._numbers = 0
        self._waiting = 0

    def __len__(self) -> int:
        """Requests that wait, preempted ones included."""
        return self._waiting + len(self._preempted)

    def __iter__(self) -> Iterator[str]:
        """Keys of requests that wait: the preempted, then by band, then by arrival."""
        yield from self._preempted
        waiting = (
            (entry.band, entry.number, key)
            for key, entry in self._entries.items()
            if entry.state is _State.WAITING
        )
        for _, _, key in sorted(waiting):
            yield key

    @property
    def tracked(self) -> int:
        """Requests that wait or run."""
        return len(self._entries)

    @property
    def counters(self) -> int:
        """Counters that are remembered, of all bands."""
        return sum(len(band.clients) for band in self._bands)

    def counter(self, client: str, tier: Tier) -> float:
        """The service a client has been charged in a band; 0 if it is not known there."""
        found = self._bands[tier.band].clients.get(client)
        return 0.0 if found is None else found.counter

    def waits(self, client: str) -> bool:
        """Whether a request of the client waits."""
        return any(client in band.backlogged for band in self._bands) or self.resumes(client)

    def others_wait(self, client: str | None) -> bool:
        """Whether a request of anybody but the client waits."""
        return any(
            len(band.backlogged) > (client in band.backlogged) for band in self._bands
        ) or any(self._entries[key].ticket.client != client for key in self._preempted)

    def resumes(self, client: str) -> bool:
        """Whether a preempted request of the client waits."""
        return any(self._entries[key].ticket.client == client for key in self._preempted)

    def add(self, key: str, ticket: Ticket, now: float) -> None:
        """Takes a request in.

        Raises:
            ValueError: the key is in use, or the weight is not above 0.
        """
        if key in self._entries:
            raise ValueError(f"request {key!r} is already in the queue")
        if not ticket.weight > 0:
            raise ValueError(f"weight must be above 0, not {ticket.weight}")
        band = ticket.tier.band if self._settings.fair else 0
        self._numbers += 1
        client = self._bands[band].client(ticket.client)
        due = now + self._settings.ageing_s
        entry = _Entry(ticket, self._numbers, band, due, client)
        self._entries[key] = entry
        self._line_up(key, entry)

    def head(
        self,
        now: float,
        *,
        only: str | None = None,
        without: Container[str] = (),
        resumed_only: bool = False,
    ) -> str | None:
        """The key of the request that is due; None if none may be started.

        Args:
            now: time in seconds, from any origin.
            only: the one client whose requests may be started; by default all.
            without: clients whose requests may not be started.
            resumed_only: whether only preempted requests may be started.
        """
        for key in self._preempted:
            name = self._entries[key].ticket.client
            if only in (None, name) and name not in without:
                return key
        if resumed_only:
            return None
        self._age(now)
        for band in self._bands:
            if only is not None:
                client = band.backlogged.get(only)
                candidates = [client] if client is not None and only not in without else []
            else:
                candidates = [c for c in band.backlogged.values() if c.name not in without]
            if candidates:
                return self._first(min(candidates, key=self._rank))[1]
        return None

    def start(self, key: str) -> None:
        """Takes a request out of the queue and charges what it is expected to cost.

        Raises:
            KeyError: no such request waits.
        """
        entry = self._entries[key]
        if entry.state is _State.STARTED:
            raise KeyError(key)
        if entry.state is _State.PREEMPTED:
            self._preempted.remove(key)
            entry.resumed = True
        else:
            self._fall_out(entry)
            entry.resumed = False
            if not entry.prompt_charged:
                band = self._bands[entry.band]
                band.virtual = max(band.virtual, entry.client.counter)
                entry.prompt_charged = True
                entry.output_charged = max(1, entry.ticket.expected_tokens)
                self._charge(entry, entry.ticket.prompt_tokens, entry.output_charged)
        entry.state = _State.STARTED
        entry.client.started += 1

    def take_back(self, key: str) -> None:
        """Undoes a start that came to nothing: the request waits again where it waited."""
        entry = self._entries[key]
        if entry.state is not _State.STARTED:
            raise KeyError(key)
        entry.client.started -= 1
        if entry.resumed:
            entry.state = _State.PREEMPTED
            self._preempted.appendleft(key)
            return
        if not entry.set_aside:
            self._charge(entry, -entry.ticket.prompt_tokens, -entry.output_charged)
            entry.prompt_charged, entry.output_charged = False, 0
        entry.state = _State.WAITING
        self._line_up(key, entry, lift=False)

    def set_aside(self, key: str) -> None:
        """Puts a request that was running back to where it waited; it stays charged.

        What was computed for it is lost, yet it was service. Were its charge given back, its client
        would be due again at once.
        """
        entry = self._entries[key]
        if entry.state is not _State.STARTED:
            raise KeyError(key)
        entry.client.started -= 1
        entry.set_aside = True
        entry.state = _State.WAITING
        self._line_up(key, entry, lift=False)

    def behind(self, key: str, other: str) -> float:
        """How much less a waiting request's client was served than that of one that runs.

        Infinite where the one that waits is in a more urgent band, and minus that in a less urgent.
        """
        entry, running = self._entries[key], self._entries[other]
        if entry.band != running.band:
            return inf if entry.band < running.band else -inf
        return running.client.counter - entry.client.counter

    def cost(self, key: str) -> float:
        """What a request is charged, or would be if it started, over its client's weight."""
        return self._own_cost(self._entries[key])

    def wanting(self) -> dict[str, float]:
        """Weights of the clients that wait, by name."""
        return {
            name: client.weight for band in self._bands for name, client in band.backlogged.items()
        }

    def preempt(self, key: str) -> None:
        """Puts a request that was running at the head of everything; it has been charged."""
        entry = self._entries[key]
        if entry.state is not _State.STARTED:
            raise KeyError(key)
        entry.client.started -= 1
        entry.state = _State.PREEMPTED
        self._preempted.appendleft(key)

    def generated(self, key: str, tokens: int) -> None:
        """Charges what a request has generated beyond what was expected.

        Args:
            key: the request; unknown ones are passed over.
            tokens: its output so far.
        """
        entry = self._entries.get(key)
        if entry is not None and entry.prompt_charged and tokens > entry.output_charged:
            self._charge(entry, 0, tokens - entry.output_charged)
            entry.output_charged = tokens

    def leave(self, key: str, generated: int = 0) -> None:
        """Forgets a request that has ended, in whatever state, and settles its charge.

        Args:
            key: the request; unknown ones are passed over.
            generated: its output.
        """
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        if entry.prompt_charged:
            self._charge(entry, 0, generated - entry.output_charged)
        if entry.state is _State.WAITING:
            self._fall_out(entry)
        elif entry.state is _State.PREEMPTED:
            self._preempted.remove(key)
        else:
            entry.client.started -= 1
        self._retire(entry)

    # Inside.

    def _rank(self, client: _Client) -> tuple[float, int, int]:
        number = self._first(client)[0]
        if not self._settings.fair:
            return (0.0, 0, number)
        # A client that has just been lifted is level with the least: it has nothing running, so it
        # goes before those whom it is level with.
        return (client.counter, client.started, number)

    def _first(self, client: _Client) -> tuple[int, str]:
        """The client's oldest request in this band; it has one."""
        line = client.line
        while not self._stands(client, line[0]):
            heappop(line)
        return line[0]

    def _stands(self, client: _Client, place: tuple[int, str]) -> bool:
        entry = self._entries.get(place[1])
        return (
            entry is not None
            and entry.number == place[0]
            and entry.client is client
            and entry.state is _State.WAITING
        )

    def _line_up(self, key: str, entry: _Entry, lift: bool = True) -> None:
        band, client = self._bands[entry.band], entry.client
        if not client.waiting:
            if lift:
                client.credit = self._settings.credit * self._own_cost(entry)
                client.counter = max(client.counter, band.virtual - client.credit)
            band.backlogged[client.name] = client
        if len(client.line) > 2 * client.waiting + _SLACK:
            client.line = [place for place in client.line if self._stands(client, place)]
            heapify(client.line)
        client.waiting += 1
        client.weight = entry.ticket.weight
        self._waiting += 1
        heappush(client.line, (entry.number, key))
        if entry.band:
            if len(band.ageing) > 2 * self._waiting + _SLACK:
                band.ageing = [due for due in band.ageing if self._ages(entry.band, due)]
                heapify(band.ageing)
            heappush(band.ageing, (entry.due, entry.number, key))

    def _fall_out(self, entry: _Entry) -> None:
        band, client = self._bands[entry.band], entry.client
        client.waiting -= 1
        self._waiting -= 1
        if not client.waiting:
            del band.backlogged[client.name]
            client.line.clear()

    def _retire(self, entry: _Entry) -> None:
        """Drops the counter of a client that has nothing here, once it says nothing any more."""
        client, band = entry.client, self._bands[entry.band]
        if client.waiting or client.started or self.resumes(client.name):
            return
        if client.counter <= band.virtual - client.credit:
            del band.clients[client.name]
            return
        band.idle[client.name] = None
        while len(band.idle) > self._settings.max_idle:
            name, _ = band.idle.popitem(last=False)
            del band.clients[name]

    def _cost(self, ticket: Ticket, prompt: int, output: int) -> float:
        settings = self._settings
        return (prompt * settings.prompt_weight + output * settings.output_weight) / ticket.weight

    def _own_cost(self, entry: _Entry) -> float:
        output = entry.output_charged or max(1, entry.ticket.expected_tokens)
        return self._cost(entry.ticket, entry.ticket.prompt_tokens, output)

    def _charge(self, entry: _Entry, prompt: int, output: int) -> None:
        entry.client.counter += self._cost(entry.ticket, prompt, output)

    def _ages(self, band: int, place: tuple[float, int, str]) -> bool:
        entry = self._entries.get(place[2])
        return (
            entry is not None
            and entry.number == place[1]
            and entry.band == band
            and entry.due == place[0]
            and entry.state is _State.WAITING
        )

    def _age(self, now: float) -> None:
        """Moves up what has waited long enough."""
        for number, band in enumerate(self._bands):
            ageing = band.ageing
            while ageing and (ageing[0][0] <= now or not self._ages(number, ageing[0])):
                place = heappop(ageing)
                if not self._ages(number, place):
                    continue
                key = place[2]
                entry = self._entries[key]
                self._fall_out(entry)
                self._retire(entry)
                entry.band -= 1
                entry.due = place[0] + self._settings.ageing_s
                entry.client = self._bands[entry.band].client(entry.ticket.client)
                self._line_up(key, entry)
