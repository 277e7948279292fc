"""The scheduler one step ahead of its device, as on a GPU: vLLM's asynchronous scheduling."""

import random
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from vllm.sampling_params import SamplingParams
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus

from app.admission.isolation import Claim
from app.admission.tier import Tier
from benchmarks.isolation.engine import LoneEngine
from deployments.isolation import attach, claim_of
from deployments.scheduler import TidegateAsyncScheduler, make_scheduler
from tests.engine.stack import side_by_side


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """These engines are apart from the stack's."""


@pytest.fixture(scope="module")
def engines() -> Iterator[dict[str, LoneEngine]]:
    with (
        side_by_side(),
        LoneEngine("high") as high,
        LoneEngine("maximum", {"hold_s": 0.001}) as maximum,
    ):
        yield {"high": high, "maximum": maximum}


class Device:
    """Computes what was scheduled, always one step late, and says 7 each time."""

    def __init__(self, engine: LoneEngine, salts: Any) -> None:
        core: Any = engine.host._core
        config = core.vllm_config
        with mock.patch.object(config.scheduler_config, "async_scheduling", True):
            self.scheduler = make_scheduler(
                vllm_config=config,
                kv_cache_config=core.scheduler.kv_cache_config,
                structured_output_manager=core.structured_output_manager,
                block_size=core.scheduler.block_size,
                hash_block_size=core.scheduler.block_size,
            )
        assert isinstance(self.scheduler, TidegateAsyncScheduler)
        self.scheduler.salts = salts
        self.erased = 0
        self.scheduler.erase = self.erase
        self.hasher = core.request_block_hasher
        self.queue: deque[Any] = deque()
        self.finished: list[str] = []
        self.said: Counter[str] = Counter()

    def erase(self) -> None:
        assert not self.queue, "erased while a step was being computed"
        assert self.scheduler.get_kv_cache_usage() == 0
        self.erased += 1

    def add(self, number: int, tenant: str, out: int) -> None:
        assert self.scheduler.salts is not None
        salt = self.scheduler.salts.of("lone", tenant, "ada")
        request = Request(
            request_id=f"{tenant}-{number}",
            prompt_token_ids=[number % 1000 + 1] * 40,
            sampling_params=SamplingParams(max_tokens=out, ignore_eos=True),
            pooling_params=None,
            cache_salt=salt,
            block_hasher=self.hasher,
        )
        attach(request, Claim("lone", tenant, "ada", Tier.STANDARD, 1.0, 4, salt))
        self.scheduler.add_request(request)

    def step(self) -> None:
        if self.scheduler.has_requests():
            output = self.scheduler.schedule()
            if output.total_num_scheduled_tokens:
                self.queue.append(output)
                if len(self.queue) < 2:
                    return
        if self.queue:
            self.compute()

    def compute(self) -> None:
        output = self.queue.popleft()
        keys = list(output.num_scheduled_tokens)
        said = []
        for key in keys:
            request = self.scheduler.requests.get(key)
            prompt = output.num_scheduled_tokens[key] > 1 and (
                request is not None and request.num_computed_tokens < request.num_prompt_tokens
            )
            said.append([] if prompt else [7])
        result = ModelRunnerOutput(
            req_ids=keys,
            req_id_to_index={key: index for index, key in enumerate(keys)},
            sampled_token_ids=said,
        )
        for message in self.scheduler.update_from_output(output, result).values():
            for each in message.outputs:
                self.said[each.request_id] += len(each.new_token_ids)
                if each.finish_reason is not None:
                    self.finished.append(each.request_id)


@pytest.mark.parametrize("level", ["high", "maximum"])
@pytest.mark.parametrize("seed", range(5))
def test_steps_ahead_keep_apart_what_must_be_apart(
    engines: dict[str, LoneEngine], level: str, seed: int
) -> None:
    rng = random.Random(seed)
    device = Device(engines[level], engines[level].scheduler.salts)
    scheduler = device.scheduler
    sent, cancelled = 0, set()
    for round_ in range(300):
        if rng.random() < 0.5 and round_ < 250:
            device.add(sent, rng.choice("abc"), rng.randint(1, 12))
            sent += 1
        if rng.random() < 0.05 and scheduler.requests:
            victim = rng.choice(sorted(scheduler.requests))
            scheduler.finish_requests(victim, RequestStatus.FINISHED_ABORTED)
            cancelled.add(victim)
        device.step()
        if level == "maximum":
            tenants = {claim_of(request).tenant for request in scheduler.running}
            in_flight = {
                key.split("-")[0] for output in device.queue for key in output.num_scheduled_tokens
            }
            assert len(tenants | in_flight) <= 1
    for _ in range(2000):
        device.step()
    assert len(set(device.finished) | cancelled) == sent
    assert scheduler.get_request_counts() == (0, 0)
    assert scheduler.waiting.core.tracked == 0
    assert not scheduler._claims
    assert scheduler._in_flight == 0
    assert (device.erased > 5) is (level == "maximum")


@pytest.mark.parametrize("seed", range(5))
def test_who_is_set_aside_while_its_step_is_computed_loses_no_token_and_gets_none_twice(
    engines: dict[str, LoneEngine], seed: int
) -> None:
    rng = random.Random(seed)
    device = Device(engines["high"], engines["high"].scheduler.salts)
    lengths: dict[str, int] = {}
    for round_ in range(300):
        if round_ < 250 and len(device.scheduler.requests) < 30:
            tenant, out = rng.choice("aaaaaaaab"), rng.randint(1, 30)
            lengths[f"{tenant}-{round_}"] = out
            device.add(round_, tenant, out)
        device.step()
    for _ in range(2000):
        device.step()
    assert device.scheduler.asides > 2
    assert device.said == lengths
    assert device.scheduler.waiting.core.tracked == 0
