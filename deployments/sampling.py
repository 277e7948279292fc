"""What sampling parameters mean for a request that changes its engine."""

from typing import Any

from vllm.sampling_params import RequestOutputKind, SamplingParams, SamplingType

from app.routing.continuation import Traits

_READ_ONLY = {
    "do_remote_decode": True,
    "do_remote_prefill": False,
    "remote_engine_id": None,
    "remote_block_ids": None,
    "remote_host": None,
    "remote_port": None,
}


def traits_of(params: SamplingParams, *, reasons: bool) -> Traits:
    """What tells whether another replica can go on with a request.

    Args:
        params: the request's.
        reasons: whether the model's reasoning is parsed.
    """
    history = []
    if params.thinking_token_budget is not None:
        history.append("thinking_token_budget")
    if reasons and params.structured_outputs is not None:
        history.append("response_format")
    return Traits(
        sampled=params.sampling_type is not SamplingType.GREEDY,
        seeded=params.seed is not None,
        history=tuple(history),
        streamed=params.output_kind is not RequestOutputKind.FINAL_ONLY,
    )


def prompt_can_move(params: SamplingParams) -> bool:
    """Whether the prompt can be read by one engine for another.

    Whoever asks for the logprobs of a prompt needs it computed where it is decoded.
    """
    return params.prompt_logprobs is None and params.prompt_logprob_token_ids is None


def to_read() -> SamplingParams:
    """Parameters that only have the prompt read, its KV cache kept for another engine."""
    return SamplingParams(
        max_tokens=1,
        temperature=0.0,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        extra_args={"kv_transfer_params": dict(_READ_ONLY)},
    )


def to_decode(params: SamplingParams, transfer: dict[str, Any]) -> SamplingParams:
    """The same parameters, with the KV cache of the prompt to come from another engine."""
    copied = params.clone()
    copied.extra_args = dict(params.extra_args or {}) | {"kv_transfer_params": transfer}
    return copied


def to_go_on(params: SamplingParams) -> SamplingParams:
    """The same parameters for the rest of an answer; what is due once has been delivered."""
    if prompt_can_move(params):
        return params
    copied = params.clone()
    copied.prompt_logprobs = None
    copied.prompt_logprob_token_ids = None
    return copied
