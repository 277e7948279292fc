"""What vLLM is told of a zone's isolation, of fairness and of hand-offs."""

from typing import Any

import msgspec
from vllm.config import VllmConfig
from vllm.v1.request import Request

from app.admission.fair_queue import FairQueueSettings
from app.admission.isolation import RULES, Claim, IsolationRules
from app.config import FairnessConfig, PoolConfig, Role, Scheduling, ZoneConfig
from app.errors import IsolationViolated

_KEY = "tidegate"


class EnginePolicy(msgspec.Struct, frozen=True):
    """How an engine keeps requests apart and in which order it starts them.

    It travels to the scheduler in vLLM's `additional_config`.

    Attributes:
        zone: the zone that the engine belongs to.
        isolation: the zone's level.
        fair: whether tenants are served fairly; otherwise in the order of arrival.
        prompt_weight: what a prompt token counts.
        output_weight: what an output token counts.
        ageing_s: seconds of waiting after which a request moves up one band.
        credit: how many requests a tenant may be ahead after a pause.
        hold_s: longest time for which a tenant holds on to an engine that another waits for.
        set_aside: how often a request that runs may be set aside for another tenant's.
        pool: the pool that the engine belongs to.
        role: what the engine does of a request.
        handoff_timeout_s: longest time for which a request waits for a KV cache to come over.
    """

    zone: str
    isolation: str
    fair: bool
    prompt_weight: float
    output_weight: float
    ageing_s: float
    credit: float
    hold_s: float
    set_aside: int
    pool: str
    role: str
    handoff_timeout_s: float

    @classmethod
    def of(
        cls, pool: PoolConfig, role: Role, zone: ZoneConfig, fairness: FairnessConfig
    ) -> "EnginePolicy":
        """The policy of a pool's engines."""
        halves = pool.disaggregated
        return cls(
            zone=pool.zone,
            isolation=zone.isolation.value,
            fair=fairness.scheduling is Scheduling.FAIR,
            prompt_weight=fairness.prompt_weight,
            output_weight=fairness.output_weight,
            ageing_s=fairness.ageing_s,
            credit=fairness.credit,
            hold_s=fairness.hold_s,
            set_aside=fairness.set_aside if fairness.scheduling is Scheduling.FAIR else 0,
            pool=pool.name,
            role=role.value,
            handoff_timeout_s=0.0 if halves is None else halves.handoff_timeout_s,
        )

    @classmethod
    def read(cls, config: VllmConfig) -> "EnginePolicy":
        """The policy that an engine's configuration carries.

        Raises:
            IsolationViolated: it carries none.
        """
        additional = config.additional_config
        if not isinstance(additional, dict) or _KEY not in additional:
            raise IsolationViolated("the engine's configuration says nothing about isolation")
        return msgspec.convert(additional[_KEY], cls)

    def written(self, additional: dict[str, Any]) -> dict[str, Any]:
        """vLLM's `additional_config` with this policy in it."""
        return additional | {_KEY: msgspec.to_builtins(self)}

    @property
    def rules(self) -> IsolationRules:
        """The rules of its level."""
        return RULES[self.isolation]

    @property
    def queue(self) -> FairQueueSettings:
        """The settings of its queue."""
        return FairQueueSettings(
            self.fair, self.prompt_weight, self.output_weight, self.ageing_s, self.credit
        )


def attach(request: Request, claim: Claim) -> None:
    """Ties a claim to vLLM's request."""
    request.tidegate_claim = claim


def claim_of(request: Request) -> Claim:
    """The claim of a request.

    Raises:
        IsolationViolated: it has none, so that nobody knows whose it is.
    """
    claim = getattr(request, "tidegate_claim", None)
    if not isinstance(claim, Claim):
        raise IsolationViolated("a request reached the engine without saying whose it is")
    return claim
