"""What a request's verdict means for it: its zone, its isolation, and what its guards do.

Feeds the cores that decide, and has what they found recorded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from app.api.context import RequestContext
from app.audit.events import EventKind
from app.classification.judge import Verdict
from app.config import FleetConfig, GuardAction, GuardPolicy
from app.errors import ClassifierUnavailable, ContentRefused, InvalidRequest
from app.guards.answer import AnswerFilter
from app.guards.body import redact_body
from app.guards.kinds import Kind
from app.guards.policy import (
    answer_actions,
    decide,
    effective,
    may_redact,
    prompt_actions,
    zone_floor,
)
from app.security.identity import Identity
from app.security.zones import ZoneLadder
from deployments.admission import Admission
from deployments.classifying import UNJUDGED

_MOST_POLICIES = 4096
# What would let out, beside the text, the tokens it was made of.
_REVEALING = ("logprobs", "top_logprobs", "return_token_ids", "return_tokens_as_token_ids")
_HOLDING = frozenset({GuardAction.REDACT, GuardAction.REFUSE})


class Completion(Protocol):
    """One answer of a `RequestOutput`."""

    index: int
    text: str
    finish_reason: str | None


@dataclass(frozen=True, slots=True)
class Passed:
    """A request that may be served.

    Attributes:
        zone: where.
        isolated: whether its risk sets it apart within the zone.
        task: what kind of task its text looks like.
        answers: what becomes of each kind of finding in its answers; empty for no filter.
    """

    zone: str
    isolated: bool
    task: str
    answers: Mapping[Kind, GuardAction]


class Gate:
    """Decides nothing itself: asks the zones' ladder and the guards' policy.

    Args:
        config: the fleet's configuration.
        admission: takes the record of what was found.
    """

    def __init__(self, config: FleetConfig, admission: Admission) -> None:
        self._config = config
        self._admission = admission
        self._zones = tuple(config.zones)
        self._ladder = ZoneLadder(self._zones, config.default_zone)
        # Tenants that the configuration does not name share an entry.
        self._policy_of = lru_cache(_MOST_POLICIES)(
            lambda zone, tenant: effective(config.guards, zone, tenant)
        )

    def asked_zone(self, zone: str | None, identity: Identity) -> str:
        """The zone that a request asks for, see `ZoneLadder.asked`."""
        return self._ladder.asked(zone, identity)

    def check(self, body: Mapping[str, Any], context: RequestContext) -> None:
        """Refuses a body that would get round the filter of its answers.

        Raises:
            InvalidRequest: it asks for the tokens behind a text that is filtered.
        """
        holds = any(
            action in _HOLDING
            for zone in self._reachable(context)
            for action in answer_actions(self._policy(zone, context)).values()
        )
        if not holds:
            return
        for field in _REVEALING:
            value = body.get(field)
            # Completions ask by 0 for those of the chosen tokens.
            if value is not None and value is not False:
                raise InvalidRequest(
                    f"{field} is not served where answers are filtered, since it holds what the "
                    "filter takes out: leave it away",
                    param=field,
                )
        if body.get("include"):
            raise InvalidRequest(
                "include is not served where answers are filtered: leave it away", param="include"
            )

    def may_redact(self, context: RequestContext) -> bool:
        """Whether the text may have to be changed before it is rendered."""
        return any(may_redact(self._policy(zone, context)) for zone in self._reachable(context))

    async def redacted(
        self, body: dict[str, Any], context: RequestContext, decoded: str
    ) -> dict[str, Any]:
        """The body without what is to be redacted from it.

        Raises:
            ContentRefused: it cannot be redacted, or is refused anyway.
            TidegateError: as `passed`.
        """
        verdict = await _verdict(context)
        if verdict is None or verdict is UNJUDGED:
            return body
        decision = decide(self._policy(self._zone(context, verdict), context), verdict.found)
        if not decision.redact_kinds:
            return body
        return redact_body(body, decision.redact_kinds, decoded=decoded)

    async def passed(self, context: RequestContext) -> Passed:
        """Where a request may be served, once its text has been judged.

        Raises:
            ZoneForbidden: the text belongs above what the identity may use.
            ContentRefused: the text is refused by a guard or for its risk.
            ClassifierUnavailable: it could not be judged, and must be.
        """
        verdict = await _verdict(context)
        if verdict is None:
            answers = answer_actions(self._policy(context.zone, context))
            return Passed(context.zone, False, "unknown", answers)
        zone = self._zone(context, verdict)
        policy = self._policy(zone, context)
        if verdict is UNJUDGED and not _HOLDING.isdisjoint(prompt_actions(policy).values()):
            raise ClassifierUnavailable(
                "the text could not be judged in time, and a guard of this zone or tenant must see "
                "it first"
            )
        decision = decide(policy, verdict.found)
        if not context.judged:
            # Once, though a request may hold several prompts.
            context.judged = True
            if zone != context.zone:
                self._admission.record(
                    EventKind.ZONE_RAISED, context, zone=zone, asked=context.zone
                )
            if decision.found:
                self._admission.record(
                    EventKind.GUARD_FINDING,
                    context,
                    zone=zone,
                    action=decision.action.value,
                    risk=verdict.risk,
                    **decision.found,
                )
        decision.check()
        limit = self._config.classifier.refuse_above
        if limit is not None and verdict.risk > limit:
            raise ContentRefused(
                f"the text was judged too risky ({verdict.risk:.2f}, the limit is {limit:.2f}): "
                + ", ".join(verdict.reasons)
            )
        isolated = verdict.risk > self._config.guards.isolate_above
        return Passed(zone, isolated, verdict.task, answer_actions(policy))

    def filters(self, passed: Passed, context: RequestContext) -> "AnswerFilters":
        """The filters of one request's answers."""
        return AnswerFilters(passed, context, self._admission)

    def _zone(self, context: RequestContext, verdict: Verdict) -> str:
        zone = self._ladder.raised(context.zone, verdict.zone_floor, context.identity)
        floor = zone_floor(self._config.guards, verdict.found)
        return self._ladder.raised(zone, floor, context.identity)

    def _reachable(self, context: RequestContext) -> tuple[str, ...]:
        """Zones that the request may end up in."""
        return self._zones[self._zones.index(context.zone) :]

    def _policy(self, zone: str, context: RequestContext) -> GuardPolicy:
        tenant = context.identity.tenant
        return self._policy_of(zone, tenant if tenant in self._config.guards.tenants else "")


