"""A fleet of any number of pools, and demand for it that has days, noise and quiet pools."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from app.config import FleetConfig, parse_config
from autoscaling.demand.terms import Message, Sample, Work
from autoscaling.keeper_news import KeeperNews, Throughput
from autoscaling.plan_terms import Running, Site

DAY_S = 86400.0
BEGIN_S = 1_767_225_600.0
"""The first of January 2026, in Unix time."""
_ENGINE = {"max_model_len": 8192, "kv_cache_memory": "64MiB"}


def fleet_of(pools: int, step_s: int = 60) -> FleetConfig:
    """A fleet whose pools have both markets and a capacity.

    Args:
        pools: how many.
        step_s: seconds of demand that are one observation.
    """
    return parse_config(
        {
            "models": [
                {"name": "m", "source": "m", "max_model_len": 8192, "unverified": True},
            ],
            "zones": {"public": {"isolation": "medium"}},
            "default_zone": "public",
            "size_classes_required": ["small"],
            "classifier": {"enabled": False},
            "pools": [
                {
                    "name": f"pool-{number}",
                    "model": "m",
                    "zone": "public",
                    "size_classes": ["small"],
                    "engine": _ENGINE,
                    "markets": {
                        "on-demand": {"min_replicas": 1, "max_replicas": 20},
                        "spot": {"min_replicas": 0, "max_replicas": 20},
                    },
                    "capacity": {"prefill_tokens_per_s": 8000.0, "decode_tokens_per_s": 1500.0},
                }
                for number in range(pools)
            ],
            "scaling": {
                "forecast": {"step_s": step_s},
                "spot": {
                    "sites": [
                        {"region": "r", "availability_zone": f"r{letter}", "spot_price": price}
                        for letter, price in (("a", 0.35), ("b", 0.4), ("c", 0.45))
                    ]
                },
            },
        }
    )


@dataclass(slots=True)
class Demand:
    """What a gateway would say, with a cycle of a day.

    Args:
        fleet: whose pools.
        seed: of the noise.
    """

    fleet: FleetConfig
    seed: int = 6
    _number: int = 0

    def messages(self, begin: float, end: float, span_s: float) -> Iterator[tuple[float, Message]]:
        """Messages and the times they come at, in order.

        Args:
            begin: Unix time in seconds.
            end: Unix time in seconds.
            span_s: seconds between two of them.
        """
        noise = random.Random(f"{self.seed} {begin}")
        at = begin
        while at < end:
            at += span_s
            self._number += 1
            groups = {}
            for number, pool in enumerate(self.fleet.pools):
                tide = 1.0 + math.sin(math.tau * (at / DAY_S + number / len(self.fleet.pools)))
                rate = (500.0 + number % 7 * 800.0) * tide * noise.lognormvariate(0.0, 0.2)
                work = Work(rate * 4 * span_s, rate * span_s)
                groups[pool.name] = Sample(requests=5, arrived=work, answers=5)
            yield at, Message("gateway", self._number, span_s, groups)


def news_of(fleet: FleetConfig) -> KeeperNews:
    """What a keeper would say of replicas that are all as they were.

    Args:
        fleet: whose.
    """
    running = {}
    for deployed in fleet.deployments():
        sites = {Site(deployed.market.value): 2}
        running[deployed.name] = Running(active=2, reactive=1, planned=2, sites=sites)
    work = {pool.name: Throughput(4000.0, 900.0, 4, False) for pool in fleet.pools}
    return KeeperNews(running=running, work=work)
