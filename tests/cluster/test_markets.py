"""One pool in two markets: where its replicas run, and how they share the work."""

from app.config.pools import MARKET_LABEL
from tests.cluster.fleet import Fleet, until
from tests.cluster.streams import Streams

SMALL = {market: f"public-small--{market}" for market in ("on-demand", "spot")}


def test_replicas_run_on_nodes_of_their_market(fleet: Fleet) -> None:
    for market, deployment in SMALL.items():
        (replica,) = fleet.replicas(deployment)
        assert fleet.node_labels(replica["node_id"])[MARKET_LABEL] == market


def until_live(fleet: Fleet, count: int) -> dict[str, int]:
    """Requests in each market's engine, once there are so many in all."""
    live: dict[str, int] = {}

    def all_there() -> bool:
        live.update({m: fleet.engine_status(d)["live_requests"] for m, d in SMALL.items()})
        return sum(live.values()) == count

    until(all_there, 30, every_s=0.02)
    return live


def test_load_is_spread_over_both_markets(fleet: Fleet) -> None:
    # An engine's handle takes seconds when it is first used; the requests would be over by then.
    fleet.settle()
    with Streams(fleet, 12, fleet.chat("Count.", max_tokens=1200, ignore_eos=True)) as streams:
        live = until_live(fleet, 12)
        streams.leave()
    assert live == {"on-demand": 6, "spot": 6}
    fleet.settle()
