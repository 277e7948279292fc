"""The warm pool of one Serve deployment: who takes requests, who stands by, who is replaced.

Replicas report about once a second and are told what to do in the answer. Nothing is remembered
that a round of reports would not bring back, but for counters. Three rules carry it:

- As many replicas are active as the work asks for; those on standby are woken before others are
  started, and the total rises so that standby is refilled.
- What leaves has finished its work before: a surplus replica is parked, and the total is lowered
  only when the newest one, which is the one that Ray Serve stops, is on standby.
- A replica is replaced by waking one more than the work asks for, and draining the old one when
  that many are active. The total counts both, so a fresh one is started where none stands by.
"""

from autoscaling.members import Member, Members
from autoscaling.pool_terms import Order, Phase, Plan, PoolSettings, RecycleSettings, Report
from autoscaling.recycling import Recycling
from autoscaling.scaling import Following
from autoscaling.waiting import Waiting

__all__ = ["Order", "Phase", "Plan", "PoolSettings", "RecycleSettings", "Report", "WarmPool"]


class WarmPool:
    """Decides for one deployment of engines.

    Every time that is passed in is monotonic, in seconds, and not before the one passed last.

    Args:
        settings: How many replicas there are, and how fast that follows the load.
    """

    __slots__ = (
        "_began",
        "_failed",
        "_following",
        "_lost",
        "_members",
        "_parked",
        "_recycling",
        "_settings",
        "_waiting",
        "_woken",
    )

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._members = Members()
        self._following = Following(settings)
        self._recycling = Recycling(settings.recycle)
        self._waiting = Waiting(settings.silence_s)
        self._began: float | None = None
        self._failed = self._lost = self._parked = self._woken = 0

    def report(self, report: Report, now: float) -> Order:
        """Takes what a replica says and answers what it is to do, at once.

        Args:
            report: What it says.
            now: Monotonic time in seconds.
        """
        member, before = self._members.hear(report, now)
        self._recycling.hear(member)
        self._count(member, before)
        if member.replaced:
            self._recycling.begin(report.replica, now)
        elif report.phase is not Phase.ACTIVE:
            self._recycling.cancel(report.replica)
        self._refresh(now)
        member.told = self._order(member, now)
        member.replaced |= member.told is Order.DRAIN
        return member.told

    def waiting(self, tokens: float, requests: int, now: float) -> None:
        """Takes the requests at all gateways that no replica takes, about once a second.

        Args:
            tokens: What they are expected to come to, prompts and outputs.
            requests: How many they are.
            now: Monotonic time in seconds.
        """
        arrived = self._waiting.hear(tokens, requests, now)
        self._refresh(now)
        there = self._awake(now) + len(self._members.of(Phase.STANDBY))
        self._waiting.judge(arrived, self._following.wanted > there)

    def plan(self, now: float) -> Plan:
        """How many replicas there should be.

        Args:
            now: Monotonic time in seconds.
        """
        self._refresh(now)
        wanted, recycled = self._following.wanted, len(self._recycling)
        asked = self._asked()
        present = self._members.present()
        kept = len(present) if not self._settled(now) else len(present) - self._idle(present)
        most = self._settings.most + self._settings.surge
        reason = f"{wanted} active and {self._standby()} on standby"
        if recycled:
            reason += f"; {recycled} being replaced"
        if kept > asked:
            reason += f"; {kept - asked} not free yet"
        return Plan(
            replicas=min(max(asked, kept), most),
            active=wanted,
            standby=self._standby(),
            reason=reason,
            settled=self._settled(now),
        )

    def snapshot(self, now: float) -> dict[str, int]:
        """What there is and what has happened, for the status and the metrics.

        Counts of now: a key for each phase, `wanted`, `wanted_standby`, `planned`, `starting` (not
        heard of yet), `recycling`, `due`, `waiting_requests`. Counts since the beginning: `woken`,
        `parked`, `recycled`, `put_off`, `failed_checks`, `lost`, `cold_starts` (times that requests
        waited for a replica to be started) and `cold_start_requests` (those requests).

        Args:
            now: Monotonic time in seconds.
        """
        plan = self.plan(now)
        phases = {phase.value: len(self._members.of(phase)) for phase in Phase}
        present = len(self._members.present())
        return phases | {
            "wanted": plan.active,
            "wanted_standby": plan.standby,
            "planned": plan.replicas,
            "starting": max(0, plan.replicas - present),
            "recycling": len(self._recycling),
            "due": sum(self._recycling.due(member) for member in self._members),
            "waiting_requests": self._waiting.requests,
            "woken": self._woken,
            "parked": self._parked,
            "recycled": self._recycling.recycled,
            "put_off": self._recycling.put_offs,
            "failed_checks": self._failed,
            "lost": self._lost,
            "cold_starts": self._waiting.cold_starts,
            "cold_start_requests": self._waiting.cold_start_requests,
        }

    def _count(self, member: Member, before: Phase | None) -> None:
        phase = member.report.phase
        if before is None or before is phase:
            return
        self._woken += phase is Phase.ACTIVE
        self._parked += phase is Phase.STANDBY and before is not Phase.WAKING
        self._failed += phase is Phase.FAILED

    def _refresh(self, now: float) -> None:
        """Lets the time pass: who is gone, what the work asks for, what is replaced."""
        if self._began is None:
            self._began = now
        self._waiting.refresh(now)
        for member in self._members.forget(self._settings.silence_s, now):
            self._recycling.gone(member)
            self._lost += member.phase in {Phase.ACTIVE, Phase.WAKING}
        active = self._members.of(Phase.ACTIVE)
        if not self._settled(now):
            self._following.adopt(len(self._members.of(Phase.ACTIVE, Phase.WAKING)))
        work = sum(member.report.outstanding_tokens for member in active) + self._waiting.tokens
        stranded = self._waiting.requests > 0 and self._awake(now) == 0
        self._following.update(work, now, stranded=stranded)
        if self._settled(now):
            self._replace(active, now)

    def _replace(self, active: list[Member], now: float) -> None:
        self._recycling.put_off(
            [member for member in active if member.report.replica in self._recycling], now
        )
        if len(active) < self._following.wanted:
            return
        room = self._recycling.at_once(len(active)) - len(self._recycling)
        due = [member for member in active if self._recycling.may_begin(member, now)]
        due.sort(key=self._recycling.overdue_s, reverse=True)
        for member in due[: max(0, room)]:
            self._recycling.begin(member.report.replica, now)

    def _order(self, member: Member, now: float) -> Order:
        match member.report.phase:
            case Phase.FAILED:
                return Order.EXIT
            case Phase.DRAINING if member.replaced and member.report.drained:
                return Order.EXIT
            case Phase.STANDBY if self._should_wake(member, now):
                return Order.WAKE
            case Phase.STANDBY if self._settled(now) and self._should_exit(member, now):
                return Order.EXIT
            case Phase.ACTIVE if self._settled(now):
                return self._release(member, now)
        return Order.KEEP

    def _should_wake(self, member: Member, now: float) -> bool:
        """Whether one on standby is among the best of them, of as many as are missing."""
        if self._began is None or now - self._began < self._settings.listen_s:
            return False
        ready = self._members.of(Phase.STANDBY, fresh_at=now)
        ready.sort(key=lambda other: (self._recycling.due(other), other.rank))
        missing = self._following.wanted - self._awake(now)
        # One that is due is better than none, but it stands in for no other that is.
        lasting = sum(not self._recycling.due(other) for other in ready)
        more = missing + self._unreplaced() + self._swapped(now)
        return member in ready[: max(0, missing, min(more, lasting))]

    def _should_exit(self, member: Member, now: float) -> bool:
        """Whether one on standby is replaced: it is due, and none of the others is missing."""
        if not self._recycling.due(member) or self._awake(now) < self._following.wanted:
            return False
        if any(other.told is Order.EXIT for other in self._members):
            return False
        full = len(self._members.of(Phase.STANDBY)) >= self._standby()
        return full or self._recycling.out_of_patience(member)

    def _release(self, member: Member, now: float) -> Order:
        """Whether an active one is replaced or parked: others are active in its place."""
        active = self._members.of(Phase.ACTIVE, fresh_at=now)
        spare = len(active) - self._following.wanted
        if member.report.replica in self._recycling:
            draining = [other for other in self._members.of(Phase.DRAINING) if other.replaced]
            free = len(draining) < self._recycling.at_once(len(active))
            return Order.DRAIN if spare > 0 and free else Order.KEEP
        surplus = max(0, spare - self._unreplaced())
        staying = [other for other in active if other.report.replica not in self._recycling]
        newest = sorted(staying, key=lambda other: other.rank)[:surplus]
        return Order.PARK if member in newest else Order.KEEP

    def _settled(self, now: float) -> bool:
        return self._began is not None and now - self._began >= self._settings.settle_s

    def _standby(self) -> int:
        return min(self._settings.standby, self._settings.most - self._following.wanted)

    def _awake(self, now: float) -> int:
        """Replicas that take requests or are about to."""
        waking = self._members.of(Phase.WAKING)
        late = sum(member.waking_for(now) >= self._settings.wake_s for member in waking)
        return len(self._members.of(Phase.ACTIVE)) + len(waking) - late

    def _unreplaced(self) -> int:
        """Active replicas under replacement: each has another awake for its sake."""
        active = self._members.of(Phase.ACTIVE)
        return sum(member.report.replica in self._recycling for member in active)

    def _swapped(self, now: float) -> int:
        """1 if one on standby is to be woken so that the newest, which is active, can be parked.

        Ray Serve stops the newest; without this it would be one that has requests.
        """
        present = self._members.present()
        if not self._settled(now) or len(present) <= self._asked():
            return 0
        if present[0].report.replica in self._recycling:
            return 0
        return int(present[0].phase is Phase.ACTIVE)

    def _asked(self) -> int:
        wanted = self._following.wanted
        return wanted + max(self._standby(), len(self._recycling))

    @staticmethod
    def _idle(present: list[Member]) -> int:
        """How many of the newest are on standby: these can be stopped."""
        return next(
            (place for place, member in enumerate(present) if member.phase is not Phase.STANDBY),
            len(present),
        )
