"""Who has large requests running, so that no user has more of them than it may."""


class Places:
    """The large requests of one user, on all gateways.

    What a ledger finds in the store is a count without names. It counts in full until `until`, by
    when every gateway that lives has said which ones are still running.

    Args:
        inherited: the count as it was stored.
        until: when it stops counting, in seconds.
    """

    __slots__ = ("_granted", "_inherited", "_learnt", "_until")

    def __init__(self, inherited: int = 0, until: float = 0.0) -> None:
        self._inherited = inherited
        self._until = until
        self._granted: set[tuple[str, str]] = set()
        self._learnt: set[tuple[str, str]] = set()

    def used(self, now: float) -> int:
        """How many count now."""
        if self._inherited and now >= self._until:
            self._inherited = 0
        # Those learnt are among those inherited; those granted since are not.
        return max(self._inherited, len(self._learnt)) + len(self._granted)

    def has(self, gateway: str, request: str) -> bool:
        """Whether a request has its place already."""
        return (gateway, request) in self._granted or (gateway, request) in self._learnt

    def grant(self, gateway: str, request: str) -> None:
        """Gives a request a place."""
        self._granted.add((gateway, request))

    def learn(self, gateway: str, request: str) -> bool:
        """Counts a request that a gateway says is running.

        Returns:
            Whether that was news.
        """
        if self.has(gateway, request):
            return False
        self._learnt.add((gateway, request))
        return True

    def free(self, gateway: str, request: str) -> None:
        """Takes a request's place away."""
        self._granted.discard((gateway, request))
        self._learnt.discard((gateway, request))
