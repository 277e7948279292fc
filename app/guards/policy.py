"""What becomes of a text in which something was found."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.config import AnswerGuards, GuardAction, GuardPolicy, GuardsConfig, PromptGuards
from app.errors import ContentRefused
from app.guards.kinds import PERSONAL, REDACTABLE, SECRETS, Kind


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a prompt. Holds names and numbers only.

    Attributes:
        action: the strictest action that anything found calls for; `off` if nothing does.
        found: how many were found of each kind whose action is not `off`; for the audit.
        flagged: the kinds of which clients may be told; those that are only shadowed are not.
        redact_kinds: the kinds to replace before anybody else sees the prompt.
        refused_kinds: the kinds for which the request is refused.
    """

    action: GuardAction
    found: Mapping[str, int]
    flagged: tuple[Kind, ...]
    redact_kinds: frozenset[Kind]
    refused_kinds: tuple[Kind, ...]

    @property
    def refused_reason(self) -> str | None:
        """What a client is told of a refusal; None where there is none."""
        if not self.refused_kinds:
            return None
        kinds = ", ".join(kind.value for kind in self.refused_kinds)
        return (
            f"the request holds what may not be sent here ({kinds}): take it out, or ask for a "
            "zone that takes it"
        )

    def check(self) -> None:
        """Raises ContentRefused where the request is to be refused."""
        reason = self.refused_reason
        if reason is not None:
            raise ContentRefused(reason)


def effective(guards: GuardsConfig, zone: str, tenant: str) -> GuardPolicy:
    """The policy for a tenant's requests in a zone: for each guard, the stricter of the two.

    Args:
        guards: the configuration.
        zone: where the request is served; one that is not named has the policy's defaults.
        tenant: who pays; one that is not named adds nothing to the zone's policy.
    """
    by_zone = guards.zones.get(zone, GuardPolicy())
    by_tenant = guards.tenants.get(tenant)
    return by_zone if by_tenant is None else stricter(by_zone, by_tenant)


def stricter(one: GuardPolicy, other: GuardPolicy) -> GuardPolicy:
    """For each guard the stricter action of two policies."""
    return GuardPolicy(
        prompt=PromptGuards(
            personal_data=_stricter(one.prompt.personal_data, other.prompt.personal_data),
            secrets=_stricter(one.prompt.secrets, other.prompt.secrets),
            injection=_stricter(one.prompt.injection, other.prompt.injection),
            exhaustion=_stricter(one.prompt.exhaustion, other.prompt.exhaustion),
        ),
        answer=AnswerGuards(
            personal_data=_stricter(one.answer.personal_data, other.answer.personal_data),
            secrets=_stricter(one.answer.secrets, other.answer.secrets),
        ),
    )


def _stricter(one: GuardAction, other: GuardAction) -> GuardAction:
    return max(one, other, key=lambda action: action.strength)


def prompt_actions(policy: GuardPolicy) -> dict[Kind, GuardAction]:
    """What becomes of each kind in a prompt."""
    prompt = policy.prompt
    return (
        dict.fromkeys(sorted(PERSONAL), prompt.personal_data)
        | dict.fromkeys(sorted(SECRETS), prompt.secrets)
        | {Kind.INJECTION: prompt.injection, Kind.EXHAUSTION: prompt.exhaustion}
    )


def answer_actions(policy: GuardPolicy) -> dict[Kind, GuardAction]:
    """What becomes of each kind in an answer; empty if answers need not be looked at."""
    answer = policy.answer
    actions = dict.fromkeys(sorted(PERSONAL), answer.personal_data) | dict.fromkeys(
        sorted(SECRETS), answer.secrets
    )
    return {kind: action for kind, action in actions.items() if action is not GuardAction.OFF}


def decide(policy: GuardPolicy, found: Mapping[str, int]) -> Decision:
    """What becomes of a prompt.

    Args:
        policy: the effective policy.
        found: how many of each kind were found. A name that is no kind counts for nothing: it
            comes from a classifier that is newer than this gateway.
    """
    actions = prompt_actions(policy)
    counted = {
        kind: action
        for kind, action in actions.items()
        if action is not GuardAction.OFF and found.get(kind.value, 0) > 0
    }
    redacted = frozenset(kind for kind, action in counted.items() if action is GuardAction.REDACT)
    # What is no place in the text cannot be taken out of it.
    refused = tuple(
        kind
        for kind, action in counted.items()
        if action is GuardAction.REFUSE or (kind in redacted and kind not in REDACTABLE)
    )
    strictest = max(counted.values(), key=lambda action: action.strength, default=GuardAction.OFF)
    return Decision(
        action=GuardAction.REFUSE if refused else strictest,
        found={kind.value: found[kind.value] for kind in counted},
        flagged=tuple(k for k, action in counted.items() if action is not GuardAction.SHADOW),
        redact_kinds=redacted & REDACTABLE,
        refused_kinds=refused,
    )


def may_redact(policy: GuardPolicy) -> bool:
    """Whether a prompt may have to be changed, so that its verdict must be known beforehand."""
    return any(action is GuardAction.REDACT for action in prompt_actions(policy).values())


def zone_floor(guards: GuardsConfig, found: Mapping[str, int]) -> str | None:
    """The lowest zone that text with these findings may go to; None if they set none."""
    if any(found.get(kind.value, 0) > 0 for kind in PERSONAL):
        return guards.personal_data_zone
    return None