class AnswerFilters:
    """A filter for each answer of one request.

    Args:
        passed: what the filters do.
        context: the request's.
        admission: takes the record of what was found.
    """

    def __init__(self, passed: Passed, context: RequestContext, admission: Admission) -> None:
        self._passed = passed
        self._context = context
        self._admission = admission
        self._filters: dict[int, AnswerFilter] = {}

    def apply(self, answer: Completion) -> None:
        """Filters the new text of one answer, in place.

        Raises:
            ContentRefused: something was found that is refused.
        """
        if not self._passed.answers:
            return
        own = self._filters.get(answer.index)
        if own is None:
            own = self._filters[answer.index] = AnswerFilter(self._passed.answers)
        answer.text = own.push(answer.text)
        if answer.finish_reason is not None:
            answer.text += own.finish()

    def report(self) -> None:
        """Has what was found recorded."""
        found: dict[str, int] = {}
        for each in self._filters.values():
            for kind, count in each.found.items():
                found[kind] = found.get(kind, 0) + count
        self._filters.clear()
        if found:
            self._admission.record(
                EventKind.GUARD_FINDING,
                self._context,
                zone=self._passed.zone,
                side="answer",
                **found,
            )


async def _verdict(context: RequestContext) -> Verdict | None:
    return None if context.verdict is None else await context.verdict
