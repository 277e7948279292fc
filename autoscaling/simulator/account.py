"""What is counted while a scenario runs, and made into an outcome at its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from autoscaling.plan_terms import Site
from autoscaling.simulator.engine import Tally
from autoscaling.simulator.fleet import Ledger
from autoscaling.simulator.outcome import Day, Latency, Outcome
from autoscaling.simulator.policy import SiteView

DAY_S = 86400.0
SAMPLE_S = 600.0
REVERSAL_S = 900.0
"""A change of the target that undoes one of the other direction so soon is a reversal."""
_SERIES = ("at_s", "needed", "on_demand", "spot", "starting", "queued")
_QUANTILES = (0.5, 0.95, 0.99)


def label(site: Site) -> str:
    """What a site is called in results.

    Args:
        site: It.
    """
    if site.market != "spot":
        return site.market
    return f"{site.region}/{site.availability_zone}" if site.availability_zone else site.market


class Account:
    """Counts. Times are seconds of the workload.

    Args:
        begin_s: When the scenario begins.
        prices: Dollars an hour of a replica, by site.
    """

    __slots__ = (
        "_asked", "_at_day", "_begin_s", "_changes", "_day_end_s", "_days", "_prices",
        "_sample_s", "_series", "cold_waits", "reversals", "scale_events",
        "shortfall_s",
    )  # fmt: skip

    def __init__(self, begin_s: float, prices: Mapping[Site, float]) -> None:
        self._begin_s, self._prices = begin_s, prices
        self._days: list[Day] = []
        self._day_end_s = begin_s + DAY_S
        self._at_day = Day(0, 0, 0, 0, 0.0, 0.0, 0)
        self._asked: int | None = None
        self._changes: deque[tuple[float, bool]] = deque()
        self._sample_s = begin_s
        self._series: dict[str, list[float]] = {name: [] for name in _SERIES}
        self.cold_waits = 0
        self.reversals = 0
        self.scale_events = 0
        self.shortfall_s = 0.0

    def asked(self, total: int, now: float) -> None:
        """Takes how many replicas the policy asks for.

        Args:
            total: At all sites together.
            now: The time.
        """
        before, self._asked = self._asked, total
        if before is None or total == before:
            return
        up = total > before
        self.scale_events += 1
        while self._changes and now - self._changes[0][0] > REVERSAL_S:
            self._changes.popleft()
        self.reversals += any(other != up for _, other in self._changes)
        self._changes.append((now, up))

    def sample(
        self, needed: float, views: Mapping[Site, SiteView], queued: int, now: float
    ) -> None:
        """Keeps what there is each ten minutes.

        Args:
            needed: Replicas that the work keeps busy.
            views: What there is by site.
            queued: Requests that no replica has taken.
            now: The time.
        """
        if now < self._sample_s:
            return
        self._sample_s += SAMPLE_S
        spot = sum(view.ready for site, view in views.items() if site.market == "spot")
        ready = sum(view.ready for view in views.values())
        starting = sum(view.starting for view in views.values())
        row = (now, needed, ready - spot, spot, starting, queued)
        for name, value in zip(_SERIES, row, strict=True):
            self._series[name].append(round(float(value), 4))

    def day_is_over(self, now: float) -> bool:
        """Whether it is time to close the day.

        Args:
            now: The time.
        """
        return now >= self._day_end_s

    def day(self, tally: Tally, ledger: Ledger) -> None:
        """Closes a day; the last one may be shorter.

        Args:
            tally: All requests so far.
            ledger: All nodes so far.
        """
        self._day_end_s += DAY_S
        so_far = Day(
            requests=tally.arrived,
            finished=tally.finished,
            met=tally.met,
            tokens=tally.prompt_tokens + tally.output_tokens,
            cost=sum(self._cost(ledger).values()),
            shortfall_s=self.shortfall_s,
            cold_waits=self.cold_waits,
        )
        before, self._at_day = self._at_day, so_far
        self._days.append(
            Day(
                requests=so_far.requests - before.requests,
                finished=so_far.finished - before.finished,
                met=so_far.met - before.met,
                tokens=so_far.tokens - before.tokens,
                cost=so_far.cost - before.cost,
                shortfall_s=so_far.shortfall_s - before.shortfall_s,
                cold_waits=so_far.cold_waits - before.cold_waits,
            )
        )

    def outcome(self, policy: str, end_s: float, tally: Tally, ledger: Ledger) -> Outcome:
        """What came of it.

        Args:
            policy: Its name.
            end_s: When arrivals ended.
            tally: All requests.
            ledger: All nodes.
        """
        return Outcome(
            policy=policy,
            begin_s=self._begin_s,
            end_s=end_s,
            requests=tally.arrived,
            finished=tally.finished,
            refused=tally.refused,
            lost=tally.lost,
            retried=tally.retried,
            met=tally.met,
            prompt_tokens=tally.prompt_tokens,
            output_tokens=tally.output_tokens,
            ttft=Latency(*(tally.ttft.quantile(each) for each in _QUANTILES)),
            itl=Latency(*(tally.itl.quantile(each) for each in _QUANTILES)),
            cost={label(site): cost for site, cost in self._cost(ledger).items()},
            replica_s={label(site): each for site, each in ledger.replica_s.items()},
            ready_s={label(site): each for site, each in ledger.ready_s.items()},
            preemptions=ledger.preemptions,
            lost_to_preemption=ledger.lost_by_preemption,
            retried_by_preemption=ledger.moved_by_preemption - ledger.lost_by_preemption,
            shortfall_s=self.shortfall_s,
            scale_events=self.scale_events,
            reversals=self.reversals,
            cold_waits=self.cold_waits,
            days=tuple(self._days),
            series={name: tuple(values) for name, values in self._series.items()},
        )

    def _cost(self, ledger: Ledger) -> dict[Site, float]:
        return {site: paid / 3600.0 * self._prices[site] for site, paid in ledger.replica_s.items()}
