"""What one replica carries within the promises of its pool, learned while it works.

A replica is full when `prefill / Cp + decode / Cd` is 1: the two halves share its time. `Cp` and
`Cd` are learned from stretches of time whose answers tell on which side of full they were:

- Late: twice in a row, more answers were late than the promise allows and chance explains. What the
  replicas carried in the busiest part of that time was too much, so `Cp` and `Cd` go down by half
  of what is missing. The same work counts for a quarter more at most: one judgement may be wrong.
- Kept: enough answers to tell, no more of them late than promised, and the replicas as good as
  full for half a minute. They may carry more than was believed: `Cp` and `Cd` go up, by some
  percent at most.
- Anything else says nothing: a replica that is never busy could carry any amount.

Either step moves `1/Cp` and `1/Cd` along the work that was seen (a normalised gradient step), so
each is blamed by its share in it, and stretches with other mixes of prompts and outputs bring both
to where they belong. `Cp` and `Cd` stay within a quarter and four times the profile.

Without a profile there is nothing to plan by until replicas have been full for some minutes, with
requests waiting or answers late. A least squares fit to what they carried then is the first
estimate. As far as those stretches are of one mix they cannot tell the halves apart: then a prompt
token is guessed to take an eighth of the time of an output token, which corrects itself as mixes
change, and matters little until they do.
"""

from typing import Any

from autoscaling import saved
from autoscaling.demand.terms import Work
from autoscaling.load_window import LEAST_SLOTS, LoadWindow, Verdict
from autoscaling.plan_terms import Capacity

_TOO_MUCH = 1.05  # where work that made answers late belongs, as a share of what is carried
_CARRIED = 0.94  # up to where work that was carried is taken for granted
_DOWN, _UP = 0.5, 0.25
_STRETCH = 1.5  # one judgement makes work out to be that much heavier at most, before `_DOWN`
_BOUND = 4.0  # times the profile
_UNPROFILED_BOUND = 32.0  # times the first estimate, of which one half is a guess
_FIRST = 6  # full stretches that make the first estimate
_DECODE_COST = 8.0
_GUESS_WEIGHT = 0.02  # of the guess, beside full stretches that weigh 1 each
_MOST_RATE = 1e12

UNKNOWN = "capacity unknown: run `tidegate profile`"


