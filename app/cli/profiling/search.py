"""What one replica carries within a pool's promise: the search for it, without I/O.

The same steps find prompt tokens a second (answers of one token) and output tokens a second (short
prompts, long answers):

1. One request at a time. If even those come late, no load will do.
2. A full batch, kept full: the most that a replica does, whatever anybody has to wait. From the
   two follows how long requests would wait at random arrivals (`model`): an upper bound. If it
   turns out to be kept, this is measured once more, and the higher of the two counts.
3. Open loop: requests arrive as they do in life, at random times, whether or not earlier ones have
   been answered. The bound is tried first; if the promise is not kept there, bisection finds the
   greatest rate at which it is. A fixed number of requests at a time could not tell, since it sends
   fewer when they take longer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import truediv
from statistics import median
from typing import TYPE_CHECKING

from app.cli.profiling.arrivals import Load
from app.cli.profiling.judge import (
    Answer,
    Judgement,
    allowed,
    judge,
    numbers,
    output_rate,
    prompt_rate,
    way_out,
)
from app.cli.profiling.model import EngineModel
from app.cli.profiling.terms import OutOfReach, Side, Tried

if TYPE_CHECKING:
    from app.config.scaling import SloConfig

TOLERANCE = 0.05
"""The search ends when what is kept and what is not are this near, as a share of the latter."""
_ALONE, _FULL, _PROBES = 0.08, 0.16, 5.0
_STEP_DOWN = 0.8


@dataclass(slots=True)
class SideSearch:
    """Finds what one replica carries of one kind of work.

    Ask for `next`, send that, and tell `saw`, until there is none.

    Args:
        side: the kind of work.
        slo: what is promised.
        batch: requests that fill a replica.
        output_tokens: length of each answer.
        seconds: how long all of it may take.
    """

    side: Side
    slo: "SloConfig"
    batch: int
    output_tokens: int
    seconds: float
    alone: Judgement | None = None
    """One request at a time."""
    most: float | None = None
    """Tokens a second of a full batch."""
    tried: list[Tried] | None = None
    """What was offered in open loop, in order; None until it was."""
    prompt_tokens: float = 1.0
    """Of each request, as the service counted them."""
    _spent: float = 0.0
    _first: float = 0.0
    _gap: float = 0.0
    _again: bool = False
    _low: float = 0.0
    _high: float = 0.0

    def next(self) -> Load | None:
        """What to send now; None once it is known, or the time is over."""
        if self.alone is None:
            return Load(self.seconds * _ALONE, at_once=1, least=2)
        if self.most is None:
            return self._full()
        seconds = self.seconds * (1 - _ALONE - _FULL) / _PROBES
        if not self.tried:
            return self._open(2 * seconds, self._high)
        if self._high - self._low <= TOLERANCE * self._high:
            # The bound was kept. On a machine that does other things, too, it may have been low.
            more = self._low >= self._high and not self._again
            return self._full() if more and self._spent < 0.7 * self.seconds else None
        if self._spent + 0.7 * seconds > self.seconds:
            return None
        return self._open(seconds, max(self._high * _STEP_DOWN, (self._low + self._high) / 2))

    def saw(self, load: Load, answers: Sequence[Answer], replicas: int, took: float) -> None:
        """Takes in what became of a load.

        Args:
            load: what `next` gave.
            answers: to all requests of it.
            replicas: how many of them shared it, 1 or more.
            took: the seconds from its first request until it ended or was given up.

        Raises:
            OutOfReach: the promise is not kept even by one request at a time.
        """
        self._spent += took
        if self.alone is None:
            self._saw_alone(answers, took)
        elif not load.rate:
            self._saw_full(load, answers, replicas, took, self.alone)
        else:
            self._saw_open(load, answers, took)

    def wasted(self, took: float) -> None:
        """Counts the seconds of a load that said nothing."""
        self._spent += took

    def hopeless(self, load: Load, answers: Sequence[Answer], replicas: int, now: float) -> bool:
        """Whether too many of a load in open loop are late already, `now` seconds into it."""
        if not load.rate:
            return False
        planned = len(answers)
        later = load.rate * replicas * (load.seconds - max(now, load.since))
        judgement = judge(answers, self.slo, load.since, now)
        return bool(judgement.elsewhere) or judgement.late > allowed(
            self.slo, planned + max(0, round(later))
        )

    @property
    def carried(self) -> Tried:
        """The greatest load that kept the promise.

        Raises:
            OutOfReach: none did; the message has the numbers of the smallest.
        """
        tried = self.tried or []
        if self._low > 0:
            return max((each for each in tried if each.held), key=lambda each: each.rate)
        if not tried:
            raise OutOfReach("there was no time to try a load; give more --seconds")
        least = min(tried, key=lambda each: each.rate)
        raise OutOfReach(
            f"the slo was not kept under any load that was tried. The smallest was "
            f"{least.rate:.3g} requests a second, of which {least.judgement.in_time:.1%} were in "
            f"time ({numbers(least.judgement, self.slo)}). {way_out(least.judgement)}"
        )

    @property
    def broke(self) -> Tried | None:
        """The smallest load above `carried` that did not keep the promise, if one was tried."""
        above = [each for each in self.tried or () if not each.held and each.rate > self._low]
        return min(above, key=lambda each: each.rate, default=None)

    @property
    def tokens(self) -> float:
        """Tokens of this kind in one request: of its prompt, or of its answer."""
        return self.prompt_tokens if self.side is Side.PREFILL else float(self.output_tokens)

    def _saw_alone(self, answers: Sequence[Answer], took: float) -> None:
        # The first has connections to open.
        ended = [answer for answer in answers if answer.ended]
        counted = ended[1:] or list(answers)
        self.alone = judge(counted, self.slo, 0.0, took)
        if 2 * self.alone.late > self.alone.judged or not self.alone.judged:
            raise OutOfReach(
                "the slo is out of reach: it is not kept even by one request at a time "
                f"({numbers(self.alone, self.slo)}). {way_out(self.alone)}"
            )
        if not ended:
            raise OutOfReach(
                f"an answer of {self.output_tokens} tokens took longer than {took:.1f} s, too long "
                "for this time; give more --seconds"
            )
        told = [each for each in counted if each.prompt_tokens and each.first and each.last]
        if told:
            self.prompt_tokens = median(each.prompt_tokens for each in told)
            self._first = median((each.first or 0.0) - each.due for each in told)
            spans = [(each.last or 0.0) - (each.first or 0.0) for each in told]
            steps = [max(1, each.tokens - 1) for each in told]
            self._gap = median(map(truediv, spans, steps))

    def _saw_full(
        self,
        load: Load,
        answers: Sequence[Answer],
        replicas: int,
        took: float,
        alone: Judgement,
    ) -> None:
        measure = output_rate if self.side is Side.DECODE else prompt_rate
        most = measure(answers, load.since, took) / replicas
        if most <= 0:
            failed = judge(answers, self.slo, 0.0, took)
            raise OutOfReach(
                f"a full batch of {load.at_once:g} requests got no tokens within {took:.0f} s "
                f"({numbers(failed, self.slo)}). {way_out(failed)}"
            )
        self._again = self.most is not None
        self.most = max(most, self.most or 0.0)
        ceiling = replicas * self.most / self.tokens
        self._high = self._model(replicas).most(self.slo, ceiling) / replicas
        if self._high <= 0:
            raise OutOfReach(
                "the slo is out of reach: one request at a time keeps it, two that meet by chance "
                f"do not ({numbers(alone, self.slo)}). {way_out(alone)}"
            )

    def _saw_open(self, load: Load, answers: Sequence[Answer], took: float) -> None:
        judgement = judge(answers, self.slo, load.since, took)
        in_time = judgement.late <= allowed(self.slo, judgement.judged)
        # A load that was given up early has shown that it is too much.
        held = in_time and judgement.judged > 0 and not judgement.elsewhere
        held = held and took >= load.seconds * 0.9
        tried = Tried(load.rate, load.rate * self.tokens, held, judgement)
        self.tried = [*(self.tried or ()), tried]
        if held:
            self._low = max(self._low, load.rate)
        else:
            self._high = min(self._high, load.rate)

    def _full(self) -> Load:
        return Load(self.seconds * _FULL, at_once=max(2, self.batch), least=2)

    def _open(self, seconds: float, rate: float) -> Load:
        return Load(seconds, rate=rate, at_once=self._resident(rate))

    def _model(self, replicas: int) -> EngineModel:
        """The engine as the first two steps have shown it."""
        assert self.most is not None
        if self.side is Side.PREFILL:
            read = self.tokens / self.most
            return EngineModel(replicas, 1, 1, read, 0.0, max(self._first, read))
        full = self.batch / self.most
        alone = min(self._gap, full)
        growth = (full - alone) / max(1, self.batch - 1)
        base = max(alone - growth, 0.0)
        return EngineModel(replicas, self.batch, self.output_tokens, base, growth, self._first)

    def _resident(self, rate: float) -> float:
        """Answers that are being written on a replica at any time at this rate.

        An engine would take as long as an answer takes to have so many, which may be longer than
        the measurement. It is n = rate * length * (base + growth * n).
        """
        if self.side is Side.PREFILL:
            return 0.0
        model = self._model(1)
        work = rate * self.output_tokens
        free = 1 - work * model.growth_s
        full = float(self.batch)
        return full if free <= 0 else min(full, work * model.base_s / free)
