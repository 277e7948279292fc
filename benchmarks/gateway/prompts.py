"""Prompts of an exact number of tokens, each one different, the same for every arm.

Made of random words of the model's own vocabulary, so that neither the prefix cache nor a
tokenizer's odd corners decide the result.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer

from benchmarks.gateway.cells import Cell
from benchmarks.gateway.engine import MODEL_NAME

__all__ = ["Endpoint", "PromptForm", "PromptMaker", "request_body", "request_bytes"]

Endpoint = Literal["completions", "chat"]
PromptForm = Literal["text", "ids"]

_WORD = re.compile(r" ?[A-Za-z]{2,}")
_ATTEMPTS = 100


class PromptMaker:
    """Makes random prompts with one model's tokenizer.

    Args:
        model: directory that holds ``tokenizer.json``.
    """

    def __init__(self, model: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        special = {t.content for t in self._tokenizer.get_added_tokens_decoder().values()}
        self._words = [
            text
            for token, number in sorted(self._tokenizer.get_vocab().items(), key=lambda x: x[1])
            if token not in special
            and _WORD.fullmatch(text := self._tokenizer.decode([number]))
            and text.startswith(" ")
        ]
        if len(self._words) < 100:
            raise ValueError(f"the tokenizer in {model} has only {len(self._words)} whole words")

    def text(self, tokens: int, rng: random.Random) -> tuple[str, list[int]]:
        """A prompt that encodes to exactly ``tokens`` ids, special tokens included.

        Returns:
            The text and its ids.
        """
        extra = len(self._tokenizer.encode("").ids)
        words = max(1, tokens - extra)
        for _ in range(_ATTEMPTS):
            text = "".join(rng.choices(self._words, k=words))
            ids: list[int] = self._tokenizer.encode(text).ids
            if len(ids) == tokens:
                return text, ids
            words = max(1, words + tokens - len(ids))
        raise ValueError(f"no prompt of {tokens} tokens found in {_ATTEMPTS} attempts")

    def bodies(
        self, cell: Cell, seed: str, endpoint: Endpoint, form: PromptForm
    ) -> Iterator[bytes]:
        """Endless request bodies of a cell; the same seed gives the same bodies."""
        rng = random.Random(seed)
        while True:
            text, ids = self.text(cell.prompt_tokens, rng)
            yield request_body(cell, ids if form == "ids" else text, endpoint)


def request_body(cell: Cell, prompt: str | list[int], endpoint: Endpoint) -> bytes:
    """JSON body of one request.

    Raises:
        ValueError: token ids for the chat endpoint.
    """
    body: dict[str, Any] = {
        "model": MODEL_NAME,
        "max_tokens": cell.output_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": cell.stream,
    }
    if endpoint == "chat":
        if not isinstance(prompt, str):
            raise ValueError("the chat endpoint takes text, not token ids")
        body["messages"] = [{"role": "user", "content": prompt.strip()}]
    else:
        body["prompt"] = prompt
    if cell.stream:
        body["stream_options"] = {"include_usage": True}
    return json.dumps(body, separators=(",", ":")).encode()


def request_bytes(
    host: str, port: int, endpoint: Endpoint, body: bytes, headers: Mapping[str, str]
) -> bytes:
    """The whole HTTP/1.1 request, ready to be written."""
    path = "/v1/chat/completions" if endpoint == "chat" else "/v1/completions"
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
        f"accept: */*\r\n{more}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
