"""What a gateway says of the demand that went through it."""

import time

from autoscaling.demand.terms import Message
from tests.engine.stack import Gateway, Stack

CHAT = "/v1/chat/completions"
POOL = "public-small"


def told(gateway: Gateway) -> Message:
    """All that has come since this was last asked."""
    demand = gateway.service.fleet.demand
    message = demand.message(time.monotonic())
    demand.answered()
    return message


def test_requests_count_as_they_arrive_and_as_they_end(stack: Stack, gateway: Gateway) -> None:
    told(gateway)
    bodies = [gateway.chat(f"Say {number}.", max_tokens=5 + number) for number in range(3)]
    usages = [gateway.post(CHAT, body).json()["usage"] for body in bodies]
    sample = told(gateway).groups[POOL]
    assert (sample.requests, sample.answers, sample.late) == (3, 3, 0)
    corrected = [each.work for each in sample.corrections]
    prefill = sample.arrived.prefill + sum(work.prefill for work in corrected)
    decode = sample.arrived.decode + sum(work.decode for work in corrected)
    assert prefill == sum(usage["prompt_tokens"] for usage in usages)
    assert decode == sum(usage["completion_tokens"] for usage in usages)
    assert POOL not in told(gateway).groups


def test_what_is_refused_is_no_demand(stack: Stack, gateway: Gateway) -> None:
    told(gateway)
    assert gateway.post(CHAT, gateway.chat(max_tokens=40_000)).status_code == 400
    assert gateway.post(CHAT, gateway.chat(model="none")).status_code == 404
    assert told(gateway).groups == {}
