"""Money that is out in leases: reserved, and neither settled nor given back."""


class LeasedMoney:
    """The micro-dollars that gateways hold of one tenant or key.

    The sum is stored, who holds which part of it is not. So what a ledger finds in the store is
    `inherited`: it counts, until it is given back, or until no request of that time can still run.

    Args:
        inherited: the sum as it was stored.
        until: when it stops counting, in seconds.
    """

    __slots__ = ("_by_gateway", "_inherited", "_sum", "_until")

    def __init__(self, inherited: int = 0, until: float = 0.0) -> None:
        self._inherited = max(inherited, 0)
        self._until = until
        self._by_gateway: dict[str, int] = {}
        self._sum = 0

    def total(self, now: float) -> int:
        """All that is out."""
        if self._inherited and now >= self._until:
            self._inherited = 0
        return self._sum + self._inherited

    def take(self, gateway: str, micros: int) -> None:
        """A gateway holds more."""
        if micros > 0:
            self._by_gateway[gateway] = self._by_gateway.get(gateway, 0) + micros
            self._sum += micros

    def give(self, gateway: str, micros: int, *, may_inherit: bool) -> None:
        """A gateway gives back, first of what it got from this ledger.

        Args:
            gateway: who.
            micros: how much; what is beyond all that is known to be out changes nothing.
            may_inherit: what is beyond its own part may be of the inherited sum.
        """
        if micros < 0:
            self.take(gateway, -micros)
            return
        held = self._by_gateway.get(gateway, 0)
        own = min(held, micros)
        if own == held:
            self._by_gateway.pop(gateway, None)
        else:
            self._by_gateway[gateway] = held - own
        self._sum -= own
        if may_inherit:
            self._inherited -= min(self._inherited, micros - own)

    def forget(self, gateway: str) -> bool:
        """A gateway is gone, and what it held with it.

        Returns:
            Whether it held anything.
        """
        gone = self._by_gateway.pop(gateway, 0)
        self._sum -= gone
        return gone > 0
