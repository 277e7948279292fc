"""What was measured of a pool, and what is said of it."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from app.cli.profiling.prompts import Shape
from app.cli.profiling.search import SideSearch
from app.cli.profiling.terms import Side, Tried

if TYPE_CHECKING:
    from app.config.scaling import SloConfig

_MOST_READING = 0.9
_MUCH_READING = 0.5


@dataclass(frozen=True, slots=True)
class SideResult:
    """What was measured of one kind of work."""

    search: SideSearch
    shape: Shape
    replicas: int
    """How many shared the load."""

    @property
    def carried(self) -> Tried:
        """The greatest load that kept the promise."""
        return self.search.carried


class Profile:
    """What one replica of a pool carries.

    Args:
        pool: its name.
        model: the model that it serves.
        slo: what it promises.
        seconds: how long was measured, about.
        sides: what was measured.
        notes: what is to be known of the figures.
        disaggregated: whether prompts are read by other replicas than those that answer.

    Attributes:
        prefill: prompt tokens a second, if it did nothing else.
        decode: output tokens a second, if it did nothing else.

    Raises:
        OutOfReach: no load kept the promise.
    """

    def __init__(
        self,
        pool: str,
        model: str,
        slo: "SloConfig",
        seconds: float,
        sides: dict[Side, SideResult],
        notes: tuple[str, ...],
        *,
        disaggregated: bool = False,
    ) -> None:
        self.pool, self.model, self.slo, self.seconds = pool, model, slo, seconds
        self.sides = sides
        self.notes = list(notes)
        self.prefill = _rounded(sides[Side.PREFILL].carried.tokens_per_s)
        reading = 0.0 if disaggregated else self._reading()
        if reading > _MUCH_READING:
            self.notes.append(
                f"reading prompts took {reading:.0%} of the engine's time while answers were "
                "measured, so output tokens/s are a rough figure: a pool of the same engine with "
                "the class `small` tells it better"
            )
        decode = sides[Side.DECODE].carried.tokens_per_s
        self.decode = _rounded(decode / (1 - min(reading, _MOST_READING)))

    def yaml(self) -> str:
        """What to paste into the pool's configuration."""
        return (
            f"capacity: {{prefill_tokens_per_s: {self.prefill:g}, "
            f"decode_tokens_per_s: {self.decode:g}}}"
        )

    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "pool": self.pool,
            "model": self.model,
            "seconds": self.seconds,
            "slo": self.slo.model_dump(),
            "capacity": {
                "prefill_tokens_per_s": self.prefill,
                "decode_tokens_per_s": self.decode,
            },
            "sides": {side.value: _side(result) for side, result in self.sides.items()},
            "notes": self.notes,
        }

    def _reading(self) -> float:
        """Share of its time that a replica spent on prompts while its answers were measured."""
        prefill, decode = self.sides[Side.PREFILL].search, self.sides[Side.DECODE].search
        return decode.carried.rate * decode.prompt_tokens / (prefill.most or 1.0)


def _side(result: SideResult) -> dict[str, Any]:
    search = result.search
    return {
        "replicas": result.replicas,
        "requests": {"prompt_tokens": search.prompt_tokens, "output_tokens": search.output_tokens},
        "alone": asdict(search.alone) if search.alone else None,
        "full_batch_tokens_per_s": search.most,
        "tried": [
            asdict(each) | {"in_time": each.judgement.in_time} for each in search.tried or ()
        ],
    }


def _rounded(figure: float) -> float:
    # A measurement of a minute has no more than three digits.
    return float(f"{figure:.3g}")
