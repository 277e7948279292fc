"""A warm pool with replicas in simulated time, for examples."""

from autoscaling.simulated_serve import SimulatedReplica, SimulatedServe, Times
from autoscaling.warm_pool import Order, Phase, PoolSettings, Report, WarmPool

TIMES = Times(start_s=30, wake_s=2, drain_s=10)


class World:
    """A pool with a simulated Serve, from zero until it has come to rest."""

    def __init__(self, settings: PoolSettings, times: Times = TIMES, rest_s: int = 100) -> None:
        self.settings, self.times, self.now = settings, times, 0.0
        self.orders: list[tuple[float, str, Order]] = []
        self.load = 0.0
        self.least_active = 1000
        self.serve = SimulatedServe(WarmPool(settings), lambda: self.times, 0, self.note)
        self.run(rest_s)
        self.orders.clear()
        self.least_active = 1000

    def note(self, replica: SimulatedReplica, order: Order) -> None:
        if order is not Order.KEEP:
            self.orders.append((self.now, replica.name, order))

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            active = self.of(Phase.ACTIVE)
            for replica in active:
                replica.outstanding = self.load / len(active)
            waiting = 3 if self.load and not active else 0
            self.serve.pool.waiting(self.load if waiting else 0.0, waiting, self.now)
            self.serve.step(self.now)
            self.least_active = min(self.least_active, len(self.of(Phase.ACTIVE)))

    def of(self, phase: Phase) -> list[SimulatedReplica]:
        return self.serve.of(phase, self.now)

    def names(self, phase: Phase) -> set[str]:
        return {replica.name for replica in self.of(phase)}

    def counts(self) -> dict[str, int]:
        return self.serve.pool.snapshot(self.now)

    def shape(self) -> tuple[int, int, int]:
        """Active ones, those on standby, and all."""
        return len(self.of(Phase.ACTIVE)), len(self.of(Phase.STANDBY)), len(self.serve.replicas)


def report(name: str, phase: Phase, age_s: float = 100.0) -> Report:
    return Report(name, phase, age_s)
