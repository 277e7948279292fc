"""The warm pool of one Serve deployment: who takes requests, who stands by, who is replaced.

Replicas report about once a second and are told what to do in the answer. Nothing is remembered
that a round of reports would not bring back, but for counters. Four rules carry it:

- As many replicas are active as the work asks for, or as somebody asks for who looks ahead; those
  on standby are woken before others are started, and the total rises so that standby is refilled.
- What leaves has finished its work before: a surplus replica is parked, and the total is lowered
  only when the newest one, which is the one that Ray Serve stops, is on standby.
- A replica is replaced by waking one more than the work asks for, and draining the old one when
  that many are active. The total counts both, so a fresh one is started where none stands by.
- A replica whose node goes is no capacity: others are woken and started in its place at once. It
  takes requests until they are active, but no longer than leaves the time to move what it has.
"""

from collections import Counter
from collections.abc import Mapping

from autoscaling.census import counts, running
from autoscaling.members import Member, Members
from autoscaling.plan_terms import Running, Site
from autoscaling.pool_terms import Order, Phase, Plan, PoolSettings, RecycleSettings, Report
from autoscaling.recycling import Recycling
from autoscaling.scaling import Following
from autoscaling.waiting import Waiting

__all__ = ["Order", "Phase", "Plan", "PoolSettings", "RecycleSettings", "Report", "WarmPool"]

LEAVE_S = 20.0
"""Seconds before its node is gone from which on a replica takes no more requests."""


