"""Request bodies: bounded, strictly parsed, and without the fields that only we may set."""

from typing import Any

import msgspec

from app.errors import InvalidJson, InvalidRequest

RESERVED_FIELDS = (
    "cache_salt",
    "priority",
    "kv_transfer_params",
    "ec_transfer_params",
    "vllm_xargs",
    "request_id",
    "mm_processor_kwargs",
    "media_io_kwargs",
    "session_id",
    "data_parallel_rank",
    "kv_hints",
    "enable_response_messages",
    "previous_input_messages",
    "routed_experts_prompt_start",
    "mm_payload",
    "return_mm_kwargs",
    "stream_interval",
    "watermarking",
)
"""Fields of vLLM's that would reach past admission; a client's values for them are dropped."""

RESERVED_HEADERS = frozenset(
    {
        b"x-vllm-priority",
        b"x-data-parallel-rank",
        b"x-session-id",
        b"x-request-disconnect-disabled",
        b"x-request-timeout-seconds",
        b"serve_multiplexed_model_id",
    }
)
"""Headers of vLLM's and Ray Serve's that clients may not use to steer the service."""

REFUSED_FIELDS = {
    "use_beam_search": "beam search is not served; use n and temperature",
    "prompt_embeds": "prompts are text or token ids, not embeddings",
    "logits_processors": "custom logits processors are not served",
    "background": "background responses are not served; stream instead",
    "previous_response_id": "responses are not kept; send the conversation in `input`",
}
"""Fields whose effect is not served at all; setting one is an error, not silently ignored."""

_TEXT_PARTS = frozenset(
    {"text", "input_text", "output_text", "refusal", "thinking", "reasoning_text", "summary_text"}
)

_decoder = msgspec.json.Decoder()


def parse(body: bytes, *, max_messages: int, max_n: int) -> dict[str, Any]:
    """The JSON object in a request's body, without reserved fields.

    Args:
        body: the whole body.
        max_messages: the most entries in `messages` or `input`.
        max_n: the most answers (`n`, `best_of`) to one request.

    Raises:
        InvalidJson: the body is not UTF-8 or not JSON (NaN and Infinity are not JSON).
        InvalidRequest: it is not an object, or a field is over its limit or not served.
    """
    data = json_object(body)
    for field in RESERVED_FIELDS:
        data.pop(field, None)
    for field, way_out in REFUSED_FIELDS.items():
        if data.get(field):
            raise InvalidRequest(f"{field}: {way_out}", param=field)
    _limit_messages(data, max_messages)
    _refuse_media(data)
    for field in ("n", "best_of"):
        value = data.get(field)
        # Strictly a number, since what parses the field later would take "99" for one as well.
        if value is not None and not (type(value) is int and 1 <= value <= max_n):
            small = type(value) is int and abs(value) < 1_000_000
            shown = f"is {value}" if small else "is no such number"
            raise InvalidRequest(
                f"{field} {shown}; it must be a whole number between 1 and {max_n}", param=field
            )
    return data


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        InvalidJson: the body is not UTF-8 or not JSON.
        InvalidRequest: it is not an object.
    """
    try:
        data = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJson(f"the body is not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise InvalidRequest('the body must be a JSON object, such as {"model": ...}')
    return data


def _limit_messages(data: dict[str, Any], most: int) -> None:
    for field in ("messages", "input"):
        entries = data.get(field)
        if isinstance(entries, list) and len(entries) > most:
            raise InvalidRequest(
                f"{field} has {len(entries)} entries; the most is {most}: join or drop some",
                param=field,
            )
    if data.get("messages") == []:
        raise InvalidRequest("messages is empty; send at least one message", param="messages")
    prompts = data.get("prompt")
    # A list of numbers is one prompt, as token ids.
    if isinstance(prompts, list) and len(prompts) > most and not isinstance(prompts[0], int):
        raise InvalidRequest(
            f"prompt has {len(prompts)} entries; the most is {most}", param="prompt"
        )


def _refuse_media(data: dict[str, Any]) -> None:
    """Only text: a model that takes pictures would have them fetched from the client's address."""
    for field in ("messages", "input"):
        entries = data.get(field)
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            content = entry.get("content") if isinstance(entry, dict) else None
            for part in content if isinstance(content, list) else ():
                kind = part.get("type") if isinstance(part, dict) else None
                if isinstance(kind, str) and kind not in _TEXT_PARTS:
                    raise InvalidRequest(
                        f"{field}[{index}].content holds a part of type {kind[:32]!r}; only text "
                        "is served",
                        param=field,
                    )


def text_of(data: dict[str, Any]) -> str:
    """All the text of a request, for the classifier to judge.

    Every string counts, whatever its field: tools, schemas and documents reach the model, too.
    """
    parts: list[str] = []
    # Iterative, since how deep it nests is the client's choice.
    stack: list[Any] = [data]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            parts.append(item)
        elif isinstance(item, dict):
            for name, value in reversed(item.items()):
                # Its own names reach the model too, in a schema for example; ours do not.
                stack.extend((value,) if item is data else (value, name))
        elif isinstance(item, list) and not _token_ids(item):
            stack.extend(reversed(item))
    return "\n".join(parts)


def _token_ids(items: list[Any]) -> bool:
    """Whether a list holds numbers alone, as a prompt of thousands of token ids does."""
    return bool(items) and isinstance(items[0], int) and all(type(each) is int for each in items)
