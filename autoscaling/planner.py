"""How many replicas a group needs: enough in time for what comes, fewer only after a while.

A need is the largest of what is asked for by the forecast (a quantile of demand over the lead
time), by recent demand with the backlog, by the work outstanding, and by the configuration. It goes
up at once. It goes down when fewer have been enough with a margin for `down_delay_s`, to the most
that was needed meanwhile; as the forecast is that of the whole lead time, nothing is given up that
would have to be started again soon. Whether replicas that were asked for have come is not looked
at: those that are pending or have failed change nothing in what is needed.
"""

from collections import deque
from dataclasses import dataclass
from math import isfinite
from typing import Any

from autoscaling import saved
from autoscaling.forecast.terms import QUANTILES
from autoscaling.needs import Asked, asked
from autoscaling.plan_terms import Need, Situation, Term

_MOST = 10**9
_SHORT = {
    "forecast": "the forecast asks for {:,}",
    "backlog": "recent demand and backlog ask for {:,}",
    "reactive": "work outstanding for {:,}",
    "minimum": "the minimum is {:,}",
}


@dataclass(frozen=True, slots=True)
class PlannerSettings:
    """How a group's need follows from its situation."""

    quantile: float = 0.9
    """Share of the time that replicas are to be enough for; one that is forecast."""
    drain_backlog_s: float = 30.0
    """Seconds in which what waits is to be worked off."""
    down_delay_s: float = 600.0
    """Seconds for which fewer must have been enough before the need goes down to that."""
    hold_s: float = 30.0
    """Seconds after the beginning, or after metrics were lost, in which nothing counts towards
    `down_delay_s`: what there is has to be heard first."""
    margin: float = 0.05
    """Share by which work may turn out greater and still fit into fewer replicas."""

    def __post_init__(self) -> None:
        """Refuses settings that no need could follow.

        Raises:
            ValueError: A setting is out of its range; the message names it.
        """
        if self.quantile not in QUANTILES:
            raise ValueError(f"quantile must be one of {QUANTILES}, not {self.quantile}")
        if not 0 < self.drain_backlog_s < float("inf"):
            raise ValueError(f"drain_backlog_s must be above 0, not {self.drain_backlog_s}")
        for name in ("down_delay_s", "hold_s", "margin"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")


class Planner:
    """Decides for one group.

    Args:
        settings: How its need follows from its situation.
    """

    __slots__ = ("_below_since", "_enough", "_held", "_now", "_settings", "_unsure_at")

    def __init__(self, settings: PlannerSettings) -> None:
        self._settings = settings
        self._held = -1
        """What was needed last; below 0 before there was anything."""
        self._now = float("-inf")
        self._below_since: float | None = None
        self._enough: deque[tuple[float, int]] = deque()
        """When how many were enough; the counts fall, since what came before a larger one that
        is younger does not matter."""
        self._unsure_at: float | None = None

    def decide(self, s: Situation, now: float) -> Need:
        """How many replicas the group needs.

        The first decision keeps at least what is active, so that none is given up unheard.

        Args:
            s: The group's situation. Numbers in it that make no sense lower nothing.
            now: Monotonic time in seconds. If it makes no sense, no time has passed.
        """
        settings = self._settings
        wants = asked(s, settings.quantile, settings.drain_backlog_s)
        self._pass_time(now)
        if self._unsure_at is None:
            self._held = max(self._held, _count(s.ready))
            self._unsure_at = self._now
        if wants.unsure:
            self._unsure_at = self._now
        most = max(0, s.most)
        before = min(self._held, most)
        kept = self._keep(before, wants)
        self._held = min(max(kept, wants.replicas), most)
        held = Term("held", kept, self._why_held(kept, wants))
        return self._need(most, held, wants)

    def state(self) -> dict[str, Any]:
        """What was needed last, as plain data. Delays begin anew: they are of this clock."""
        return {"held": max(0, self._held)}

    def restore(self, state: object) -> None:
        """Takes over what `state` gave; the next decision keeps at least that.

        Args:
            state: Plain data.

        Raises:
            ValueError: It is something else; nothing has changed then.
        """
        self._held = saved.count(saved.section(state, "held")["held"], "held", _MOST)
        self._forget()
        self._unsure_at = None

    def _forget(self) -> None:
        self._below_since = None
        self._enough.clear()

    def _pass_time(self, now: float) -> None:
        if not isfinite(now):
            now = self._now if isfinite(self._now) else 0.0
        if now < self._now:  # another clock: what was counted by the last one is void
            self._forget()
            self._unsure_at = now if self._unsure_at is not None else None
        self._now = now

    def _keep(self, before: int, wants: Asked) -> int:
        """What the need does not go below now: that of before, or what has been enough."""
        assert self._unsure_at is not None
        heard = not wants.unsure and self._now - self._unsure_at >= self._settings.hold_s
        enough = wants.enough(self._settings.margin)
        if not heard or enough >= before:
            self._forget()
            return before
        if self._below_since is None:
            self._below_since = self._now
        delay_s, counts = self._settings.down_delay_s, self._enough
        while counts and counts[-1][1] <= enough:
            counts.pop()
        counts.append((self._now, enough))
        while self._now - counts[0][0] > delay_s:
            counts.popleft()
        return counts[0][1] if self._now - self._below_since >= delay_s else before

    def _why_held(self, kept: int, wants: Asked) -> str:
        text = f"{kept:,} are kept"
        if wants.unsure:
            return f"{text}, since {wants.unsure}"
        if self._below_since is None:
            return text
        passed, delay = self._now - self._below_since, self._settings.down_delay_s
        if passed >= delay:
            return f"{text}: the most that was needed for {delay:,.0f} s"
        fewer = self._enough[0][1]
        return f"{text}: {fewer:,} have been enough for {passed:,.0f} of {delay:,.0f} s"

    def _need(self, most: int, held: Term, wants: Asked) -> Need:
        terms = (*wants.terms, held)
        decided = max(terms, key=lambda term: term.replicas)
        limited = decided.replicas > most
        replicas = self._held
        words = [decided.detail]
        if limited:
            words.insert(0, f"{decided.replicas:,} are asked for and most is {most:,}")
        words += [
            _SHORT[term.name].format(term.replicas) for term in wants.terms if term is not decided
        ]
        if wants.unsure and decided is not held:
            words.append(f"nothing is lowered, since {wants.unsure}")
        words += wants.left_out
        noun = "replica" if replicas == 1 else "replicas"
        return Need(
            replicas=replicas,
            binding="most" if limited else decided.name,
            terms=terms,
            reason=f"{replicas:,} {noun}: {'; '.join(words)}",
            # Where nothing is known of demand, all that is held has to be sure.
            sure=replicas if wants.unsure else min(replicas, wants.sure),
        )


def _count(value: int) -> int:
    return min(int(value), _MOST) if 0 <= value < float("inf") else 0
