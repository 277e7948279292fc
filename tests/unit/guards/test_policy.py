"""Policies: the stricter counts, and what is decided by them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config import AnswerGuards, GuardAction, GuardPolicy, GuardsConfig, PromptGuards
from app.errors import ContentRefused
from app.guards.kinds import PERSONAL, Kind
from app.guards.policy import (
    answer_actions,
    decide,
    effective,
    may_redact,
    prompt_actions,
    stricter,
    zone_floor,
)

OFF, SHADOW, FLAG, REDACT, REFUSE = GuardAction
actions = st.sampled_from(GuardAction)
policies = st.builds(
    GuardPolicy,
    prompt=st.builds(
        PromptGuards, personal_data=actions, secrets=actions, injection=actions, exhaustion=actions
    ),
    answer=st.builds(AnswerGuards, personal_data=actions, secrets=actions),
)
founds = st.dictionaries(st.sampled_from([kind.value for kind in Kind]), st.integers(0, 3))


def prompts(**guards: GuardAction) -> GuardPolicy:
    return GuardPolicy(prompt=PromptGuards(**guards))


def test_a_zone_that_is_not_named_flags_prompts_and_lets_answers_out() -> None:
    policy = effective(GuardsConfig(), "public", "acme")
    assert set(prompt_actions(policy).values()) == {FLAG}
    assert answer_actions(policy) == {}
    assert not may_redact(policy)


def test_of_zone_and_tenant_the_stricter_counts_for_each_guard() -> None:
    guards = GuardsConfig(
        zones={"private": prompts(personal_data=REDACT, secrets=OFF, injection=SHADOW)},
        tenants={"acme": prompts(personal_data=OFF, secrets=REFUSE, exhaustion=OFF)},
    )
    prompt = effective(guards, "private", "acme").prompt
    assert (prompt.personal_data, prompt.secrets) == (REDACT, REFUSE)
    assert (prompt.injection, prompt.exhaustion) == (FLAG, FLAG)
    assert effective(guards, "private", "other") == guards.zones["private"]


@given(policies, policies)
def test_no_guard_becomes_milder(one: GuardPolicy, other: GuardPolicy) -> None:
    both = stricter(one, other)
    assert both == stricter(other, one)
    for policy in (one, other):
        for kind, action in prompt_actions(policy).items():
            assert prompt_actions(both)[kind].strength >= action.strength
        for kind, action in answer_actions(policy).items():
            assert answer_actions(both)[kind].strength >= action.strength


@given(policies, founds)
def test_every_finding_gets_its_action(policy: GuardPolicy, found: dict[str, int]) -> None:
    decision = decide(policy, found)
    called_for = prompt_actions(policy)
    for kind in Kind:
        there = found.get(kind.value, 0) > 0
        action = called_for[kind] if there else OFF
        assert (kind.value in decision.found) == (action is not OFF)
        assert (kind in decision.flagged) == (action in (FLAG, REDACT, REFUSE))
        if kind in (Kind.INJECTION, Kind.EXHAUSTION):
            assert kind not in decision.redact_kinds
            assert (kind in decision.refused_kinds) == (action in (REDACT, REFUSE))
        else:
            assert (kind in decision.redact_kinds) == (action is REDACT)
            assert (kind in decision.refused_kinds) == (action is REFUSE)
        assert decision.action.strength >= action.strength
    assert not decision.redact_kinds or may_redact(policy)


def test_a_refusal_names_kinds_only() -> None:
    decision = decide(prompts(secrets=REFUSE), {"secret": 2, "email": 1})
    assert decision.action is REFUSE
    assert decision.refused_reason is not None
    assert "(secret)" in decision.refused_reason
    with pytest.raises(ContentRefused, match="secret"):
        decision.check()
    decide(prompts(secrets=REFUSE), {"email": 1}).check()


def test_what_is_unknown_counts_for_nothing() -> None:
    decision = decide(GuardPolicy(), {"tomorrow's kind": 1})
    assert decision.action is OFF
    assert decision.found == {}


@pytest.mark.parametrize("kind", sorted(PERSONAL))
def test_personal_data_sets_a_floor(kind: Kind) -> None:
    guards = GuardsConfig(personal_data_zone="private")
    assert zone_floor(guards, {kind.value: 1}) == "private"
    assert zone_floor(guards, {kind.value: 0, "secret": 1, "injection": 1}) is None
    assert zone_floor(GuardsConfig(), {kind.value: 1}) is None