class WarmPool:
    """Decides for one deployment of engines.

    Every time that is passed in is monotonic, in seconds, and not before the one passed last.

    Args:
        settings: How many replicas there are, and how fast that follows the load.
    """

    __slots__ = (
        "_began",
        "_cover",
        "_events",
        "_following",
        "_members",
        "_recycling",
        "_settings",
        "_waiting",
    )

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._members = Members()
        self._following = Following(settings)
        self._recycling = Recycling(settings.recycle)
        self._waiting = Waiting(settings.silence_s)
        self._began: float | None = None
        self._cover = 0
        self._events: Counter[str] = Counter()

    def report(self, report: Report, now: float) -> Order:
        """Takes what a replica says and answers what it is to do, at once.

        Args:
            report: What it says.
            now: Monotonic time in seconds.
        """
        member, before = self._members.hear(report, now)
        self._recycling.hear(member)
        self._count(member, before)
        if member.doomed:
            self._recycling.cancel(report.replica)
        elif member.replaced:
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

    def ask(self, active: int, now: float, *, covered: bool = False) -> None:
        """Takes how many active replicas somebody who looks ahead asks for, about once a second.

        Args:
            active: Replicas; see `Following.ask` for what becomes of it.
            now: Monotonic time in seconds.
            covered: Whether the group's other deployments carry what this one need not.
        """
        self._following.ask(active, now, covered=covered)
        self._refresh(now)

    def doom(self, replica: str, leaves_at: float, now: float) -> None:
        """Takes that a replica's node goes, and that Ray starts nothing there any more.

        Args:
            replica: Its name; may be one that has not reported yet.
            leaves_at: When the node is gone, in monotonic seconds; `inf` where nobody has said.
            now: Monotonic time in seconds.
        """
        self._members.doom(replica, leaves_at)
        self._recycling.cancel(replica)
        self._refresh(now)

    def replace(self, replica: str) -> None:
        """Takes that a replica's node may soon go: another one is to be ready before it leaves.

        Args:
            replica: Its name.
        """
        if replica in self._members:
            self._recycling.call(replica)

    def knows(self, replica: str) -> bool:
        """Whether a replica has reported here lately.

        Args:
            replica: Its name.
        """
        return replica in self._members

    def hold(self, least: int) -> None:
        """Wants at least so many active replicas, in the place of doomed ones elsewhere.

        Args:
            least: How many; 0 for none.
        """
        self._following.hold(least)

    def cover(self, active: int) -> None:
        """Takes how many replicas of other deployments are active in the place of doomed ones here.

        Args:
            active: How many.
        """
        self._cover = active

    def leaves_in(self, replica: str, now: float) -> float | None:
        """Seconds until a replica's node is gone; None if it stays or nobody has said when.

        Args:
            replica: Its name.
            now: Monotonic time in seconds.
        """
        leaves_at = self._members.leaves_at(replica)
        return None if leaves_at is None or leaves_at == float("inf") else leaves_at - now

    @property
    def wanted(self) -> int:
        """Replicas that should take requests."""
        return self._following.wanted

    @property
    def active(self) -> list[Report]:
        """What those said last that take requests, on nodes that stay."""
        return [member.report for member in self._members.of(Phase.ACTIVE)]

    @property
    def doomed(self) -> list[Report]:
        """What those said last that take or took requests, on nodes that go."""
        phases = (Phase.ACTIVE, Phase.WAKING, Phase.DRAINING)
        return [member.report for member in self._members.doomed(*phases)]

    @property
    def work(self) -> float:
        """Tokens outstanding, on replicas that take requests and waiting for one."""
        taking = self._members.of(Phase.ACTIVE) + self._members.doomed(Phase.ACTIVE)
        return sum(member.report.outstanding_tokens for member in taking) + self._waiting.tokens

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
        if doomed := len(self._members.doomed()):
            reason += f"; {doomed} on nodes that go"
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
        """What there is and what has happened, see `autoscaling.census.counts`.

        Args:
            now: Monotonic time in seconds.
        """
        plan = self.plan(now)
        asked = self._following.asked(now)
        return counts(plan, self._members, self._recycling, self._waiting, self._events, asked)

    def running(self, now: float, coming: Mapping[Site, int] | None = None) -> Running:
        """What there is, as whoever looks ahead wants to know it.

        Args:
            now: Monotonic time in seconds.
            coming: Replicas that start on nodes that stay, by where those are, if that is known.
        """
        return running(self.plan(now), self._members, self._following.reactive, coming or {})

    def _count(self, member: Member, before: Phase | None) -> None:
        phase = member.report.phase
        if before is None or before is phase:
            return
        self._events["woken"] += phase is Phase.ACTIVE
        self._events["parked"] += phase is Phase.STANDBY and before is not Phase.WAKING
        self._events["failed_checks"] += phase is Phase.FAILED

    def _refresh(self, now: float) -> None:
        """Lets the time pass: who is gone, what the work asks for, what is replaced."""
        if self._began is None:
            self._began = now
        self._waiting.refresh(now)
        for member in self._members.forget(self._settings.silence_s, now):
            self._recycling.gone(member)
            if member.doomed:
                self._events["seen_off"] += 1
            else:
                self._events["lost"] += member.phase in {Phase.ACTIVE, Phase.WAKING}
        active = self._members.of(Phase.ACTIVE)
        stranded = self._waiting.requests > 0 and self._awake(now) == 0
        self._following.update(self.work, now, stranded=stranded)
        if not self._settled(now):
            self._following.adopt(len(self._members.of(Phase.ACTIVE, Phase.WAKING)))
        else:
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
        if member.doomed:
            return self._see_off(member, now)
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

    def _see_off(self, member: Member, now: float) -> Order:
        """What one is to do whose node goes: it leaves once others are active, or must."""
        match member.report.phase:
            case Phase.FAILED:
                return Order.EXIT
            case Phase.DRAINING if member.report.drained:
                return Order.EXIT
            case Phase.ACTIVE:
                assert member.leaves_at is not None
                active = self._members.of(Phase.ACTIVE, fresh_at=now)
                there = len(active) + len(self._members.doomed(Phase.ACTIVE)) + self._cover
                replaced = self._settled(now) and there > self._following.wanted
                if replaced or member.leaves_at - now <= LEAVE_S:
                    return Order.DRAIN
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
        """Replicas that take requests or are about to, on nodes that stay."""
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
