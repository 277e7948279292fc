"""A small fleet in both markets, and what gateways and the keeper would say of it."""

from dataclasses import replace
from typing import Any

from app.config import FleetConfig, parse_config
from autoscaling.demand.terms import Message, Sample, Work
from autoscaling.keeper_news import KeeperNews, Start
from autoscaling.plan_terms import Running, Site

POOL = "chat"
ON_DEMAND, SPOT = f"{POOL}--on-demand", f"{POOL}--spot"
OLD_S = 100_000.0


def fleet(*, seasons: tuple[float, ...] = (60.0,), **markets: dict[str, int]) -> FleetConfig:
    """One pool that is planned to carry 40 output tokens a second and replica."""
    args: dict[str, Any] = {
        "models": [{"name": "m", "source": "m", "max_model_len": 2048, "unverified": True}],
        "zones": {"public": {"isolation": "medium"}},
        "default_zone": "public",
        "size_classes_required": ["small"],
        "classifier": {"enabled": False},
        "pools": [
            {
                "name": POOL,
                "model": "m",
                "zone": "public",
                "size_classes": ["small"],
                "engine": {"max_model_len": 2048, "kv_cache_memory": "64MiB"},
                "markets": {name.replace("_", "-"): each for name, each in markets.items()},
                "capacity": {"prefill_tokens_per_s": 10000.0, "decode_tokens_per_s": 40.0},
            }
        ],
        "scaling": {
            "down_delay_s": 4.0,
            "forecast": {"step_s": 10, "seasons_s": list(seasons)},
            "lead_time": {"cold_s": 12.0, "cached_s": 12.0, "standby_s": 3.0},
            "spot": {"epsilon": 0.05},
        },
    }
    return parse_config(args)


def message(number: int, tokens: float, span_s: float = 1.0) -> Message:
    """What a gateway says of a span in which so many output tokens arrived."""
    arrived = Work(tokens / 4, tokens)
    return Message("g", number, span_s, {POOL: Sample(requests=1, arrived=arrived)})


def news(on_demand: int, spot: int | None = None, *starts: float, coming: int = 0) -> KeeperNews:
    """Replicas that are active, starts that have ended, in seconds, and spot ones that start."""
    counts = {ON_DEMAND: on_demand} | ({} if spot is None else {SPOT: spot})
    running = {}
    for name, count in counts.items():
        site = Site(name.removeprefix(f"{POOL}--"))
        running[name] = Running(
            active=count, planned=count, sites={site: count}, ages={site: (OLD_S,) * count}
        )
    if coming:
        running[SPOT] = replace(running[SPOT], starting=coming, coming={Site("spot"): coming})
    return KeeperNews(
        running=running, starts=[Start(POOL, "on-demand", "cached", each) for each in starts]
    )
