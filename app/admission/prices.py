"""What tokens cost, in integer micro-dollars."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-dollars a million tokens."""

    prompt: int = 0
    output: int = 0

    def __post_init__(self) -> None:
        """Refuses prices below 0.

        Raises:
            ValueError: a price is negative; the message names it.
        """
        for name, value in (("prompt", self.prompt), ("output", self.output)):
            if value < 0:
                raise ValueError(f"the {name} price must be 0 or more, not {value}")


class PriceTable:
    """Our own prices; nothing else decides what a request costs.

    Args:
        default: of models that are not named.
        models: by the model's name.
    """

    __slots__ = ("_default", "_models")

    def __init__(self, default: Price, models: Mapping[str, Price] = MappingProxyType({})) -> None:
        self._default = default
        self._models = dict(models)

    def micros(self, model: str, prompt_tokens: int, output_tokens: int) -> int:
        """The price of a request, rounded up to a whole micro-dollar.

        Args:
            model: as clients name it.
            prompt_tokens: counts below 0 count as 0.
            output_tokens: counts below 0 count as 0.
        """
        price = self._models.get(model, self._default)
        total = max(prompt_tokens, 0) * price.prompt + max(output_tokens, 0) * price.output
        return -(-total // _MILLION)
