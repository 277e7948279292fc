"""Server-sent events of an OpenAI-style stream, read in pieces cut anywhere.

Made to be cheap, because its CPU is taken from what is being measured: no event is parsed as
JSON unless it can carry usage or an error.
"""

from __future__ import annotations

import json

__all__ = ["SseScanner"]


class SseScanner:
    """Counts the content events of one stream.

    Attributes:
        done: ``[DONE]`` was read.
        usage_tokens: ``usage.completion_tokens``, once read.
        error: the text of an error event, once read.
    """

    __slots__ = ("_data", "_rest", "done", "error", "usage_tokens")

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self.done = False
        self.usage_tokens: int | None = None
        self.error: str | None = None

    def feed(self, piece: bytes) -> int:
        """Takes the next bytes of the body; returns how many content events they completed.

        Content is an event with a choice in it. The role that opens a chat, the closing usage
        and ``[DONE]`` are not content.
        """
        lines = (self._rest + piece).split(b"\n") if self._rest else piece.split(b"\n")
        self._rest = lines.pop()
        content = 0
        for ended in lines:
            line = ended.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line and self._data:
                content += self._event(b"\n".join(self._data))
                self._data.clear()
        return content

    def _event(self, data: bytes) -> int:
        if data == b"[DONE]":
            self.done = True
            return 0
        if b'"usage":{' in data or b'"usage": {' in data:
            usage = json.loads(data)["usage"]
            self.usage_tokens = int(usage["completion_tokens"])
        if data.startswith((b'{"error"', b'{ "error"')):
            self.error = data.decode(errors="replace")
            return 0
        if b'"choices":[]' in data or b'"choices": []' in data:
            return 0
        opens_chat = b'"role":"assistant"' in data and b'"content":""' in data
        return 0 if opens_chat else 1
