"""One Serve deployment in simulated time: replicas that start, report to a warm pool and obey it.

It does what Ray Serve does with a target: missing replicas are started, surplus ones are stopped,
those that are not running yet first and then the newest, and one that has ended is replaced. Where
a node drains, others are started in the place of those on it, which are stopped when the others run
or when little time is left.
"""

from collections.abc import Callable
from dataclasses import dataclass

from autoscaling.pool_terms import Order, Phase, Report
from autoscaling.warm_pool import WarmPool

STOP_S = 10.0
"""Seconds that a replica may take to stop: with so many left it is stopped where a node drains."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long things take, in seconds."""

    start_s: float
    """From the target to a replica that is ready to stand by."""
    wake_s: float
    """From standby to active."""
    drain_s: float = 300.0
    """At most, for requests to end on a replica that takes no more."""


@dataclass(slots=True)
class SimulatedReplica:
    """A replica; the caller gives it its work."""

    name: str
    ready_at: float
    phase: Phase = Phase.STANDBY
    """What it says it is, from `ready_at` on."""
    changes_at: float = 0.0
    """When it is awake, at the latest parked, or at the latest drained."""
    work_ends: float = 0.0
    """When its last request ends."""
    outstanding: float = 0.0
    """Tokens of its requests."""
    fragmentation: float = 0.0
    """Share of its memory that is used for nothing."""
    mute_until: float = 0.0
    """Until when its reports do not arrive."""
    deaf: bool = False
    """Whether the next order to it is lost."""
    fails: bool = False
    """Whether its check before waking will fail."""
    stopped: bool = False
    """Whether Serve stops it: it drains, and is not counted."""
    stuck: bool = False
    """Whether it never finishes waking."""
    leaves_at: float = float("inf")
    """When its node is gone, if the node drains."""

    @property
    def leaving(self) -> bool:
        """Whether its node drains."""
        return self.leaves_at < float("inf")


class SimulatedServe:
    """Replicas of one deployment, and the target that Serve holds them to.

    Args:
        pool: Who decides; may be replaced by a fresh one, as after a restart.
        times: How long things take; asked for each replica as it starts.
        target: Replicas to begin with.
        watch: Called with every replica and the order that the pool answered it.
    """

    def __init__(
        self,
        pool: WarmPool,
        times: Callable[[], Times],
        target: int,
        watch: Callable[[SimulatedReplica, Order], None] | None = None,
    ) -> None:
        self.pool = pool
        self.target = target
        self.replicas: list[SimulatedReplica] = []
        """Oldest first; those that are starting among them."""
        self.started = 0
        """Replicas started so far."""
        self._times = times
        self._drain_s: dict[str, float] = {}
        self._wake_s: dict[str, float] = {}
        self._watch = watch

    def running(self, now: float) -> list[SimulatedReplica]:
        """Replicas that have started, those that are being stopped among them.

        Args:
            now: The time in seconds.
        """
        return [replica for replica in self.replicas if replica.ready_at <= now]

    def of(self, phase: Phase, now: float) -> list[SimulatedReplica]:
        """Replicas that have started and are in a phase.

        Args:
            phase: The phase.
            now: The time in seconds.
        """
        return [replica for replica in self.running(now) if replica.phase is phase]

    def step(self, now: float) -> None:
        """Lets everything happen that happens until a time: about a second after the last one.

        Args:
            now: The time in seconds.
        """
        for replica in self.running(now):
            self._go_on(replica, now)
            if replica in self.replicas:
                self._report(replica, now)
        plan = self.pool.plan(now)
        self.target = plan.replicas if plan.settled else max(plan.replicas, self.target)
        self._reconcile(now)

    def preempt(self, name: str, leaves_at: float, now: float) -> None:
        """Has the node of a replica drain: Serve is told of it, and so is the pool.

        Args:
            name: The replica.
            leaves_at: When the node is gone.
            now: The time in seconds.
        """
        for replica in self.replicas:
            if replica.name == name:
                replica.leaves_at = leaves_at
                self.pool.doom(name, leaves_at, now)

    def _go_on(self, replica: SimulatedReplica, now: float) -> None:
        if now >= replica.leaves_at:
            self.replicas.remove(replica)
            return
        leaving = replica.phase in {Phase.PARKING, Phase.DRAINING}
        if leaving and now >= min(replica.work_ends, replica.changes_at):
            replica.outstanding, replica.work_ends = 0.0, now
            if replica.phase is Phase.PARKING:
                replica.phase = Phase.STANDBY
            elif replica.stopped:
                self.replicas.remove(replica)
        elif replica.phase is Phase.WAKING and now >= replica.changes_at and not replica.stuck:
            replica.phase = Phase.FAILED if replica.fails else Phase.ACTIVE

    def _report(self, replica: SimulatedReplica, now: float) -> None:
        if now < replica.mute_until:
            return
        drained = replica.phase is Phase.DRAINING and now >= replica.work_ends
        order = self.pool.report(
            Report(
                replica=replica.name,
                phase=replica.phase,
                age_s=now - replica.ready_at,
                fragmentation=replica.fragmentation,
                outstanding_tokens=replica.outstanding,
                drained=drained,
            ),
            now,
        )
        if self._watch is not None:
            self._watch(replica, order)
        if replica.deaf and order is not Order.KEEP:
            replica.deaf = False
        else:
            self._obey(replica, order, now)

    def _obey(self, replica: SimulatedReplica, order: Order, now: float) -> None:
        name = replica.name
        match order:
            case Order.WAKE:
                replica.phase, replica.changes_at = Phase.WAKING, now + self._wake_s[name]
            case Order.PARK:
                replica.phase, replica.changes_at = Phase.PARKING, now + self._drain_s[name]
            case Order.DRAIN:
                replica.phase, replica.changes_at = Phase.DRAINING, now + self._drain_s[name]
            case Order.EXIT:
                self.replicas.remove(replica)

    def _reconcile(self, now: float) -> None:
        staying = [one for one in self.replicas if not one.stopped and not one.leaving]
        for _ in range(self.target - len(staying)):
            self._start(now)
        # Those that are starting are the last of the list, as they are the first to be stopped.
        staying.sort(key=lambda replica: replica.ready_at)
        for replica in reversed(staying[self.target :]):
            self._stop(replica, now)
        ready = sum(replica.ready_at <= now for replica in staying[: self.target])
        for replica in [one for one in self.replicas if one.leaving and not one.stopped]:
            left = [one for one in self.replicas if one.leaving and not one.stopped]
            last = now >= replica.leaves_at - STOP_S
            if last or replica.ready_at > now or ready + len(left) > self.target:
                self._stop(replica, now)

    def _stop(self, replica: SimulatedReplica, now: float) -> None:
        if replica.ready_at > now or replica.phase is Phase.STANDBY:
            self.replicas.remove(replica)
        else:
            replica.phase, replica.stopped = Phase.DRAINING, True
            replica.changes_at = now + self._drain_s[replica.name]

    def _start(self, now: float) -> None:
        self.started += 1
        name, times = f"r{self.started}", self._times()
        self._drain_s[name], self._wake_s[name] = times.drain_s, times.wake_s
        self.replicas.append(SimulatedReplica(name, ready_at=now + times.start_s))
