"""How long a replica takes to be ready, as it has been measured: the horizon of every plan."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from autoscaling import saved

KINDS = ("cold", "cached", "standby")
"""How a replica starts: without its weights on the node, with them, or from standby."""
_LONGEST_S = 6 * 3600.0  # what takes longer was held up by something else
_ENOUGH = 5
_MOST_SERIES = 65_536


class LeadTimes:
    """A rolling P90 of the time to ready by group, market and kind of start.

    While fewer than five starts are known, a prior that is longer than all of them still counts
    for its share: one quick start says little about the next one.

    Args:
        prior: Seconds that each of `KINDS` is believed to take until it has been measured.
        window: Most starts that are remembered of each series.
        max_age_s: Seconds after which a start is not counted any more, by the wall clock of the
            last start that was reported.

    Raises:
        ValueError: A kind has no positive time in `prior`, or a limit is not above 0.
    """

    __slots__ = ("_kinds", "_leads", "_max_age_s", "_prior", "_series", "_wall", "_window")

    def __init__(
        self, prior: Mapping[str, float], window: int = 64, max_age_s: float = 7 * 86400
    ) -> None:
        for kind in KINDS:
            if not 0 < prior.get(kind, 0) < float("inf"):
                raise ValueError(f"prior[{kind!r}] must be a positive time in seconds")
        if window < 1 or not max_age_s > 0:
            raise ValueError("window and max_age_s must be above 0")
        self._prior = {kind: float(prior[kind]) for kind in KINDS}
        self._window = window
        self._max_age_s = max_age_s
        self._wall = 0.0
        self._series: dict[tuple[str, str, str], deque[tuple[float, float]]] = {}
        # Asked for at each tick and the same until something starts.
        self._leads: dict[tuple[str, str, str], tuple[float, str]] = {}
        self._kinds: dict[tuple[str, ...], str] = {}

    def started(self, group: str, market: str, kind: str, seconds: float, wall: float) -> None:
        """Takes the time that one replica took; nonsense is dropped.

        Args:
            group: Whose replica it is.
            market: Where it runs.
            kind: One of `KINDS`; others are dropped.
            seconds: Time to ready; dropped if it is no number, below 0 or above six hours.
            wall: Unix time in seconds.
        """
        if kind not in self._prior or not 0 <= seconds <= _LONGEST_S or not isfinite(wall):
            return
        self._wall = wall
        key = group, market, kind
        samples = self._series.pop(key, None)
        if samples is None:
            samples = deque(maxlen=self._window)
        samples.append((float(seconds), float(wall)))
        # Last in the order of the dictionary: the series unheard of for longest goes first.
        self._series[key] = samples
        if len(self._series) > _MOST_SERIES:
            del self._series[next(iter(self._series))]
        self._forget_answers()

    def lead(self, group: str, market: str, kind: str) -> tuple[float, str]:
        """Seconds that the next start is expected to take at most nine times out of ten.

        Args:
            group: Whose replica it is.
            market: Where it runs.
            kind: One of `KINDS`.

        Returns:
            The seconds, and where they come from in words.

        Raises:
            ValueError: There is no such kind.
        """
        if kind not in self._prior:
            raise ValueError(f"{kind!r} is no kind of start: take one of {', '.join(KINDS)}")
        key = group, market, kind
        if key not in self._leads:
            if len(self._leads) >= _MOST_SERIES:
                self._forget_answers()
            self._leads[key] = self._lead(market, kind, self._series.get(key, ()))
        return self._leads[key]

    def horizon(self, group: str, markets: Sequence[str], kind: str) -> tuple[float, str]:
        """The longest lead of all markets that a group may start replicas in.

        Args:
            group: Whose replicas they are.
            markets: Where they may run; the prior is the answer if there is none.
            kind: One of `KINDS`.

        Returns:
            The seconds, and where they come from in words.

        Raises:
            ValueError: There is no such kind.
        """
        return max(self.lead(group, market, kind) for market in markets or ("",))

    def stand_in(
        self, group: str, market: str, others: Sequence[str], kind: str
    ) -> tuple[float, str]:
        """The lead of a market whose replicas stand in for those of all others.

        How long the others wait for their nodes does not matter then.

        Args:
            group: Whose replicas they are.
            market: The one that stands in.
            others: The others: the quickest of all counts while no start in `market` was measured.
            kind: One of `KINDS`.

        Returns:
            The seconds, and where they come from in words.

        Raises:
            ValueError: There is no such kind.
        """
        own = self.lead(group, market, kind)
        if any(self._counts(wall) for _, wall in self._series.get((group, market, kind), ())):
            return own
        return min(own, *(self.lead(group, other, kind) for other in others))

    def kind(self, group: str, markets: Sequence[str]) -> str:
        """How the next start of a group will be at worst: the slower kind among its last five.

        Waking from standby is left out: what is on standby may not be enough.

        Args:
            group: Whose replicas they are.
            markets: Where they may run.

        Returns:
            `cold` or `cached`; `cold` until a start was measured.
        """
        key = group, *markets
        if key not in self._kinds:
            if len(self._kinds) >= _MOST_SERIES:
                self._forget_answers()
            self._kinds[key] = self._kind(group, markets)
        return self._kinds[key]

    def state(self) -> dict[str, Any]:
        """All of it as plain data."""
        series = [
            [*key, [list(sample) for sample in samples]] for key, samples in self._series.items()
        ]
        return {"wall": self._wall, "series": series}

    def restore(self, state: object) -> None:
        """Takes over what `state` gave.

        Args:
            state: Plain data.

        Raises:
            ValueError: It is something else; nothing has changed then.
        """
        fields = saved.section(state, "wall", "series")
        wall = saved.number(fields["wall"], "wall", -1e12, 1e12)
        series = {}
        for entry in saved.items(fields["series"], "series", _MOST_SERIES):
            group, market, kind, samples = saved.items(entry, "an entry of series", 4, exactly=4)
            if kind not in KINDS:
                raise ValueError(f"{kind!r:.40} is no kind of start")
            key = saved.text(group, "group"), saved.text(market, "market"), str(kind)
            series[key] = deque(
                (_sample(sample) for sample in saved.items(samples, "samples", 10_000)),
                maxlen=self._window,
            )
        self._wall, self._series = wall, series
        self._forget_answers()

    def _lead(
        self, market: str, kind: str, samples: Iterable[tuple[float, float]]
    ) -> tuple[float, str]:
        prior = self._prior[kind]
        known = sorted(seconds for seconds, wall in samples if self._counts(wall))
        if not known:
            return prior, f"no {kind} start measured yet"
        starts = f"{len(known)} {kind} {'start' if len(known) == 1 else 'starts'} on {market}"
        if len(known) < _ENOUGH:
            largest = known[-1]
            lead = largest + max(0.0, prior - largest) * (_ENOUGH - len(known)) / _ENOUGH
            return lead, f"{starts}, the longest {largest:,.0f} s; {prior:,.0f} s expected before"
        rank = -(-9 * (len(known) + 1) // 10)  # ceil(0.9 (n + 1)), in whole numbers
        return known[min(rank, len(known)) - 1], f"P90 of {starts}"

    def _kind(self, group: str, markets: Sequence[str]) -> str:
        seen = sorted(
            (wall, kind)
            for market in markets
            for kind in ("cold", "cached")
            for _, wall in self._series.get((group, market, kind), ())
            if self._counts(wall)
        )
        return "cached" if {kind for _, kind in seen[-_ENOUGH:]} == {"cached"} else "cold"

    def _counts(self, wall: float) -> bool:
        # A clock that was wrong for a while leaves samples in the future: they do not count.
        return abs(self._wall - wall) <= self._max_age_s

    def _forget_answers(self) -> None:
        self._leads.clear()
        self._kinds.clear()


def _sample(value: object) -> tuple[float, float]:
    seconds, wall = saved.items(value, "a sample", 2, exactly=2)
    return (
        saved.number(seconds, "seconds", 0, _LONGEST_S),
        saved.number(wall, "wall", -1e12, 1e12),
    )
