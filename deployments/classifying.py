"""The gateway's side of the classifier: questions out, verdicts back, without a round of Ray."""

import asyncio
import itertools
from dataclasses import dataclass, field

import msgspec
import structlog

from app.classification.judge import Verdict
from app.classification.patterns import Task
from app.config import ClassifierConfig, OnUnavailable
from app.errors import ClassifierUnavailable, ReplicaUnreachable
from deployments.links import RECONNECT_S
from deployments.membership import Members
from deployments.messages import Answer, Judgement, encode
from deployments.wire import Connection, Endpoint, Kind, connect

log = structlog.get_logger(__name__)

UNJUDGED = Verdict(task=Task.COMPLEX, zone_floor=None, risk=0.0, reasons=("not judged",))


@dataclass(slots=True, eq=False)
class _Peer:
    """A stream to one classifier replica, with the questions that are out on it."""

    endpoint: Endpoint
    connection: Connection | None = None
    asked: dict[int, asyncio.Future[Verdict]] = field(default_factory=dict)
    member: bool = True


class ClassifierClient:
    """Asks whichever classifier has the fewest questions open.

    Args:
        config: how long to wait, and what then.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._peers: dict[str, _Peer] = {}
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        """Whether a classifier can be asked."""
        return any(peer.connection is not None for peer in self._peers.values())

    def set_members(self, members: Members) -> None:
        """Takes Serve's list of running classifiers."""
        for replica_id in self._peers.keys() - members.keys():
            peer = self._peers.pop(replica_id)
            peer.member = False
            if peer.connection is not None:
                peer.connection.close()
        for replica_id in members.keys() - self._peers.keys():
            peer = self._peers[replica_id] = _Peer(members[replica_id])
            self._spawn(peer)

    def judge(self, text: str) -> asyncio.Future[Verdict]:
        """Asks for a verdict; the future ends within the configured time, whatever happens.

        It fails with ClassifierUnavailable where the configuration refuses unjudged text, and
        gives `UNJUDGED` where it allows it.
        """
        answer: asyncio.Future[Verdict] = self._loop.create_future()
        # A request may end before it asks for its verdict; that is not an error of its own.
        answer.add_done_callback(_retrieved)
        peer = min(
            (peer for peer in self._peers.values() if peer.connection is not None),
            key=lambda peer: len(peer.asked),
            default=None,
        )
        if peer is None or peer.connection is None:
            self._give_up(answer)
            return answer
        number = next(self._numbers)
        peer.asked[number] = answer
        peer.connection.send(Kind.JUDGE, [encode(Judgement(number, text))])
        timer = self._loop.call_later(self._config.timeout_s, self._expire, peer, number)
        answer.add_done_callback(lambda _: timer.cancel())
        return answer

    def _expire(self, peer: _Peer, number: int) -> None:
        answer = peer.asked.pop(number, None)
        if answer is not None:
            self._give_up(answer)

    def _give_up(self, answer: asyncio.Future[Verdict]) -> None:
        if answer.done():
            return
        if self._config.on_unavailable is OnUnavailable.ALLOW:
            answer.set_result(UNJUDGED)
        else:
            answer.set_exception(
                ClassifierUnavailable(
                    "the text could not be judged in time, and unjudged text is refused here"
                )
            )

    def _spawn(self, peer: _Peer) -> None:
        task = self._loop.create_task(self._open(peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, peer: _Peer) -> None:
        attempt = 0
        while peer.member:
            try:
                peer.connection = await connect(
                    peer.endpoint,
                    lambda _, kind, buffers: self._frame(peer, kind, buffers),
                    lambda _: self._lost(peer),
                )
                return
            except ReplicaUnreachable as error:
                log.warning("classifier unreachable", error=str(error))
                await asyncio.sleep(RECONNECT_S[min(attempt, len(RECONNECT_S) - 1)])
                attempt += 1

    def _frame(self, peer: _Peer, kind: Kind, buffers: list[memoryview]) -> None:
        if kind is not Kind.VERDICT:
            return
        answer = _ANSWER.decode(buffers[0])
        waiting = peer.asked.pop(answer.number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(
                Verdict(
                    task=Task(answer.task),
                    zone_floor=answer.zone_floor,
                    risk=answer.risk,
                    reasons=tuple(answer.reasons),
                    found=answer.found,
                )
            )

    def _lost(self, peer: _Peer) -> None:
        peer.connection = None
        asked, peer.asked = peer.asked, {}
        for answer in asked.values():
            self._give_up(answer)
        if peer.member:
            self._spawn(peer)


def _retrieved(answer: asyncio.Future[Verdict]) -> None:
    if not answer.cancelled():
        answer.exception()


_ANSWER = msgspec.msgpack.Decoder(Answer)
