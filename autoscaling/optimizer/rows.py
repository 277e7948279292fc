"""An integer program as it is put together, and its solution by HiGHS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csc_array

from app.errors import SimulationError

_GAP = 1e-6
_MOST_NODES = 100_000
_INFEASIBLE = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """A solution."""

    values: NDArray[np.float64]
    """By variable; integers are whole."""
    gap: float
    """By which share of the objective a better one might exist."""


class IntegerProgram:
    """Variables of 0 or more, and linear constraints on them; what they cost is minimised."""

    __slots__ = ("_columns", "_cost", "_data", "_high", "_integer", "_low", "_rows", "_upper")

    def __init__(self) -> None:
        self._cost: list[float] = []
        self._upper: list[float] = []
        self._integer: list[int] = []
        self._rows: list[int] = []
        self._columns: list[int] = []
        self._data: list[float] = []
        self._low: list[float] = []
        self._high: list[float] = []

    def variable(self, cost: float, most: float = np.inf, *, integer: bool = True) -> int:
        """Adds a variable.

        Args:
            cost: What one of it costs.
            most: Its greatest value.
            integer: Whether it is a whole number.

        Returns:
            What to call it in constraints.
        """
        self._cost.append(cost)
        self._upper.append(most)
        self._integer.append(int(integer))
        return len(self._cost) - 1

    def constrain(
        self, terms: Mapping[int, float], low: float = -np.inf, high: float = np.inf
    ) -> None:
        """Adds a constraint on a sum.

        Args:
            terms: Factors by variable.
            low: What the sum is at least.
            high: What the sum is at most.
        """
        row = len(self._low)
        self._rows += [row] * len(terms)
        self._columns += terms.keys()
        self._data += terms.values()
        self._low.append(low)
        self._high.append(high)

    def free(self) -> None:
        """Makes all variables so far cost nothing."""
        self._cost = [0.0] * len(self._cost)

    def solve(self) -> Answer | None:
        """The cheapest solution; None if there is none at all.

        Raises:
            SimulationError: HiGHS gave up before it found one, or failed.
        """
        shape = (len(self._low), len(self._cost))
        matrix = csc_array((self._data, (self._rows, self._columns)), shape=shape)
        # Nodes and not seconds are what the search is bounded by: it ends alike on any machine.
        result = milp(
            np.array(self._cost),
            integrality=np.array(self._integer),
            bounds=Bounds(0, np.array(self._upper)),
            constraints=LinearConstraint(matrix, np.array(self._low), np.array(self._high)),
            options={"mip_rel_gap": _GAP, "node_limit": _MOST_NODES},
        )
        if result.status == _INFEASIBLE:
            return None
        if result.x is None:
            raise SimulationError(
                f"HiGHS found no fleet: {result.message}; plan fewer streams, engines or points "
                "at a time"
            )
        whole = np.array(self._integer, dtype=bool)
        values = np.where(whole, np.round(result.x), result.x)
        slack = matrix @ values
        scale = 1e-5 * (1 + abs(matrix) @ np.abs(values))
        low, high = np.array(self._low) - scale, np.array(self._high) + scale
        if not ((slack >= low) & (slack <= high)).all():
            raise SimulationError("HiGHS' answer breaks a constraint; give figures of usual sizes")
        return Answer(values, max(0.0, float(result.mip_gap or 0.0)))
