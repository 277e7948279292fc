"""How long prompts and answers are: pairs that were seen together, drawn again.

Prompt and output of one request depend on each other, so that pairs are drawn and not each by
itself. Where lengths and arrivals come from different records, requests of one client are no more
alike than any others; prefixes that prompts share are not represented.
"""

from __future__ import annotations

import csv
import json
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from app.errors import SimulationError, TraceInvalid
from autoscaling.simulator.terms import Ints

MOST_TOKENS = 10_000_000
"""More in one request are taken for another unit."""
MOST_PAIRS = 50_000_000
_AZURE = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Pairs of prompt and output tokens, by column.

    Raises:
        SimulationError: There is no pair, the columns differ in length, or a count is below 1.
    """

    prompt: Ints
    """Prompt tokens."""
    output: Ints
    """Output tokens of the same requests."""

    def __post_init__(self) -> None:
        if len(self.prompt) != len(self.output):
            raise SimulationError(
                f"lengths: {len(self.prompt):,} prompts, but {len(self.output):,} outputs"
            )
        if not len(self.prompt):
            raise SimulationError("lengths: there is no pair of prompt and output tokens")
        if min(self.prompt.min(), self.output.min()) < 1:
            raise SimulationError("lengths: prompt and output must be 1 token or more each")

    def __len__(self) -> int:
        return len(self.prompt)

    @property
    def mean_prompt(self) -> float:
        """Prompt tokens of a request, on average."""
        return float(self.prompt.mean())

    @property
    def mean_output(self) -> float:
        """Output tokens of a request, on average."""
        return float(self.output.mean())

    def within(self, most_tokens: int) -> Lengths:
        """The pairs that a context window holds.

        Args:
            most_tokens: Prompt and output tokens together, at most.

        Raises:
            SimulationError: None is so short.
        """
        fits = self.prompt.astype(np.int64) + self.output <= most_tokens
        if not fits.any():
            raise SimulationError(
                f"lengths: none of {len(self):,} requests has {most_tokens:,} tokens or fewer"
            )
        return Lengths(self.prompt[fits], self.output[fits])

    def joined(self, other: Lengths) -> Lengths:
        """The pairs of both, so that each record counts by its number of requests.

        Args:
            other: More pairs.
        """
        return Lengths(
            np.concatenate((self.prompt, other.prompt)), np.concatenate((self.output, other.output))
        )

    def draw(self, generator: np.random.Generator, count: int) -> tuple[Ints, Ints]:
        """Prompt and output tokens of some requests: pairs, drawn with replacement.

        Args:
            generator: Where chance comes from.
            count: How many.
        """
        drawn = generator.integers(0, len(self.prompt), size=count, dtype=np.int32)
        return self.prompt[drawn], self.output[drawn]


def azure(lines: Iterable[str], what: str = "Azure trace") -> Lengths:
    """Reads lengths from one of Azure's traces of LLM inference (AzurePublicDataset, 2023).

    Times must be times, and are otherwise not used; so their order does not matter.

    Args:
        lines: A CSV file, with the header TIMESTAMP,ContextTokens,GeneratedTokens.
        what: What to call it in errors.

    Raises:
        TraceInvalid: A line is not what it should be, or there is none.
    """
    rows = _rows(lines, what)
    header = next(rows, (0, []))[1]
    if [name.strip("\ufeff ") for name in header] != _AZURE:
        problem = f"the first line must be {','.join(_AZURE)}, and is {','.join(header)[:80]!r}"
        raise TraceInvalid(what, 1, problem)
    return _pairs(_azure_pairs(rows, what), what)


def _azure_pairs(
    rows: Iterator[tuple[int, list[str]]], what: str
) -> Iterator[tuple[int, int | str, int | str]]:
    for line, row in rows:
        if len(row) != len(_AZURE):
            raise TraceInvalid(what, line, f"must have 3 columns, and has {len(row)}")
        try:
            datetime.fromisoformat(row[0])
        except ValueError:
            raise TraceInvalid(what, line, f"TIMESTAMP {row[0][:40]!r} is no time") from None
        yield line, row[1], row[2]


def mooncake(lines: Iterable[str], what: str = "Mooncake trace") -> Lengths:
    """Reads lengths from one of Mooncake's traces (FAST '25).

    Times and shared prefixes (`hash_ids`) are not used.

    Args:
        lines: A JSON object a line, with `input_length` and `output_length`.
        what: What to call it in errors.

    Raises:
        TraceInvalid: A line is not what it should be, or there is none.
    """
    return _pairs(_mooncake_pairs(lines, what), what)


def _mooncake_pairs(lines: Iterable[str], what: str) -> Iterator[tuple[int, int | str, int | str]]:
    for line, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError):
            raise TraceInvalid(what, line, f"{text[:40]!r} is no JSON object") from None
        if not isinstance(entry, dict):
            raise TraceInvalid(what, line, f"{text[:40]!r} is no JSON object")
        for name in ("input_length", "output_length"):
            if type(entry.get(name)) is not int:
                raise TraceInvalid(what, line, f"{name} must be an integer")
        yield line, entry["input_length"], entry["output_length"]


def _rows(lines: Iterable[str], what: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise TraceInvalid(what, reader.line_num, f"no CSV ({error})") from None


def _pairs(entries: Iterator[tuple[int, int | str, int | str]], what: str) -> Lengths:
    prompts, outputs = array("i"), array("i")
    for line, prompt, output in entries:
        if len(prompts) >= MOST_PAIRS:
            raise TraceInvalid(what, line, f"at most {MOST_PAIRS:,} requests are read")
        prompts.append(tokens(prompt, "prompt tokens", what, line))
        outputs.append(tokens(output, "output tokens", what, line))
    if not prompts:
        raise TraceInvalid(what, 0, "there is no request in it")
    return Lengths(np.array(prompts, np.int32), np.array(outputs, np.int32))


def tokens(value: int | str, field: str, what: str, line: int, least: int = 1) -> int:
    """A count of tokens as it stands in a record.

    Args:
        value: A number, or its text.
        field: What to call it in errors.
        what: What was read.
        line: Number of the line.
        least: The least that it may be.

    Raises:
        TraceInvalid: It is no integer, or not from `least` to `MOST_TOKENS`.
    """
    if isinstance(value, str):
        text = value.strip()
        if not (text.isascii() and text.removeprefix("-").isdigit()) or len(text) > 20:
            shown = f"{value[:40]!r} is no integer" if text else "missing"
            raise TraceInvalid(what, line, f"{field}: {shown}")
        value = int(text)
    if least <= value <= MOST_TOKENS:
        return value
    if value < least:
        raise TraceInvalid(what, line, f"{field}: {value:,}, but must be {least} or more")
    raise TraceInvalid(
        what, line, f"{field}: {value:,}, more than {MOST_TOKENS:,} in a request; other units?"
    )
