"""Prices of spot nodes and how well they can be had, as EC2 says.

A thread of its own asks now and then, so that nobody waits for an answer. What was answered last
stands until it is too old; then the prices of the configuration do. An answer that makes no sense
is left out, price by price.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from app.config.scaling import PriceFeed as Source
from app.config.scaling import SiteConfig, SpotConfig
from autoscaling.placement.offers import NodeKind, Quotes
from deployments import spot_prices

SCORES_S = 3600.0
"""Seconds between two questions for placement scores, which EC2 limits by the day."""
STOP_S = 2.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Answer:
    """What one region has said."""

    at: float
    prices: dict[NodeKind, float] = field(default_factory=dict)


class PriceFeed:
    """Follows the prices of the configured sites.

    It may be asked from any thread.

    Args:
        spot: Which sites, and how they are asked about.
        clock: Monotonic time in seconds.
        wall: Unix time in seconds.
    """

    def __init__(
        self,
        spot: SpotConfig,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._spot, self._clock, self._wall = spot, clock, wall
        self._asked: dict[str, list[SiteConfig]] = {}
        for site in spot.sites:
            if site.instance_type is not None:
                self._asked.setdefault(site.region, []).append(site)
        self._lock = threading.Lock()
        self._answers: dict[str, _Answer] = {}
        self._scores: dict[str, dict[NodeKind, float]] = {}
        self._scored_at: dict[str, float] = {}
        self._trouble: dict[str, str] = {}
        self._clients: dict[str, Any] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to ask. Does nothing where prices are those of the configuration."""
        if self._spot.prices is Source.AWS and self._asked and self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="price-feed", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Asks no more. A question under way is not waited for beyond two seconds."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_S)

    def quotes(self) -> Quotes:
        """The newest prices and scores, with where they come from. Never waits for EC2."""
        if self._spot.prices is not Source.AWS:
            return Quotes()
        now = self._clock()
        with self._lock:
            fresh = {
                region: answer
                for region, answer in self._answers.items()
                if now - answer.at < self._spot.stale_s
            }
            prices = {kind: p for answer in fresh.values() for kind, p in answer.prices.items()}
            scores = {
                kind: score
                for region, scored in self._scores.items()
                if region in fresh
                for kind, score in scored.items()
            }
            return Quotes(prices, scores, self._told(fresh, len(scores), now))

    def ask(self) -> None:
        """Asks every region once; what goes wrong is logged and kept for `quotes` to tell."""
        for region, sites in self._asked.items():
            if self._stopping.is_set():
                return
            try:
                ec2 = self._client(region)
                found = spot_prices.prices(ec2, sites, self._wall())
            except Exception as error:  # noqa: BLE001 - whatever it is, the last answer stands
                # Credentials that are there by then are found by a new one.
                self._clients.pop(region, None)
                self._failed(region, error)
                continue
            with self._lock:
                if found:
                    self._answers[region] = _Answer(self._clock(), found)
                    self._trouble.pop(region, None)
                else:
                    self._trouble[region] = "no price that makes sense"
            if not found:
                log.warning("EC2 has no price that makes sense", region=region)
            self._ask_scores(region, ec2, sites)

    def _follow(self) -> None:
        # boto's debug log would hold signed requests.
        logging.getLogger("botocore").setLevel(logging.WARNING)
        while not self._stopping.is_set():
            self.ask()
            self._stopping.wait(self._spot.refresh_s)

    def _client(self, region: str) -> Any:
        if region not in self._clients:
            self._clients[region] = spot_prices.client(region, self._spot.endpoint)
        return self._clients[region]

    def _ask_scores(self, region: str, ec2: Any, sites: list[SiteConfig]) -> None:
        now = self._clock()
        if now - self._scored_at.get(region, -math.inf) < SCORES_S:
            return
        self._scored_at[region] = now
        found: dict[NodeKind, float] = {}
        try:
            found = spot_prices.scores(ec2, region, sites)
        except Exception as error:  # noqa: BLE001 - scores are a help, prices do without
            log.warning("EC2 gives no placement scores", region=region, why=spot_prices.why(error))
        with self._lock:
            self._scores[region] = found

    def _failed(self, region: str, error: Exception) -> None:
        why = spot_prices.why(error)
        with self._lock:
            self._trouble[region] = why
        log.warning("EC2 gives no spot prices", region=region, why=why)

    def _told(self, fresh: Mapping[str, _Answer], scores: int, now: float) -> str:
        parts = []
        if fresh:
            oldest = max(now - answer.at for answer in fresh.values())
            parts.append(f"prices of EC2, {oldest:,.0f} s old at most")
            parts.append(f"{scores} placement scores" if scores else "no placement scores")
        stale = sorted(self._asked.keys() - fresh.keys())
        if stale:
            parts.append(f"prices from the configuration for {', '.join(stale)}")
        parts.extend(f"{region}: {why}" for region, why in sorted(self._trouble.items()))
        return "; ".join(parts) or "prices from the configuration"
