"""What a gateway holds for one account: grants that expire, and what it learnt from the ledger."""

from math import ceil, exp
from typing import NamedTuple

from msgspec.structs import replace

from app.admission.exchange import Denial, Rule
from app.admission.limits import TOKEN_RULES

_REMEMBER_S = 1.0
"""Longest time for which a refusal is given again without asking."""

_MEMORY = 2.0
"""Lease times over which recent use is told."""
_BUSY = 2.0 * _MEMORY
"""Requests in that time from which on to take ahead: two in a lease's time. With fewer, what is
taken ahead would be given back as idle before the next request comes."""


class Part:
    """One grant, or what is left of it."""

    __slots__ = ("degraded", "expires", "micros", "tokens")

    def __init__(self, expires: float, tokens: int, micros: int, degraded: bool) -> None:
        self.expires = expires
        self.tokens = tokens
        self.micros = micros
        self.degraded = degraded


class _Refused(NamedTuple):
    denial: Denial
    tokens: int
    micros: int
    at: float
    until: float


class Lease:
    """The grants of one account, its recent use, and its last refusal.

    Args:
        lease_s: seconds of use to take ahead.
        now: the time, in seconds.
    """

    __slots__ = (
        "_lease_s",
        "_memory_s",
        "_micros_sum",
        "_rated_at",
        "_refused",
        "_renew_at",
        "_requests_sum",
        "_tokens_sum",
        "limit",
        "parts",
        "remaining",
        "reset_s",
        "used_at",
    )

    def __init__(self, lease_s: float, now: float) -> None:
        self.parts: list[Part] = []
        """In the order in which they expire."""
        self.used_at = now
        """When something was last put in or drawn."""
        self.limit = 0
        """The tightest token rule's size, of which the ledger last said that there were"""
        self.remaining = 0
        """so many tokens left, and that it would be full again in"""
        self.reset_s = 0.0
        """so many seconds."""
        self._lease_s = lease_s
        self._refused: _Refused | None = None
        self._renew_at = now
        # Sums that decay with time: recent use, from which follows what to ask for.
        self._memory_s = _MEMORY * lease_s
        self._rated_at = now
        self._requests_sum = self._tokens_sum = self._micros_sum = 0.0

    def balance(self) -> int:
        """Tokens that are left."""
        return sum([part.tokens for part in self.parts])

    def rate(self, now: float, tokens: int, micros: int) -> None:
        """Counts a request into the recent use."""
        if now > self._rated_at:
            kept = exp((self._rated_at - now) / self._memory_s)
            self._requests_sum *= kept
            self._tokens_sum *= kept
            self._micros_sum *= kept
            self._rated_at = now
        self._requests_sum += 1
        self._tokens_sum += tokens
        self._micros_sum += micros

    def drop_expired(self, now: float) -> tuple[int, int]:
        """Takes out what must not be used any more: tokens and micro-dollars."""
        tokens = micros = 0
        while self.parts and self.parts[0].expires <= now:
            part = self.parts.pop(0)
            tokens += part.tokens
            micros += part.micros
        return tokens, micros

    def draw(self, now: float, tokens: int, micros: int) -> Part | None:
        """Takes from what has not expired; all or nothing.

        Returns:
            The part that expires first of those taken from, or None where there is not enough.
        """
        parts = self.parts
        if not parts:
            return None
        first = parts[0]
        if first.tokens >= tokens and first.micros >= micros:
            first.tokens -= tokens
            first.micros -= micros
            self.used_at = now
            return first
        if self.balance() < tokens or sum([part.micros for part in parts]) < micros:
            return None
        degraded = False
        for part in parts:
            used, paid = min(part.tokens, tokens), min(part.micros, micros)
            part.tokens -= used
            part.micros -= paid
            tokens -= used
            micros -= paid
            degraded = degraded or (part.degraded and bool(used or paid))
        self.used_at = now
        return Part(first.expires, 0, 0, degraded)

    def put(self, now: float, part: Part) -> None:
        """Puts in a grant, or what came back of a request under one."""
        before = [each for each in self.parts if now < each.expires <= part.expires]
        if before and (before[-1].expires == part.expires or len(before) < len(self.parts)):
            # It may expire sooner so, but there will not be a part for every request.
            into = before[-1]
            into.tokens += part.tokens
            into.micros += part.micros
            into.degraded = into.degraded or part.degraded
        else:
            self.parts.append(part)
            self.parts.sort(key=_expires)
        self.used_at = now

    def pay(self, now: float, tokens: int) -> int:
        """Takes as many tokens as there are, up to a number; returns how many."""
        paid = 0
        for part in self.parts:
            if part.expires > now:
                used = min(part.tokens, tokens - paid)
                part.tokens -= used
                paid += used
        return paid

    def runs_low(self, now: float, left: int) -> bool:
        """Whether to ask for more ahead: said once in a quarter of a lease's time.

        Only where the account is busy.

        Args:
            now: the time, in seconds.
            left: tokens left.
        """
        if now < self._renew_at or self._requests_sum < _BUSY:
            return False
        ahead = self._lease_s / self._memory_s
        if (
            2 * left >= self._tokens_sum * ahead
            and self.parts[-1].expires - now >= self._lease_s / 4
            and 2 * sum([part.micros for part in self.parts]) >= self._micros_sum * ahead
        ):
            return False
        self._renew_at = now + self._lease_s / 4
        return True

    def more(self, now: float) -> tuple[int, int]:
        """Tokens and micro-dollars that would last for another lease's time."""
        kept = exp(min(self._rated_at - now, 0.0) / self._memory_s)
        if self._requests_sum * kept < _BUSY:
            return 0, 0
        ahead = kept * self._lease_s / self._memory_s
        lasting = [part for part in self.parts if part.expires - now >= self._lease_s / 4]
        tokens = self._tokens_sum * ahead - sum(part.tokens for part in lasting)
        micros = self._micros_sum * ahead - sum(part.micros for part in lasting)
        return max(ceil(tokens), 0), max(ceil(micros), 0)

    def refuse(self, now: float, denial: Denial, tokens: int, micros: int) -> None:
        """Remembers for a moment that so much was refused."""
        retry = denial.retry_after_s
        until = now + (_REMEMBER_S if retry is None else min(retry, _REMEMBER_S))
        self._refused = _Refused(denial, tokens, micros, now, until)

    def refusal(self, now: float, tokens: int, micros: int, *, large: bool) -> Denial | None:
        """The last refusal, where it holds for such a request too."""
        refused = self._refused
        if refused is None:
            return None
        if now >= refused.until:
            self._refused = None
            return None
        denial = refused.denial
        if denial.rule in TOKEN_RULES:
            holds = tokens >= refused.tokens
        elif denial.rule is Rule.USER_LARGE:
            holds = large
        else:
            holds = 0 < refused.micros <= micros
        if not holds:
            return None
        if denial.retry_after_s is None:
            return denial
        return replace(denial, retry_after_s=max(denial.retry_after_s - (now - refused.at), 0.0))

    def forget_refusal(self, rule: Rule | None = None) -> None:
        """The reason for a refusal may be gone: by a rule, or whatever it was."""
        if self._refused is not None and rule in {None, self._refused.denial.rule}:
            self._refused = None


def _expires(part: Part) -> float:
    return part.expires