class CapacityModel:
    """The capacity of a replica of one group.

    Args:
        profile: What `tidegate profile` has measured; None, or one that is not measured, to learn
            all of it.
        headroom: What isolation divides the capacity by, 1 or more.

    Raises:
        ValueError: The headroom or a rate of the profile is out of its range.
    """

    __slots__ = (
        "_base",
        "_capacity",
        "_costs",
        "_first",
        "_headroom",
        "_kept",
        "_late",
        "_late_before",
        "_profile",
        "_window",
    )

    def __init__(self, profile: Capacity | None, headroom: float) -> None:
        if not 1 <= headroom < float("inf"):
            raise ValueError(f"headroom must be a number from 1, not {headroom}")
        if profile is not None and not profile.measured:
            profile = None
        if profile is not None:
            for name in ("prefill_tps", "decode_tps"):
                if not 0 < getattr(profile, name) < float("inf"):
                    raise ValueError(f"{name} of the profile must be above 0")
        self._headroom = headroom
        self._profile = profile
        self._base = Work(profile.prefill_tps, profile.decode_tps) if profile else None
        """What the costs are multiples of; None until there is a first estimate."""
        self._costs = Work(1.0, 1.0)
        """`1/Cp` and `1/Cd`, times those of `_base`."""
        self._first: list[Work] = []
        self._late = self._kept = 0
        self._late_before = False
        self._window = LoadWindow()
        self._capacity = self._now()

    @property
    def capacity(self) -> Capacity:
        """Of one replica, with the isolation headroom taken off."""
        return self._capacity

    def observe(
        self,
        prefill_tps: float,
        decode_tps: float,
        replicas: int,
        answers: int,
        late: int,
        attainment: float,
        saturated: bool,
        wall: float,
    ) -> None:
        """Takes about a second of a group; nonsense is dropped.

        Args:
            prefill_tps: Prompt tokens a second that all replicas computed.
            decode_tps: Output tokens a second that all replicas computed.
            replicas: Active replicas.
            answers: Answers that ended.
            late: Those of them that missed their TTFT or ITL.
            attainment: Share of answers that is promised to keep to both, between 0 and 1.
            saturated: Whether requests waited in the replicas.
            wall: Unix time in seconds.
        """
        work = Work(prefill_tps, decode_tps)
        if not 0 < attainment < 1:
            return
        if self._window.observe(work, replicas, answers, late, saturated, wall):
            self._judge(1 - attainment)

    def state(self) -> dict[str, Any]:
        """What was learned as plain data. The last minutes are not in it."""
        return {
            "profile": _rates(self._profile),
            "base": None if self._base is None else [self._base.prefill, self._base.decode],
            "costs": [self._costs.prefill, self._costs.decode],
            "late": self._late,
            "kept": self._kept,
        }

    def restore(self, state: object) -> None:
        """Takes over what `state` gave.

        Args:
            state: Plain data.

        Raises:
            ValueError: It is something else, or was learned from another profile; nothing has
                changed then.
        """
        fields = saved.section(state, "profile", "base", "costs", "late", "kept")
        profile = fields["profile"]
        if profile is not None:
            profile = saved.items(profile, "profile", 2, exactly=2)
        if profile != _rates(self._profile):
            raise ValueError("the saved capacity was learned from another profile")
        base = fields["base"]
        if self._profile is not None:
            base = profile
        elif base is not None:
            values = saved.items(base, "base", 2, exactly=2)
            base = [saved.number(value, "base", 1 / _MOST_RATE, _MOST_RATE) for value in values]
        bound = self._bound()
        costs = [
            saved.number(value, "costs", 1 / bound, bound)
            for value in saved.items(fields["costs"], "costs", 2, exactly=2)
        ]
        late = saved.count(fields["late"], "late", 10**12)
        kept = saved.count(fields["kept"], "kept", 10**12)
        self._late, self._kept = late, kept
        self._base = None if base is None else Work(*base)
        self._costs = Work(*costs)
        self._first, self._window, self._late_before = [], LoadWindow(), False
        self._capacity = self._now()

    def _judge(self, allowed: float) -> None:
        """Learns from the slots since the last judgement, once they tell."""
        verdict = self._window.verdict(allowed)
        late = verdict is Verdict.LATE
        again = late and self._late_before
        if self._base is None:
            full = self._window.waited()
            if again or full:
                self._estimate()
            elif verdict is None:
                return
        elif verdict is None:
            return
        elif again:
            self._learn_late()
        elif verdict is Verdict.KEPT:
            self._learn_kept()
        self._late_before = late
        self._window.judged()

    def _learn_late(self) -> None:
        work, _ = self._window.busy(self._load, before=True)
        base = self._base
        assert base is not None
        # Below a quarter of the profile the engines were not at work: something else was slow.
        idle = work.prefill / base.prefill + work.decode / base.decode < 1 / self._bound()
        load = self._load(work)
        if not idle and load < _TOO_MUCH:
            self._step(work, min(_TOO_MUCH, _STRETCH * load), _DOWN)
            self._late += 1

    def _learn_kept(self) -> None:
        work, slots = self._window.busy(self._load)
        if slots >= LEAST_SLOTS and self._load(work) > _CARRIED:
            self._step(work, _CARRIED, _UP)
            self._kept += 1

    def _estimate(self) -> None:
        """Takes one of the full stretches that the first estimate is made of."""
        work, _ = self._window.busy(self._load)
        if self._load(work) > 0:
            self._first.append(work)
        if len(self._first) < _FIRST:
            return
        load = sum(map(self._load, self._first)) / len(self._first)
        self._base = Work(load * _DECODE_COST, load)
        self._set(*_fit(self._first, self._base))
        self._first = []

    def _step(self, work: Work, target: float, rate: float) -> None:
        """Moves the costs so that this work comes nearer to being `target` of what is carried."""
        base = self._base
        assert base is not None
        prefill, decode = work.prefill / base.prefill, work.decode / base.decode
        step = rate * (target - self._load(work)) / (prefill**2 + decode**2)
        self._set(self._costs.prefill + step * prefill, self._costs.decode + step * decode)

    def _set(self, prefill: float, decode: float) -> None:
        bound = self._bound()
        self._costs = Work(min(max(prefill, 1 / bound), bound), min(max(decode, 1 / bound), bound))
        self._capacity = self._now()

    def _load(self, work: Work) -> float:
        """Which share of a replica some work takes up; of no certain size before an estimate."""
        base = self._base
        if base is None:
            return work.prefill / _DECODE_COST + work.decode
        prefill = self._costs.prefill * work.prefill / base.prefill
        return prefill + self._costs.decode * work.decode / base.decode

    def _bound(self) -> float:
        return _BOUND if self._profile is not None else _UNPROFILED_BOUND

    def _now(self) -> Capacity:
        if self._base is None:
            return Capacity(1.0, 1.0, measured=False, reason=UNKNOWN)
        reason = (
            "from the profile" if self._profile is not None else "learned while replicas were full"
        )
        if self._profile is not None and self._late + self._kept:
            shares = f"{1 / self._costs.prefill:.2f} and {1 / self._costs.decode:.2f}"
            reason = f"{shares} of the profile by what was seen"
        if self._headroom > 1:
            reason += f", isolation headroom {self._headroom:g} in it"
        return Capacity(
            self._base.prefill / self._costs.prefill / self._headroom,
            self._base.decode / self._costs.decode / self._headroom,
            measured=True,
            reason=reason,
        )


def _rates(profile: Capacity | None) -> list[float] | None:
    return None if profile is None else [profile.prefill_tps, profile.decode_tps]


def _fit(full: list[Work], base: Work) -> tuple[float, float]:
    """Costs with which these stretches come nearest to being full, in multiples of `base`.

    Least squares, held to costs of 1 as far as the stretches do not tell the two apart.
    """
    rows = [(work.prefill / base.prefill, work.decode / base.decode) for work in full]
    a = sum(x * x for x, _ in rows) + _GUESS_WEIGHT
    b = sum(x * y for x, y in rows)
    d = sum(y * y for _, y in rows) + _GUESS_WEIGHT
    left = sum(x for x, _ in rows) + _GUESS_WEIGHT
    right = sum(y for _, y in rows) + _GUESS_WEIGHT
    determinant = a * d - b * b  # above 0 by the weight of the guess
    return (left * d - right * b) / determinant, (right * a - left * b) / determinant
