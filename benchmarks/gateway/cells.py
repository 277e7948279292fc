"""The load cells: what one client asks, and how many ask at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["CELLS", "QUICK_CELLS", "SOAK_CELL", "Cell", "select_cells"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One closed-loop load: every client sends its next request when the last one ended.

    Attributes:
        kind: name of the load, shared by its concurrencies.
        prompt_tokens: tokens in, exactly, before a chat template.
        output_tokens: tokens out, exactly (``ignore_eos``).
        stream: server-sent events, one a token.
        concurrency: clients, each on a keep-alive connection of its own.
    """

    kind: str
    prompt_tokens: int
    output_tokens: int
    stream: bool
    concurrency: int

    @property
    def name(self) -> str:
        return f"{self.kind}@{self.concurrency}"


def _cells(
    kind: str, prompt_tokens: int, output_tokens: int, stream: bool, at: tuple[int, ...]
) -> tuple[Cell, ...]:
    return tuple(Cell(kind, prompt_tokens, output_tokens, stream, n) for n in at)


# "short-stream" is "short" with streaming on: without it there is no first token to time.
CELLS: tuple[Cell, ...] = (
    *_cells("overhead", 32, 1, False, (1, 8, 32)),
    *_cells("short", 32, 16, False, (1, 8, 32)),
    *_cells("short-stream", 32, 16, True, (1,)),
    *_cells("chatty", 200, 128, True, (1, 8, 16, 32)),
)
QUICK_CELLS: tuple[str, ...] = ("overhead@32", "short@32", "short-stream@1", "chatty@16")

# Short prompts and uneven lengths (see soak.py): the engine should not stall on prefill by itself.
SOAK_CELL = Cell("soak", 32, 256, True, 128)


def select_cells(names: Iterable[str]) -> tuple[Cell, ...]:
    """The cells of these names, in the order of :data:`CELLS`.

    Args:
        names: ``kind@concurrency``, or ``kind`` for all of its concurrencies; none means all.

    Raises:
        ValueError: a name matches no cell.
    """
    wanted = list(names)
    if not wanted:
        return CELLS
    for name in wanted:
        if not any(name in (cell.name, cell.kind) for cell in CELLS):
            known = ", ".join(cell.name for cell in CELLS)
            raise ValueError(f"no cell is called {name!r}; there are: {known}")
    return tuple(c for c in CELLS if c.name in wanted or c.kind in wanted)
