"""How much work each replica still has, in tokens, and which one has the least.

Requests differ by a factor of a thousand in what they cost, so counting requests says little.
What counts here is tokens outstanding: the prompt until it has been read, and the expected output
until it has been generated. A gateway knows its own part exactly, and learns the part of other
gateways from what the engine reports.
"""

from collections.abc import Hashable, Iterable, Mapping
from types import MappingProxyType

_NONE: frozenset[str] = frozenset()
_FIRST_REST_S = 0.5  # after a failure; doubles with each one that follows without a success
_MOST_REST_S = 30.0


class Replica:
    """One running engine, as the balancer sees it. Read it; only the balancer changes it."""

    __slots__ = (
        "failed_in_row",
        "foreign",
        "id",
        "lost_at",
        "market",
        "own",
        "pool",
        "rests_until",
        "turn",
    )

    def __init__(self, replica_id: str, pool: str, market: str) -> None:
        self.id = replica_id
        self.pool = pool
        self.market = market
        self.own = 0
        """Tokens outstanding of this gateway's requests."""
        self.foreign = 0
        """Tokens outstanding of everybody else's, as last reported."""
        self.turn = 0
        """When it was last chosen, as a running number."""
        self.failed_in_row = 0
        """Failures since its last success."""
        self.rests_until = float("-inf")
        """Until this time it is chosen only where every other one rests, too."""
        self.lost_at = float("-inf")
        """When the connection to it was last lost."""

    @property
    def outstanding(self) -> int:
        """All tokens that it still has to work off."""
        return self.own + self.foreign


class _Reservation:
    __slots__ = ("left", "replica")

    def __init__(self, replica: Replica, tokens: int) -> None:
        self.replica = replica
        self.left = tokens


class Balancer:
    """The replicas of every pool and market, with their outstanding tokens.

    It remembers the replicas that there are and the requests that are reserved, both of them as
    many as the caller makes them: every `reserve` needs its `release`. A reservation holds on to
    the replica it was made for, so when one goes away its tokens go with it, and if one of the
    same name comes back it starts at none.
    """

    __slots__ = ("_groups", "_replicas", "_reservations", "_turn")

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], list[Replica]] = {}
        self._replicas: dict[str, Replica] = {}
        self._reservations: dict[Hashable, _Reservation] = {}
        self._turn = 0

    @property
    def replicas(self) -> Mapping[str, Replica]:
        """The replicas that there are, by their id, read-only."""
        return MappingProxyType(self._replicas)

    @property
    def reserved(self) -> int:
        """How many requests are reserved now."""
        return len(self._reservations)

    def set_replicas(self, pool: str, market: str, ids: Iterable[str]) -> tuple[str, ...]:
        """Replaces the replicas of a pool and market by those that can be sent to now.

        Those that stay keep what they have outstanding.

        Returns:
            The ids of those that are new.

        Raises:
            ValueError: a replica is of another pool or market; nothing was changed then.
        """
        wanted = dict.fromkeys(ids)
        for replica_id in wanted:
            known = self._replicas.get(replica_id)
            if known is not None and (known.pool, known.market) != (pool, market):
                # The pool is what ties a replica to its zone.
                raise ValueError(
                    f"replica {replica_id} belongs to pool {known.pool} ({known.market}), "
                    f"not to pool {pool} ({market})"
                )
        for replica in self._groups.get((pool, market), ()):
            if replica.id not in wanted:
                del self._replicas[replica.id]
        joined = tuple(replica_id for replica_id in wanted if replica_id not in self._replicas)
        for replica_id in joined:
            self._replicas[replica_id] = Replica(replica_id, pool, market)
        self._groups[pool, market] = [self._replicas[replica_id] for replica_id in wanted]
        return joined

    def in_group(self, pool: str, market: str) -> tuple[Replica, ...]:
        """The replicas of a pool and market."""
        return tuple(self._groups.get((pool, market), ()))

    def least_loaded(
        self,
        pool: str,
        market: str,
        now: float,
        exclude: frozenset[str] = _NONE,
        among: frozenset[str] | None = None,
    ) -> Replica | None:
        """The replica of a pool and market with the least tokens outstanding.

        One that has just failed rests, and comes last. Among equals it is the one whose last turn
        is longest ago.

        Args:
            pool: the pool's name.
            market: the market within the pool.
            now: the time, in monotonic seconds.
            exclude: ids of replicas not to choose.
            among: ids of the only ones to choose from, if not all.

        Returns:
            The replica, or None where there is none to choose.
        """
        best = None
        best_load = best_turn = 0
        best_rests = False
        for replica in self._groups.get((pool, market), ()):
            if replica.id in exclude or (among is not None and replica.id not in among):
                continue
            load = replica.own + replica.foreign
            rests = replica.rests_until > now
            if (
                best is None
                or rests < best_rests
                or (
                    rests == best_rests
                    and (load < best_load or (load == best_load and replica.turn < best_turn))
                )
            ):
                best, best_load, best_turn, best_rests = replica, load, replica.turn, rests
        return best

    def reserve(self, request_key: Hashable, replica_id: str, tokens: int) -> None:
        """Counts a request's tokens, at least 1, against a replica, and ends the replica's turn.

        A request has one reservation: a second one replaces the first. For a replica that has gone
        nothing is counted.
        """
        self.release(request_key)
        replica = self._replicas.get(replica_id)
        if replica is None:
            return
        tokens = max(tokens, 1)
        self._reservations[request_key] = _Reservation(replica, tokens)
        replica.own += tokens
        self._turn += 1
        replica.turn = self._turn

    def progress(self, request_key: Hashable, tokens: int) -> None:
        """Takes off the tokens, 0 or more, that a request has got done since it last told.

        While it is reserved it counts for 1 token at least: one that runs longer than expected
        is still running.
        """
        reservation = self._reservations.get(request_key)
        if reservation is None or tokens <= 0:
            return
        done = min(tokens, reservation.left - 1)
        reservation.left -= done
        reservation.replica.own -= done

    def release(self, request_key: Hashable) -> None:
        """Ends a request's reservation, if it has one."""
        reservation = self._reservations.pop(request_key, None)
        if reservation is not None:
            reservation.replica.own -= reservation.left

    def report(self, replica_id: str, foreign_tokens: int) -> None:
        """Sets the tokens that others than this gateway have outstanding at a replica.

        What an engine reports and what is counted here are never of the same instant, so their
        difference may come out negative; it counts as 0.
        """
        replica = self._replicas.get(replica_id)
        if replica is not None:
            replica.foreign = max(foreign_tokens, 0)

    def failed(self, replica: Replica, now: float) -> None:
        """Lets a replica rest that has just failed.

        Without this a replica that fails at once would always have the least to do, and would draw
        every request to itself. What else fails while it rests was mostly sent before, and does not
        make the rest longer.
        """
        if replica.rests_until <= now:
            rest = _FIRST_REST_S * 2.0 ** min(replica.failed_in_row, 32)
            replica.rests_until = now + min(rest, _MOST_REST_S)
            replica.failed_in_row += 1

    def succeeded(self, replica: Replica) -> None:
        """Ends a replica's rest: it works."""
        if replica.failed_in_row:
            replica.failed_in_row = 0
            replica.rests_until = float("-inf")
