"""What EC2 is asked about spot nodes, and what of its answers makes sense."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from app.config.scaling import SiteConfig
from autoscaling.placement.offers import NodeKind

CONNECT_S = 5
READ_S = 10
MAX_PAGES = 10
MAX_ENTRIES = 1000
AHEAD_S = 300.0
"""By how much a price's time may be ahead of this machine's clock."""
ABSURD = 100.0
"""A price of more than so many times the on-demand price is none."""
SCORED_NODES = 8
"""Nodes that placement scores are asked for: the same always, since EC2 limits how many kinds of
questions are asked."""


def client(region: str, endpoint: str | None) -> Any:
    """A boto3 client of EC2. Credentials come from where boto3 looks for them.

    Args:
        region: Such as `us-west-2`.
        endpoint: URL of the service; by default AWS.
    """
    import boto3
    from botocore.config import Config

    options = Config(
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        retries={"mode": "standard", "total_max_attempts": 2},
    )
    return boto3.session.Session().client(
        "ec2", region_name=region, endpoint_url=endpoint, config=options
    )


def prices(ec2: Any, sites: Sequence[SiteConfig], wall: float) -> dict[NodeKind, float]:
    """The newest price of each kind of node that makes sense, in dollars an hour.

    Args:
        ec2: A client of the sites' region.
        sites: Of that region, with instance types.
        wall: Unix time in seconds.

    Raises:
        Exception: Whatever boto3 raises.
    """
    limits: dict[NodeKind, float] = {_kind(site): site.on_demand_price for site in sites}
    newest: dict[NodeKind, float] = {}
    found: dict[NodeKind, float] = {}
    for entry in _entries(ec2, sites, wall):
        kind = str(entry.get("InstanceType")), str(entry.get("AvailabilityZone"))
        at, price = _time(entry.get("Timestamp")), _number(entry.get("SpotPrice"))
        if kind not in limits or at is None or price is None:
            continue
        if at > wall + AHEAD_S or not 0 < price <= ABSURD * limits[kind]:
            continue
        if at > newest.get(kind, -math.inf):
            newest[kind] = at
            found[kind] = price
    return found


def scores(ec2: Any, region: str, sites: Sequence[SiteConfig]) -> dict[NodeKind, float]:
    """How well each kind of node can be had, from 1 to 10.

    Args:
        ec2: A client of the region.
        region: Such as `us-west-2`.
        sites: Of that region, with instance types.

    Raises:
        Exception: Whatever boto3 raises.
    """
    names = {
        zone.get("ZoneId"): zone.get("ZoneName")
        for zone in ec2.describe_availability_zones().get("AvailabilityZones", ())
    }
    found: dict[NodeKind, float] = {}
    for kind in sorted({str(site.instance_type) for site in sites}):
        answer = ec2.get_spot_placement_scores(
            InstanceTypes=[kind],
            TargetCapacity=SCORED_NODES,
            TargetCapacityUnitType="units",
            SingleAvailabilityZone=True,
            RegionNames=[region],
        )
        for entry in answer.get("SpotPlacementScores", ())[:MAX_ENTRIES]:
            score = _number(entry.get("Score"))
            name = names.get(entry.get("AvailabilityZoneId"))
            if name is not None and score is not None and 1 <= score <= 10:
                found[kind, name] = score
    return found


def why(error: Exception) -> str:
    """What went wrong, without what the service or boto3 says: that may hold a request.

    Args:
        error: What was raised.
    """
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        code = str(response.get("Error", {}).get("Code", ""))
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        named = code if code.replace(".", "").isalnum() and len(code) <= 64 else "an error"
        return f"{named} (HTTP {status})"
    return type(error).__name__


def _entries(ec2: Any, sites: Sequence[SiteConfig], wall: float) -> Iterator[Mapping[str, Any]]:
    question: dict[str, Any] = {
        "InstanceTypes": sorted({str(site.instance_type) for site in sites}),
        "ProductDescriptions": ["Linux/UNIX"],
        "Filters": [
            {
                "Name": "availability-zone",
                "Values": sorted({site.availability_zone for site in sites}),
            }
        ],
        # The prices that hold at this time, one for each kind of node.
        "StartTime": datetime.fromtimestamp(wall, UTC),
        "MaxResults": MAX_ENTRIES,
    }
    for _ in range(MAX_PAGES):
        page = ec2.describe_spot_price_history(**question)
        yield from page.get("SpotPriceHistory", ())
        if not page.get("NextToken"):
            return
        question["NextToken"] = page["NextToken"]


def _kind(site: SiteConfig) -> NodeKind:
    return str(site.instance_type), site.availability_zone


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _time(value: object) -> float | None:
    if not isinstance(value, datetime):
        return None
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
