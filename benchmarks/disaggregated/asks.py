"""What is asked: prompts as token ids, each one different, the same for everything compared."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.gateway.engine import MODEL_NAME
from benchmarks.gateway.load import Target
from benchmarks.gateway.prompts import PromptMaker, request_bytes

__all__ = ["Ask", "ask_of", "log_uniform", "wire"]


@dataclass(frozen=True, slots=True)
class Ask:
    """One greedy, streamed completion.

    Attributes:
        prompt: its token ids.
        output_tokens: tokens out, exactly (``ignore_eos``).
        zone: the zone asked for; empty for the default one.
        kind: what it stands for in a load of several kinds.
        ids: whether the answer is to hold token ids, which zones that filter answers refuse.
    """

    prompt: tuple[int, ...]
    output_tokens: int
    zone: str = ""
    kind: str = ""
    ids: bool = True


def ask_of(
    maker: PromptMaker,
    rng: random.Random,
    prompt_tokens: int,
    output_tokens: int,
    zone: str = "",
    kind: str = "",
    ids: bool = True,
) -> Ask:
    """An ask with a random prompt of this length."""
    _, prompt = maker.text(prompt_tokens, rng)
    return Ask(tuple(prompt), output_tokens, zone, kind, ids)


def log_uniform(rng: random.Random, least: int, most: int) -> int:
    """A random length, as likely between 10 and 100 as between 100 and 1,000."""
    return round(math.exp(rng.uniform(math.log(least), math.log(most))))


def wire(ask: Ask, target: Target, headers: Mapping[str, str]) -> bytes:
    """The whole HTTP request."""
    body: dict[str, Any] = {
        "model": MODEL_NAME,
        "prompt": ask.prompt,
        "max_tokens": ask.output_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if ask.ids:
        body["return_token_ids"] = True
    more = {"connection": "close"} | ({"x-tidegate-zone": ask.zone} if ask.zone else {})
    content = json.dumps(body, separators=(",", ":")).encode()
    return request_bytes(target.host, target.port, "completions", content, {**headers, **more})
