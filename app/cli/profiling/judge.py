"""Whether a service kept its promise under a load: what is said of requests, without I/O.

A request's time to its first token counts from when it was due, not from when it was sent, so a
client that falls behind flatters nobody. Requests that still run when a measurement ends are judged
by what they have shown until then; those too young to have shown anything are not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.config.scaling import SloConfig

_ENOUGH = 4
"""Tokens, or intervals as long as promised, after which a stream that runs can be judged."""


@dataclass(slots=True)
class Answer:
    """What became of one request; times are seconds since its load began."""

    due: float
    """When it was to be sent."""
    resident: bool = False
    """Whether it was there to fill the engine from the start; it waits for others like it, so its
    first token says nothing."""
    first: float | None = None
    """When its first token came."""
    last: float | None = None
    """When its latest token came."""
    tokens: int = 0
    """Output tokens so far."""
    prompt_tokens: int = 0
    """As the service counted them; 0 until it has."""
    ended: bool = False
    """Whether it ran to its end."""
    failed: str | None = None
    """Code of the error that it got."""
    elsewhere: str | None = None
    """The pool that served it, where that is not the one that is measured."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the requests of one load say."""

    judged: int
    """Requests that had shown enough."""
    late: int
    """Those of them that broke the promise, failed ones among them."""
    ttft_s: float | None
    """The time to the first token that the promised share kept to."""
    itl_s: float | None
    """The mean time between two tokens that the promised share kept to."""
    failed: str | None = None
    """Code of the error that most of the failed ones got."""
    elsewhere: str | None = None
    """A pool that requests spilled to."""

    @property
    def in_time(self) -> float:
        """Share of the judged requests that kept the promise."""
        return 1 - self.late / self.judged if self.judged else 0.0


def judge(answers: Iterable[Answer], slo: "SloConfig", since: float, until: float) -> Judgement:
    """Judges the requests of one load.

    Args:
        answers: all of them.
        slo: what is promised.
        since: those due before, in seconds, only warmed up the service.
        until: when the measurement ended, in seconds.
    """
    judged = late = 0
    waits: list[float] = []
    gaps: list[float] = []
    codes: list[str] = []
    elsewhere = None
    for answer in answers:
        elsewhere = elsewhere or answer.elsewhere
        if answer.due < since and not answer.resident:
            continue
        wait = None if answer.resident else _wait(answer, slo.ttft_s, until)
        gap = _gap(answer, slo.itl_s, until)
        if answer.failed is not None:
            codes.append(answer.failed)
        elif wait is None and gap is None:
            continue
        judged += 1
        broken = (wait or 0.0) > slo.ttft_s or (gap or 0.0) > slo.itl_s
        late += answer.failed is not None or broken
        if wait is not None:
            waits.append(wait)
        if gap is not None:
            gaps.append(gap)
    return Judgement(
        judged=judged,
        late=late,
        ttft_s=quantile(waits, slo.attainment),
        itl_s=quantile(gaps, slo.attainment),
        failed=max(set(codes), key=codes.count, default=None),
        elsewhere=elsewhere,
    )


def allowed(slo: "SloConfig", requests: int) -> int:
    """How many of so many requests may be late.

    At least one: a single one out of fewer than 1 / (1 - attainment) does not show that too many
    would be.
    """
    return max(1, floor((1 - slo.attainment) * requests + 1e-9))


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest of the values that at least this share of them does not exceed."""
    if not values:
        return None
    return sorted(values)[min(len(values), max(1, ceil(share * len(values) - 1e-9))) - 1]


def output_rate(answers: Iterable[Answer], since: float, until: float) -> float:
    """Output tokens a second that came within a time, each stream's taken as evenly spread.

    Args:
        answers: of the pool that is measured and of others; only the former count.
        since: when the time began, in seconds.
        until: when it ended, in seconds; later than `since`.
    """
    total = 0.0
    for answer in answers:
        if answer.first is None or answer.last is None or answer.elsewhere:
            continue
        span = answer.last - answer.first
        if span > 0:
            overlap = min(until, answer.last) - max(since, answer.first)
            total += answer.tokens * max(0.0, overlap) / span
        elif since <= answer.first < until:
            total += answer.tokens
    return total / (until - since)


def prompt_rate(answers: Iterable[Answer], since: float, until: float) -> float:
    """Prompt tokens a second of the requests whose first token came within a time.

    Args:
        answers: of the pool that is measured and of others; only the former count.
        since: when the time began, in seconds.
        until: when it ended, in seconds; later than `since`.
    """
    read = sum(
        answer.prompt_tokens
        for answer in answers
        if answer.first is not None and since <= answer.first < until and not answer.elsewhere
    )
    return read / (until - since)


def numbers(judgement: Judgement, slo: "SloConfig") -> str:
    """TTFT and ITL beside what is promised."""
    said = []
    if judgement.ttft_s is not None:
        said.append(f"TTFT {judgement.ttft_s:.3g} s, promised {slo.ttft_s:g} s")
    if judgement.itl_s is not None:
        said.append(f"ITL {judgement.itl_s:.3g} s, promised {slo.itl_s:g} s")
    if judgement.failed:
        said.append(f"errors: {judgement.failed}")
    return "; ".join(said) or "no answer came"


def way_out(judgement: Judgement) -> str:
    """What to do where no load keeps the promise."""
    if judgement.elsewhere:
        return (
            f"Requests were served by pool {judgement.elsewhere}: raise the pool's "
            "`max_outstanding_tokens`, or measure when nobody else uses it."
        )
    if judgement.failed:
        return "Look into the service's log."
    return "Promise less in the pool's `slo`, give it a faster engine, or spare it other load."


def _wait(answer: Answer, promised: float, until: float) -> float | None:
    """Seconds to the first token: at least so many where it has not come."""
    if answer.first is not None:
        return answer.first - answer.due
    waited = until - answer.due
    return waited if waited > promised else None


def _gap(answer: Answer, promised: float, until: float) -> float | None:
    """Seconds between two tokens on average."""
    if answer.first is None or answer.last is None:
        return None
    if answer.ended:
        span = answer.last - answer.first
        return span / (answer.tokens - 1) if answer.tokens > 1 else None
    span = until - answer.first
    if answer.tokens < _ENOUGH and span < _ENOUGH * promised:
        return None
    return span / max(1, answer.tokens)
