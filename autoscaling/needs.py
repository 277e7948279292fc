"""What each part of a group's situation asks for, in replicas and in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, isfinite

from autoscaling.demand.terms import Work
from autoscaling.forecast.terms import QUANTILES, Forecast
from autoscaling.plan_terms import Capacity, Situation, Term

_MOST = 10**9
MEDIAN = 0.5
_ROUNDING = 1e-9  # sums such as 0.1 + 0.2 are no reason for another replica


@dataclass(frozen=True, slots=True)
class Asked:
    """All that is asked for now, before bounds and delays."""

    terms: tuple[Term, ...]
    """What asks for how many replicas."""
    load: float
    """The most that work asks for, in replicas that are not rounded up."""
    whole: int
    """The most that is asked for in whole replicas by the rest."""
    sure: int
    """As `replicas`, with the median of demand in the place of a high quantile: what has to be
    there even where spot nodes are lost."""
    unsure: str
    """Why nothing may be lowered by this; empty where it may."""
    left_out: tuple[str, ...]
    """Which terms are missing, and why."""

    @property
    def replicas(self) -> int:
        """The most that any term asks for."""
        return max(term.replicas for term in self.terms)

    def enough(self, margin: float) -> int:
        """Replicas that are enough with some share of them to spare.

        Args:
            margin: Share by which work may turn out greater.
        """
        return max(self.whole, _up(self.load * (1 + margin)))


def asked(situation: Situation, quantile: float, drain_backlog_s: float) -> Asked:
    """What a situation asks for. Numbers that make no sense ask for nothing and lower nothing.

    Args:
        situation: Of one group.
        quantile: Of demand, that replicas are to be enough for; one of `QUANTILES`.
        drain_backlog_s: Seconds in which what waits is to be worked off.
    """
    unsure: list[str] = []
    left_out: list[str] = []
    recent = situation.recent
    if recent is None or not _sound(recent):
        unsure.append("metrics are lost")
        recent = None
    backlog = situation.backlog
    if not _sound(backlog):
        unsure.append("the backlog is no number")
        backlog = Work()
    capacity = situation.capacity
    known = _carries(capacity)
    if not known:
        left_out.append(capacity.reason or "capacity unknown")
        if capacity.measured:
            unsure.append("the capacity is no number")
    worked: list[tuple[Term, float]] = []
    median = 0.0
    if known:
        ahead = _ahead(situation, quantile, recent, unsure, left_out)
        if ahead is not None:
            near = _near(situation, quantile)
            worked.append(_forecast(ahead, near, situation, quantile))
            half = _ahead(situation, MEDIAN, recent, [], [])
            median = worked[-1][1] if half is None else replicas_for(half, capacity)
        if recent is not None:
            worked.append(_backlog(recent, backlog, drain_backlog_s, capacity))
            median = max(median, worked[-1][1])
    reactive = _whole(situation.reactive)
    if reactive is None:
        unsure.append("the work outstanding is no number")
    whole = (
        Term("reactive", reactive or 0, f"work outstanding asks for {reactive or 0:,}"),
        Term("minimum", max(0, situation.least), f"the minimum is {max(0, situation.least):,}"),
    )
    return Asked(
        terms=(*(term for term, _ in worked), *whole),
        load=max((load for _, load in worked), default=0.0),
        whole=max(term.replicas for term in whole),
        sure=max(_up(median), *(term.replicas for term in whole)),
        unsure=" and ".join(unsure),
        left_out=tuple(left_out),
    )


def replicas_for(work: Work, capacity: Capacity) -> float:
    """Replicas that some work keeps busy, not rounded: the two halves share their time.

    Engines that compute one half only have no work of the other, so their sum is that half alone.

    Args:
        work: Tokens a second.
        capacity: Of one replica.
    """
    return work.prefill / capacity.prefill_tps + work.decode / capacity.decode_tps


def _ahead(
    situation: Situation,
    quantile: float,
    recent: Work | None,
    unsure: list[str],
    left_out: list[str],
) -> Work | None:
    """Demand to be ready for. A half that has no forecast is expected to stay as it is."""
    if situation.prefill is None and situation.decode is None:
        left_out.append("no forecast" + (situation.no_forecast and f": {situation.no_forecast}"))
        return None
    halves: Mapping[str, tuple[Forecast | None, float]] = {
        "prefill": (situation.prefill, recent.prefill if recent else 0.0),
        "decode": (situation.decode, recent.decode if recent else 0.0),
    }
    values = {}
    for name, (forecast, latest) in halves.items():
        value = latest if forecast is None else _at(forecast, quantile)
        if not 0 <= value < float("inf"):
            unsure.append(f"the forecast of {name} is no number")
            return None
        values[name] = value
    return Work(values["prefill"], values["decode"])


def _near(situation: Situation, quantile: float) -> Work | None:
    """Demand that replicas on standby can be woken for; None if it is all to be ready for now."""
    prefill, decode = situation.near_prefill, situation.near_decode
    if situation.standby <= 0 or prefill is None or decode is None:
        return None
    near = Work(_at(prefill, quantile), _at(decode, quantile))
    return near if _sound(near) else None


def _forecast(
    ahead: Work, near: Work | None, situation: Situation, quantile: float
) -> tuple[Term, float]:
    load = replicas_for(ahead, situation.capacity)
    horizon = situation.lead_s
    within = f"in {horizon:,.0f} s" if isfinite(horizon) else "within the lead time"
    why = f" ({situation.lead_reason})" if situation.lead_reason else ""
    detail = f"P{quantile * 100:g} of demand {within}{why} is {_work(ahead, situation.capacity)}"
    if near is not None:
        # What is on standby counts for what comes later: it is ready long before that.
        soon = replicas_for(near, situation.capacity)
        load = max(soon, load - situation.standby)
        detail += (
            f", of which {situation.standby:,} may stand by until "
            f"{situation.standby_lead_s:,.0f} s before; within that it is {soon:,.1f} replicas"
        )
    return Term("forecast", _up(load), detail), load


def _backlog(recent: Work, backlog: Work, drain_s: float, capacity: Capacity) -> tuple[Term, float]:
    waiting = Work(backlog.prefill / drain_s, backlog.decode / drain_s)
    both = Work(recent.prefill + waiting.prefill, recent.decode + waiting.decode)
    load = replicas_for(both, capacity)
    detail = f"recent demand is {_work(recent, capacity)}"
    if backlog.prefill or backlog.decode:
        detail += (
            f", and {backlog.prefill:,.0f} prompt and {backlog.decode:,.0f} output tokens that wait"
            f" ask for {replicas_for(waiting, capacity):,.1f} more to be done in {drain_s:g} s"
        )
    return Term("backlog", _up(load), detail), load


def _work(work: Work, capacity: Capacity) -> str:
    """Such as `8,400 prompt and 2,100 output tokens/s (1.3 and 5.1 replicas at ...)`."""
    halves = [
        ("prompt", work.prefill, capacity.prefill_tps),
        ("output", work.decode, capacity.decode_tps),
    ]
    shown = [half for half in halves if half[1]] or halves
    rates = " and ".join(f"{value:,.0f} {name}" for name, value, _ in shown)
    shares = " and ".join(f"{value / each:,.1f}" for _, value, each in shown)
    each = " and ".join(f"{each:,.0f}" for _, _, each in shown)
    source = f", {capacity.reason}" if capacity.reason else ""
    return f"{rates} tokens/s ({shares} replicas at {each} tokens/s each{source})"


def _up(load: float) -> int:
    return ceil(min(load * (1 - _ROUNDING), _MOST))


def _at(forecast: Forecast, quantile: float) -> float:
    if len(forecast.quantiles) != len(QUANTILES):
        return float("nan")
    return forecast.at(quantile)


def _sound(work: Work) -> bool:
    return all(0 <= value < float("inf") for value in (work.prefill, work.decode))


def _carries(capacity: Capacity) -> bool:
    rates = capacity.prefill_tps, capacity.decode_tps
    return capacity.measured and all(0 < rate < float("inf") for rate in rates)


def _whole(value: int) -> int | None:
    """A count that comes from elsewhere; None if it is none."""
    return min(int(value), _MOST) if 0 <= value < float("inf") else None
