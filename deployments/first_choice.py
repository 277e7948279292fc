"""Which pools are built for a request, whether or not they have a replica now."""

from collections import defaultdict
from typing import TYPE_CHECKING

from app.config import FleetConfig, PoolConfig

if TYPE_CHECKING:
    from deployments.job import Admitted


class FirstChoice:
    """Finds the pools that may take a request, by its zone, class and length.

    Args:
        config: the fleet's configuration.
    """

    def __init__(self, config: FleetConfig) -> None:
        self._pools: defaultdict[tuple[str, str], list[PoolConfig]] = defaultdict(list)
        for pool in config.pools:
            self._pools[pool.model, pool.zone].append(pool)

    def pools(self, request: "Admitted") -> list[PoolConfig]:
        """All of them, the one built for its class first; none if it fits nowhere."""
        fitting = [
            pool
            for pool in self._pools.get((request.model, request.zone), ())
            if pool.engine.max_model_len >= request.need_tokens
            and pool.size_classes[-1].limit >= request.size_class.limit
        ]
        return sorted(
            fitting,
            key=lambda pool: (
                pool.isolated is not request.isolated,
                request.size_class not in pool.size_classes,
            ),
        )
