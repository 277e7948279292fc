"""A configuration of one pool as the terms of a comparison say, and what is left out of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.config import FleetConfig, parse_config
from autoscaling.placement.experience import AGES_S
from autoscaling.placement.survival import Prospect, SurvivalModel
from autoscaling.plan_terms import Site
from autoscaling.simulator.terms import ON_DEMAND, Terms

POOL = "pool"
_MEDIAN = 0.5


class Everlasting(SurvivalModel):
    """Takes every spot node to stay: what placement would be without a model of survival."""

    __slots__ = ()

    def risk(self, site: Site, age_s: float, horizon_s: float, wall: float) -> float:
        """None."""
        return 0.0

    def prospects(self, site: Site, horizon_s: float, wall: float) -> tuple[Prospect, ...]:
        """A month, all of it settled."""
        return (Prospect(0.0, 0.0, 2_592_000.0),) * len(AGES_S)


@dataclass(frozen=True, slots=True)
class Variant:
    """What is changed or left out of our policy, for a comparison."""

    headroom: float = 1.0
    """What work is multiplied by; 1 as profiled."""
    quantile: float = 0.9
    """Of demand, that capacity is to be enough for."""
    epsilon: float = 0.2
    """Chance that is taken of having less than is planned."""
    conformal: bool = True
    """Whether quantiles of demand are planned by; its median otherwise."""
    measured_lead: bool = True
    """Whether starts are timed; the default of the configuration is believed otherwise."""
    survival: bool = True
    """Whether the risks of spot nodes are known; they are taken to stay otherwise."""
    reactive: bool = True
    """Whether the work outstanding asks for replicas by itself."""
    members: tuple[str, ...] | None = None
    """Forecast by these models; by all otherwise."""
    forecast: bool = True
    """Whether demand is forecast at all."""
    down_delay_s: float = 600.0
    """Seconds for which one replica fewer must have been enough."""
    standby: int = 0
    """Replicas that stand by: on spot nodes where there are any, on demand otherwise."""

    def survival_model(self) -> SurvivalModel | None:
        """What is known of spot nodes; None for what production knows."""
        return None if self.survival else Everlasting()


def fleet_of(terms: Terms, variant: Variant, tick_s: float) -> FleetConfig:
    """One pool, in one or both markets.

    Args:
        terms: What the comparison says.
        variant: What is changed.
        tick_s: Seconds between two plans.
    """
    longest = int(max(2048, 8 * (terms.mean_prompt + terms.mean_output)))
    saturation = int(max(longest, terms.max_seqs * (terms.mean_prompt + terms.mean_output)))
    # Nobody else has to keep any on demand either, where there are spot nodes.
    least = {"min_replicas": min(terms.least, terms.most), "max_replicas": terms.most}
    markets: dict[str, Any] = {"on-demand": least}
    if variant.standby:
        least |= {"standby_replicas": min(variant.standby, terms.most - least["min_replicas"])}
    if terms.spot_sites:
        markets = {
            "on-demand": least | {"min_replicas": 0, "standby_replicas": 0},
            "spot": least,
        }
    forecast: dict[str, Any] = {
        "enabled": variant.forecast,
        "quantile": variant.quantile if variant.conformal else _MEDIAN,
    }
    if variant.members is not None:
        forecast["members"] = list(variant.members)
    capacity = terms.capacity
    return parse_config(
        {
            "models": [{"name": "m", "source": "m", "max_model_len": longest, "unverified": True}],
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
                    "engine": {"max_model_len": longest, "kv_cache_memory": "1GiB"},
                    "markets": markets,
                    "max_outstanding_tokens": saturation,
                    "slo": {"ttft_s": terms.slo.ttft_s, "itl_s": terms.slo.itl_s},
                    "capacity": {
                        "prefill_tokens_per_s": capacity.prefill_tps / variant.headroom,
                        "decode_tokens_per_s": capacity.decode_tps / variant.headroom,
                    },
                }
            ],
            "scaling": {
                "tick_s": tick_s,
                "down_delay_s": variant.down_delay_s,
                "forecast": forecast,
                "spot": {
                    "epsilon": variant.epsilon,
                    "sites": [
                        {
                            "region": site.region,
                            "availability_zone": site.availability_zone,
                            "on_demand_price": terms.prices[ON_DEMAND],
                            "spot_price": terms.prices[site],
                        }
                        for site in terms.spot_sites
                    ],
                },
            },
        }
    )
