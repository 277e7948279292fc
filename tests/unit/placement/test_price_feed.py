import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import structlog

from app.config.scaling import PriceFeed as Source
from app.config.scaling import SiteConfig, SpotConfig
from autoscaling.placement.offers import Quotes, offers_of
from benchmarks.weights.fetching import serving
from deployments import price_feed, spot_prices
from deployments.price_feed import PriceFeed

SECRET = "not-to-be-repeated"
KIND = ("g5.xlarge", "us-west-2a")
NOW = 1_790_000_000.0


CLIENTS = functools.cache(spot_prices.client)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTTESTTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with serving("moto", Path()) as url:
        yield url


def config(endpoint: str, *zones: str, **changes: Any) -> SpotConfig:
    sites = tuple(
        SiteConfig(
            region=zone[:-1],
            availability_zone=zone,
            instance_type="g5.xlarge",
            on_demand_price=1.0,
            spot_price=0.4,
        )
        for zone in zones or ("us-west-2a",)
    )
    return SpotConfig(sites=sites, prices=Source.AWS, endpoint=endpoint, **changes)


def price(
    text: str, *, zone: str = "us-west-2a", ahead_s: float = -60.0, kind: str = KIND[0]
) -> str:
    at = datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=ahead_s)
    return (
        f"<item><instanceType>{kind}</instanceType><spotPrice>{text}</spotPrice>"
        f"<availabilityZone>{zone}</availabilityZone><timestamp>{at.isoformat()}</timestamp></item>"
    )


def history(*items: str, more: str = "") -> bytes:
    body = "".join(items)
    return (
        f"<DescribeSpotPriceHistoryResponse><spotPriceHistorySet>{body}</spotPriceHistorySet>"
        f"<nextToken>{more}</nextToken></DescribeSpotPriceHistoryResponse>"
    ).encode()


ZONES = b"""<DescribeAvailabilityZonesResponse><availabilityZoneInfo><item>
<zoneName>us-west-2a</zoneName><zoneId>usw2-az2</zoneId></item></availabilityZoneInfo>
</DescribeAvailabilityZonesResponse>"""
SCORES = b"""<GetSpotPlacementScoresResponse><spotPlacementScoreSet>
<item><region>us-west-2</region><availabilityZoneId>usw2-az2</availabilityZoneId><score>7</score></item>
<item><region>us-west-2</region><availabilityZoneId>usw2-az9</availabilityZoneId><score>3</score></item>
</spotPlacementScoreSet></GetSpotPlacementScoresResponse>"""
DENIED = b"""<Response><Errors><Error><Code>UnauthorizedOperation</Code></Error></Errors>
</Response>"""
Answer = tuple[int, bytes]


