"""The nodes that a plan needs, for whoever starts nodes to start them ahead of the replicas."""

from app.config import MARKET_LABEL, FleetConfig, Market
from autoscaling.group_planner import GroupPlanner
from autoscaling.group_settings import AVAILABILITY_ZONE_LABEL

NodeNeed = tuple[dict[str, float], dict[str, str], int]
"""Resources of a bundle, labels of its node, and how many of them."""


def needs_of_group(group: GroupPlanner) -> list[NodeNeed]:
    """What a group's planned replicas and those on standby take of their nodes.

    Args:
        group: The group.
    """
    found: list[NodeNeed] = []
    for market, deployed in group.settings.deployments.items():
        bounds = group.settings.bounds[market]
        ask = group.last.asks[deployed.name].active if group.last is not None else 0
        active = max(ask, bounds.min_replicas, group.running[market].reactive)
        count = min(active + bounds.standby_replicas, bounds.max_replicas)
        bundles, labels = group.settings.resources(market)
        for labels_there, there in _by_site(group, market, labels, count):
            found += [(dict(bundle), labels_there, there) for bundle in bundles]
    return found


def needs_of_service(fleet: FleetConfig) -> list[NodeNeed]:
    """What everything but the engines takes.

    Args:
        fleet: A valid configuration.
    """
    fixed = [(fleet.gateway.cpus, fleet.gateway.replicas), (fleet.ledger.cpus, fleet.ledger.shards)]
    if fleet.classifier.enabled:
        fixed.append((fleet.classifier.cpus, fleet.classifier.replicas))
    spot = any(deployed.market is Market.SPOT for deployed in fleet.deployments())
    labels = {MARKET_LABEL: f"!{Market.SPOT}"} if spot else {}
    return [({"CPU": cpus}, dict(labels), count) for cpus, count in fixed if cpus > 0]


def _by_site(
    group: GroupPlanner, market: Market, labels: dict[str, str], count: int
) -> list[tuple[dict[str, str], int]]:
    """Parts a market's replicas among its availability zones, as far as they have names."""
    found: list[tuple[dict[str, str], int]] = []
    placed = group.last.placed if group.last is not None else None
    if market is Market.SPOT and placed is not None:
        for site, planned in sorted(placed.spot.items()):
            there = min(planned, count)
            if site.availability_zone and there:
                found.append((labels | {AVAILABILITY_ZONE_LABEL: site.availability_zone}, there))
                count -= there
    return [*found, (dict(labels), count)] if count else found
