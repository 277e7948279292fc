"""A fleet with a pool that is disaggregated, and one that is set apart."""

from typing import Any

from app.config import FleetConfig, parse_config


def pool(name: str, *classes: str, **other: Any) -> dict[str, Any]:
    return {
        "name": name,
        "model": "m",
        "zone": "private",
        "size_classes": list(classes),
        "engine": {"max_model_len": 32768, "kv_cache_memory": "64MiB"},
        "slo": {"ttft_s": 2.0, "itl_s": 0.1},
        **other,
    }


def fleet() -> FleetConfig:
    return parse_config(
        {
            "models": [{"name": "m", "source": "/m", "max_model_len": 32768, "unverified": True}],
            "zones": {"private": {"isolation": "medium"}},
            "default_zone": "private",
            "pools": [
                pool("short", "small", "medium"),
                pool("long", "large", "xl", disaggregated={"prefill": {}, "decode": {}}),
                pool("apart", "small", "medium", "large", "xl", isolated=True),
            ],
        }
    )


FLEET = fleet()
