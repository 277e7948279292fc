"""Which replicas are due to be replaced, and which replacements are under way."""

import hashlib

from autoscaling.members import Member
from autoscaling.pool_terms import Order, Phase, RecycleSettings

_REPORTS = 3  # in a row with too much fragmentation: one alone may be a moment's burst
_MOST_DOUBLINGS = 3


class Recycling:
    """The replacements of a pool. A replica under replacement stays so until it is gone.

    Args:
        settings: When replicas are replaced; `None` for never.
    """

    __slots__ = ("_called", "_put_off", "_settings", "_since", "put_offs", "recycled")

    def __init__(self, settings: RecycleSettings | None) -> None:
        self._settings = settings if settings is not None and settings.enabled else None
        self._called: set[str] = set()
        self._since: dict[str, float] = {}
        self._put_off: dict[str, tuple[float, int]] = {}
        self.recycled = 0
        """Replicas that were replaced, those that were on standby among them."""
        self.put_offs = 0
        """Replacements that were put off since no fresh replica was ready in time."""

    def __contains__(self, replica: str) -> bool:
        return replica in self._since

    def __len__(self) -> int:
        return len(self._since)

    def limit(self, replica: str) -> float:
        """Age in seconds at which a replica is due: its own, and the same whenever it is asked.

        Args:
            replica: Its name.
        """
        if self._settings is None:
            return float("inf")
        digest = hashlib.blake2b(replica.encode(), digest_size=8).digest()
        place = int.from_bytes(digest) / 2**64  # from 0 to 1
        return self._settings.age_s * (1 + self._settings.jitter * (2 * place - 1))

    def hear(self, member: Member) -> None:
        """Looks at the memory that a replica has just reported.

        Args:
            member: The replica.
        """
        most = float("inf") if self._settings is None else self._settings.fragmentation
        over = member.report.fragmentation > most
        member.fragmented = member.fragmented + 1 if over else 0

    def call(self, replica: str) -> None:
        """Takes that a replica should be replaced whatever its age: its node may soon go.

        Args:
            replica: Its name.
        """
        self._called.add(replica)

    def due(self, member: Member) -> bool:
        """Whether a replica is too old, its memory too fragmented, or its node may soon go.

        Args:
            member: The replica.
        """
        if member.report.replica in self._called:
            return True
        too_old = member.report.age_s > self.limit(member.report.replica)
        return too_old or member.fragmented >= _REPORTS

    def out_of_patience(self, member: Member) -> bool:
        """Whether a replica has been too old for longer than a fresh one is waited for.

        Args:
            member: The replica.
        """
        return self._settings is not None and self.overdue_s(member) > self._settings.patience_s

    def overdue_s(self, member: Member) -> float:
        """Seconds since a replica came due by its age; below 0 where it has not.

        Args:
            member: The replica. One whose node may soon go comes before all others.
        """
        if member.report.replica in self._called:
            return float("inf")
        return member.report.age_s - self.limit(member.report.replica)

    def at_once(self, active: int) -> int:
        """How many replacements may be under way.

        Args:
            active: Replicas that take requests.
        """
        if self._settings is None:
            return RecycleSettings().at_once(active) if self._called else 0
        return self._settings.at_once(active)

    def may_begin(self, member: Member, now: float) -> bool:
        """Whether an active replica is due and its replacement is neither begun nor put off.

        Args:
            member: The replica.
            now: Monotonic time in seconds.
        """
        name = member.report.replica
        put_off = name in self._put_off and now < self._put_off[name][0]
        return name not in self._since and not put_off and self.due(member)

    def begin(self, replica: str, now: float) -> None:
        """Begins to replace a replica, or goes on with it after a restart.

        Args:
            replica: Its name.
            now: Monotonic time in seconds.
        """
        self._since.setdefault(replica, now)

    def put_off(self, waiting: list[Member], now: float) -> None:
        """Puts off the replacements for which no fresh replica was ready in time.

        Args:
            waiting: Replicas that have not been told to drain.
            now: Monotonic time in seconds.
        """
        if self._settings is None:
            return
        patience = self._settings.patience_s
        for member in waiting:
            name = member.report.replica
            if now - self._since.get(name, now) < patience:
                continue
            del self._since[name]
            tries = self._put_off.get(name, (0.0, 0))[1]
            wait = patience * 2 ** min(tries, _MOST_DOUBLINGS)
            self._put_off[name] = (now + wait, tries + 1)
            self.put_offs += 1

    def cancel(self, replica: str) -> None:
        """Gives up the replacement of a replica that goes elsewhere.

        Args:
            replica: Its name.
        """
        self._since.pop(replica, None)

    def gone(self, member: Member) -> None:
        """Ends what was under way for a replica that is not there any more.

        Args:
            member: What was last known of it.
        """
        name = member.report.replica
        replaced = self._since.pop(name, None) is not None
        self._put_off.pop(name, None)
        self._called.discard(name)
        on_standby = member.report.phase is Phase.STANDBY and member.told is Order.EXIT
        if on_standby or (replaced and member.report.phase is Phase.DRAINING):
            self.recycled += 1
