"""Who is in a warm pool: the replicas heard of lately, and what each was told."""

from collections.abc import Iterator
from dataclasses import dataclass

from autoscaling.pool_terms import Order, Phase, Report

_FRESH_S = 2.5  # two reports and a half: who is later than that is not relied on
_FOLLOWED_BY = {
    Order.WAKE: Phase.WAKING,
    Order.PARK: Phase.PARKING,
    Order.DRAIN: Phase.DRAINING,
    Order.EXIT: Phase.FAILED,
}


@dataclass(slots=True)
class Member:
    """A replica, as it was last heard of."""

    report: Report
    heard_at: float
    since: float
    """When it was first heard of in its phase."""
    ready_at: float
    """When it was ready for the first time. As it is found once, at the first report, it tells two
    of about the same age apart, whose ages never are of the same moment."""
    told: Order = Order.KEEP
    """What it was told after its last report."""
    replaced: bool = False
    """Whether it drains, or is told to, because it is replaced. One that drains otherwise is being
    stopped by others, and no longer counts."""
    fragmented: int = 0
    """Reports in a row in which its memory was too fragmented."""
    leaves_at: float | None = None
    """When its node is gone; `inf` where nobody has said when, `None` for a node that stays."""

    @property
    def phase(self) -> Phase:
        """What it is, or will be when it has read what it was told; `failed` if it ends."""
        return _FOLLOWED_BY.get(self.told, self.report.phase)

    def waking_for(self, now: float) -> float:
        """Seconds for which it has said that it is waking.

        Args:
            now: Monotonic time in seconds.
        """
        return now - self.since if self.report.phase is Phase.WAKING else 0.0

    @property
    def doomed(self) -> bool:
        """Whether its node goes: it is no capacity any more."""
        return self.leaves_at is not None

    @property
    def rank(self) -> float:
        """Sorts replicas, the newest first."""
        return -self.ready_at


class Members:
    """The replicas of a pool by name; they are given with the one that was heard of last first."""

    __slots__ = ("_leaves_at", "_members")

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._leaves_at: dict[str, float] = {}

    def __iter__(self) -> Iterator[Member]:
        return reversed(self._members.values())

    def __contains__(self, replica: str) -> bool:
        return replica in self._members

    def hear(self, report: Report, now: float) -> tuple[Member, Phase | None]:
        """Takes a report. What the replica was told before is done or was never received.

        Args:
            report: What it says.
            now: Monotonic time in seconds.

        Returns:
            The member, and the phase it reported before, `None` for one that is heard of for the
            first time.
        """
        member = self._members.get(report.replica)
        if member is None:
            # One that drains already was told so before this pool remembers.
            replaced = report.phase is Phase.DRAINING
            member = Member(report, now, now, now - report.age_s, replaced=replaced)
            member.leaves_at = self._leaves_at.get(report.replica)
            self._members[report.replica] = member
            return member, None
        before = member.report.phase
        if report.phase is not before:
            member.since = now
        if report.phase is not Phase.DRAINING:
            member.replaced = False
        member.report, member.heard_at, member.told = report, now, Order.KEEP
        return member, before

    def doom(self, replica: str, leaves_at: float) -> None:
        """Takes that a replica's node goes; it may be one that has not been heard of yet.

        Args:
            replica: Its name.
            leaves_at: Monotonic time in seconds, `inf` where nobody has said when.
        """
        self._leaves_at[replica] = leaves_at
        if replica in self._members:
            self._members[replica].leaves_at = leaves_at

    def leaves_at(self, replica: str) -> float | None:
        """When a replica's node is gone, as `Member.leaves_at`; None for one that is not known.

        Args:
            replica: Its name.
        """
        member = self._members.get(replica)
        return None if member is None else member.leaves_at

    def forget(self, silence_s: float, now: float) -> list[Member]:
        """Drops those that have not been heard of for too long.

        Args:
            silence_s: Seconds that are too long.
            now: Monotonic time in seconds.

        Returns:
            The dropped ones.
        """
        gone = [member for member in self if now - member.heard_at >= silence_s]
        for member in gone:
            del self._members[member.report.replica]
            self._leaves_at.pop(member.report.replica, None)
        return gone

    def doomed(self, *phases: Phase) -> list[Member]:
        """Those on nodes that go, in one of some phases; all of them if none is given.

        Args:
            phases: The phases.
        """
        return [
            member for member in self if member.doomed and (not phases or member.phase in phases)
        ]

    def of(self, *phases: Phase, fresh_at: float | None = None) -> list[Member]:
        """Those on nodes that stay that are, or by what they were told will be, in some phases.

        Args:
            phases: The phases.
            fresh_at: Leaves out those that are late with their report at this time, if given.
        """
        return [
            member
            for member in self
            if member.phase in phases
            and not member.doomed
            and (fresh_at is None or fresh_at - member.heard_at < _FRESH_S)
        ]

    def present(self) -> list[Member]:
        """Those that Ray Serve counts as running, the newest first.

        It replaces those on nodes that go, beyond its target, and they no longer count.
        """
        return sorted(
            (member for member in self if not self._leaving(member)),
            key=lambda member: member.rank,
        )

    @staticmethod
    def _leaving(member: Member) -> bool:
        draining = member.report.phase is Phase.DRAINING
        if member.doomed or member.phase is Phase.FAILED:
            return True
        return draining and not member.replaced
