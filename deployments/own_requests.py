"""Requests that a replica makes of its own engine, to see whether it works."""

import asyncio
import secrets
import time

from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine import EngineCoreOutput, EngineCoreRequest

from app.admission.isolation import Claim
from app.admission.tier import Tier
from app.errors import EngineLost
from deployments.engine_core import StreamedEngineCore

OWN_CLIENT = 0
"""The client that no gateway is: streams are numbered from 1."""
_WHO = "tidegate"


class OwnRequests:
    """Runs short greedy requests through the engine like anybody's.

    Args:
        core: the engine.
        zone: the engine's zone.
    """

    def __init__(self, core: StreamedEngineCore, zone: str) -> None:
        self._core = core
        self._zone = zone
        self._open: dict[str, tuple[list[int], asyncio.Future[list[int]]]] = {}

    async def infer(self, token_ids: list[int], max_tokens: int) -> list[int]:
        """What the engine generates after a prompt.

        Args:
            token_ids: the prompt, at least one token.
            max_tokens: how many tokens to generate; exactly so many come.

        Raises:
            EngineLost: the engine has died, or could not compute it.
        """
        request = EngineCoreRequest(
            request_id=f"{_WHO}-{secrets.token_hex(8)}",
            prompt_token_ids=token_ids,
            mm_features=None,
            sampling_params=SamplingParams(
                temperature=0.0,
                max_tokens=max_tokens,
                ignore_eos=True,
                output_kind=RequestOutputKind.DELTA,
            ),
            pooling_params=None,
            arrival_time=time.time(),
            lora_request=None,
            cache_salt=None,
            data_parallel_rank=None,
            client_index=OWN_CLIENT,
        )
        claim = Claim(
            zone=self._zone,
            tenant=_WHO,
            user=_WHO,
            tier=Tier.CRITICAL,
            weight=1.0,
            expected_tokens=max_tokens,
        )
        done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._open[request.request_id] = [], done
        try:
            self._core.submit(request, claim)
            return await done
        finally:
            if self._open.pop(request.request_id, None) is not None and not done.done():
                self._core.cancel([request.request_id])

    def take(self, outputs: list[EngineCoreOutput]) -> None:
        """Takes what the engine has generated for this client; on the loop."""
        for output in outputs:
            tokens, done = self._open.get(output.request_id, ([], None))
            tokens += output.new_token_ids
            if done is not None and output.finish_reason is not None and not done.done():
                if output.finish_reason.name == "ERROR":
                    done.set_exception(EngineLost("the engine could not compute a short request"))
                else:
                    done.set_result(tokens)

    def fail(self, error: BaseException) -> None:
        """Ends all of them; the engine has died."""
        for _, done in self._open.values():
            if not done.done():
                done.set_exception(EngineLost(f"the engine died: {type(error).__name__}"))
