"""Random values that stay for an exponential time each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from autoscaling.simulator.terms import Floats

Draw = Callable[[np.random.Generator, int], Floats]
_CHUNK = 1024


class Kind(IntEnum):
    """What a stream of random numbers is for."""

    COMMON = 0
    REGIONAL = 1
    OWN = 2
    MISSING = 3


@dataclass(frozen=True, slots=True)
class Stream:
    """Random numbers that no other stream of the same seed has."""

    seed: int
    kind: Kind
    index: int
    """Of the region or the availability zone."""
    pace: int
    """Of the several of one place."""

    def generator(self, part: int) -> np.random.Generator:
        """Begins one of the stream's parts, which are independent too.

        Args:
            part: Which.
        """
        key = (int(self.kind), self.index, self.pace, part)
        return np.random.Generator(
            np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=key))
        )


def held(stream: Stream, per_h: float, at_h: Floats, draw: Draw) -> Floats:
    """A value at each of some times, of a process that is in its steady state from the start.

    Times and values come from two generators, so that a longer process begins like a shorter one.

    Args:
        stream: Where its random numbers come from.
        per_h: New values an hour, on average.
        at_h: Hours, ascending, from 0 on.
        draw: Draws as many values as it is told to.
    """
    times = stream.generator(0)
    # Blocks of one length, whatever the span: the numbers drawn do not depend on how long it is.
    blocks: list[Floats] = []
    end_h = 0.0
    while end_h <= at_h[-1]:
        blocks.append(end_h + np.cumsum(times.standard_exponential(_CHUNK)) / per_h)
        end_h = float(blocks[-1][-1])
    ends = np.concatenate(blocks)
    which = np.searchsorted(ends, at_h, side="right")
    count = math.ceil((int(which[-1]) + 1) / _CHUNK) * _CHUNK
    values: Floats = draw(stream.generator(1), count)[which]
    return values