class Ec2:
    """Answers what it is told to, by the action that is asked for."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[], Answer]] = {
            "DescribeSpotPriceHistory": lambda: (200, history(price("0.31"))),
            "DescribeAvailabilityZones": lambda: (200, ZONES),
            "GetSpotPlacementScores": lambda: (200, SCORES),
        }
        self.asked: list[dict[str, list[str]]] = []
        self.url = ""

    def says(self, action: str, body: bytes, status: int = 200) -> None:
        self.answers[action] = lambda: (status, body)


@pytest.fixture(scope="module")
def server() -> Iterator[Ec2]:
    state = Ec2()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            state.asked.append(question)
            status, body = state.answers[question["Action"][0]]()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def ec2(server: Ec2, monkeypatch: pytest.MonkeyPatch) -> Ec2:
    # A client takes longer to make than most tests.
    monkeypatch.setattr(spot_prices, "client", CLIENTS)
    fresh = Ec2()
    server.answers, server.asked = fresh.answers, fresh.asked
    return server


def test_prices_come_from_ec2_and_scores_are_done_without(moto: str) -> None:
    spot = config(moto, "us-west-2a", "us-west-2b")
    feed = PriceFeed(spot)
    feed.ask()
    quotes = feed.quotes()
    # moto's price of everything; placement scores it does not know.
    assert quotes.prices == {KIND: 0.00001, (KIND[0], "us-west-2b"): 0.00001}
    assert quotes.scores == {}
    assert "prices of EC2" in quotes.reason
    assert "no placement scores" in quotes.reason
    assert [offer.price for offer in offers_of(spot, None, 3, quotes)] == [0.00001, 0.00001]


def test_prices_and_scores_are_those_of_the_sites(ec2: Ec2) -> None:
    entries = [price("0.33"), price("0.5", zone="us-west-2z"), price("9", kind="p5.48xlarge")]
    ec2.says("DescribeSpotPriceHistory", history(*entries))
    feed = PriceFeed(config(ec2.url), wall=lambda: NOW)
    feed.ask()
    assert feed.quotes().prices == {KIND: 0.33}
    assert feed.quotes().scores == {KIND: 7.0}
    question = ec2.asked[0]
    assert question["ProductDescription.1"] == ["Linux/UNIX"]
    assert question["InstanceType.1"] == ["g5.xlarge"]
    assert question["Filter.1.Value.1"] == ["us-west-2a"]


def test_scores_are_not_asked_for_each_time(ec2: Ec2) -> None:
    clock = Clock()
    feed = PriceFeed(config(ec2.url), clock=clock, wall=lambda: NOW)
    for _ in range(3):
        feed.ask()
    scored = [q for q in ec2.asked if q["Action"] == ["GetSpotPlacementScores"]]
    assert len(scored) == 1
    assert feed.quotes().scores == {KIND: 7.0}


def test_prices_that_make_no_sense_are_dropped(ec2: Ec2) -> None:
    bad = [price(text) for text in ("0", "-0.2", "nan", "inf", "cheap", "", "100.01")]
    bad.append(price("0.01", ahead_s=3600))
    ec2.says("DescribeSpotPriceHistory", history(price("0.35", ahead_s=-999), *bad))
    feed = PriceFeed(config(ec2.url), wall=lambda: NOW)
    feed.ask()
    assert feed.quotes().prices == {KIND: 0.35}
    for entry in bad:
        ec2.says("DescribeSpotPriceHistory", history(entry))
        other = PriceFeed(config(ec2.url), wall=lambda: NOW)
        other.ask()
        assert other.quotes().prices == {}
        assert "no price that makes sense" in other.quotes().reason


def test_the_newest_price_counts(ec2: Ec2) -> None:
    entries = [price("0.3", ahead_s=-50), price("0.2", ahead_s=-10), price("0.1", ahead_s=-90)]
    ec2.says("DescribeSpotPriceHistory", history(*entries))
    feed = PriceFeed(config(ec2.url), wall=lambda: NOW)
    feed.ask()
    assert feed.quotes().prices == {KIND: 0.2}


def test_pages_without_end_are_not_read_without_end(ec2: Ec2) -> None:
    ec2.says("DescribeSpotPriceHistory", history(price("0.3"), more="again"))
    feed = PriceFeed(config(ec2.url), wall=lambda: NOW)
    feed.ask()
    pages = [q for q in ec2.asked if q["Action"] == ["DescribeSpotPriceHistory"]]
    assert len(pages) == spot_prices.MAX_PAGES
    assert feed.quotes().prices == {KIND: 0.3}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, DENIED),
        (500, b"<html>no</html>"),
        (200, b"\x00\xff garbage"),
        (200, b""),
    ],
)
def test_the_last_answer_stands_until_it_is_too_old(ec2: Ec2, status: int, body: bytes) -> None:
    clock = Clock()
    feed = PriceFeed(config(ec2.url, stale_s=600.0), clock=clock, wall=lambda: NOW)
    feed.ask()
    ec2.says("DescribeSpotPriceHistory", body, status)
    clock.now += 599
    with structlog.testing.capture_logs() as logs:
        feed.ask()
    assert feed.quotes().prices == {KIND: 0.31}
    assert "599 s old" in feed.quotes().reason
    clock.now += 2
    assert feed.quotes().prices == {}
    assert feed.quotes().scores == {}
    assert "prices from the configuration for us-west-2" in feed.quotes().reason
    assert logs
    for text in (str(logs), feed.quotes().reason):
        assert SECRET not in text
        assert "AKIATEST" not in text
    if status == 403:
        assert "UnauthorizedOperation (HTTP 403)" in feed.quotes().reason


def test_one_region_that_fails_leaves_the_others_their_prices(ec2: Ec2) -> None:
    answers = iter([(403, DENIED), (200, history(price("0.2")))])
    ec2.answers["DescribeSpotPriceHistory"] = lambda: next(answers)
    feed = PriceFeed(config(ec2.url, "eu-west-1a", "us-west-2a"), wall=lambda: NOW)
    feed.ask()
    assert feed.quotes().prices == {KIND: 0.2}
    assert "prices from the configuration for eu-west-1" in feed.quotes().reason


def test_missing_credentials_are_named(ec2: Ec2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setattr(spot_prices, "client", CLIENTS.__wrapped__)
    feed = PriceFeed(config(ec2.url), wall=lambda: NOW)
    feed.ask()
    assert "NoCredentialsError" in feed.quotes().reason
    assert ec2.asked == []
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTTESTTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    feed.ask()
    assert feed.quotes().prices == {KIND: 0.31}


def test_a_service_that_hangs_holds_up_nobody(ec2: Ec2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price_feed, "STOP_S", 0.2)
    hanging = threading.Event()

    def hang() -> Answer:
        hanging.wait(30)
        return 500, b""

    ec2.answers["DescribeSpotPriceHistory"] = hang
    feed = PriceFeed(config(ec2.url))
    feed.start()
    try:
        while not ec2.asked:
            time.sleep(0.01)
        began = time.monotonic()
        assert feed.quotes().prices == {}
        feed.stop()
        assert time.monotonic() - began < 2
    finally:
        hanging.set()
        assert feed._thread is not None
        feed._thread.join()


def test_a_feed_that_was_started_asks_again_and_again(ec2: Ec2) -> None:
    feed = PriceFeed(config(ec2.url, refresh_s=0.05), wall=lambda: NOW)
    feed.start()
    feed.start()
    deadline = time.monotonic() + 10
    while len(ec2.asked) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    feed.stop()
    assert len(ec2.asked) >= 5
    assert feed.quotes().prices == {KIND: 0.31}
    count = len(ec2.asked)
    time.sleep(0.2)
    assert len(ec2.asked) == count


def test_nobody_is_asked_where_prices_are_those_of_the_configuration(ec2: Ec2) -> None:
    spot = config(ec2.url).model_copy(update={"prices": Source.STATIC})
    feed = PriceFeed(spot)
    feed.start()
    feed.stop()
    assert feed.quotes() == Quotes()
    assert ec2.asked == []


def test_botocore_is_kept_from_logging_what_it_sends() -> None:
    logging.getLogger("botocore").setLevel(logging.DEBUG)
    feed = PriceFeed(config("http://127.0.0.1:9"))
    feed._stopping.set()
    feed._follow()
    assert logging.getLogger("botocore").level == logging.WARNING
