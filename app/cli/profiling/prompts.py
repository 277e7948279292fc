"""Prompts that land in one pool and that no cache has seen."""

import random
from dataclasses import dataclass

from app.config import PoolConfig
from app.config.engines import EngineConfig
from app.routing.size_class import SizeClass

_SHORT = 24
_LONG_ANSWER = 128
_TEXT = (
    "river stone light house green table morning winter paper garden music window yellow bridge "
    "little market summer forest silver letter village dinner circle bottle mountain animal "
    "bread train ocean shoulder flower pencil island corner basket winter engine copper ladder "
    "spring valley harbour candle butter wheel kitchen cotton branch feather mirror orange camera "
    "blanket tunnel rabbit pocket hammer saddle ribbon thunder meadow lantern pepper canyon "
    "walnut button cherry marble oyster velvet wagon magnet needle pillow puzzle rocket sailor"
)
_WORDS = tuple(sorted(set(_TEXT.split())))


@dataclass(frozen=True, slots=True)
class Shape:
    """How long requests are, in tokens."""

    prompt: int
    output: int


class UnfitPool(Exception):
    """No ordinary request is sure to land in the pool; the message has the way out."""


def shapes(pool: PoolConfig, prompt_tokens: int | None) -> tuple[Shape, Shape]:
    """Requests that are all prompt, and requests that are all answer.

    Requests are classed by prompt and expected output together, and little is expected of an answer
    that nobody has seen. So in a pool for long requests the prompt alone must be long enough.

    Args:
        pool: where they are to land.
        prompt_tokens: length of the former's prompts; None: half of what the pool's shortest class
            holds.

    Returns:
        Both, prompts first.

    Raises:
        UnfitPool: the pool takes no such requests.
    """
    if pool.isolated:
        raise UnfitPool(
            f"pool {pool.name} is `isolated`: it gets risky requests alone. Measure a pool of the "
            "same engine, or set `isolated: false` while you do."
        )
    shortest, longest = pool.size_classes[0], pool.size_classes[-1]
    longer = max((c.limit for c in SizeClass if c.limit < shortest.limit), default=0)
    room = min(engine.max_model_len for engine in _engines(pool))
    most = min(longest.limit, room) - 1
    # Tokens of random words are known to a few in a hundred.
    least = longer + longer // 20 + _SHORT
    prompt = min(shortest.limit // 2, most) if prompt_tokens is None else prompt_tokens
    if not least <= prompt <= most:
        raise UnfitPool(
            f"prompts of {prompt} tokens do not land in pool {pool.name}: its classes "
            f"({', '.join(pool.size_classes)}) and context take {least} to {most}"
        )
    output = min(max(_LONG_ANSWER, least // 2), shortest.limit - least, room - least - _SHORT)
    if output < 2:
        raise UnfitPool(f"pool {pool.name} has no room for an answer beside {least} tokens")
    return Shape(prompt, 1), Shape(least, output)


class Words:
    """Texts of random words, of a length in tokens that is learned from the service's counts."""

    __slots__ = ("_each", "_extra", "_rng")

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._each = 1.0
        self._extra = 0.0

    def learn(self, few: tuple[int, int], many: tuple[int, int]) -> None:
        """Takes in what two texts of different lengths came to.

        Args:
            few: words and tokens of the shorter one.
            many: words and tokens of the longer one.
        """
        self._each = max(0.1, (many[1] - few[1]) / (many[0] - few[0]))
        self._extra = few[1] - few[0] * self._each

    def text(self, tokens: int) -> str:
        """A new text of about so many tokens."""
        return self.words(max(1, round((tokens - self._extra) / self._each)))

    def words(self, count: int) -> str:
        """A new text of so many words."""
        return " ".join(self._rng.choices(_WORDS, k=count))


def _engines(pool: PoolConfig) -> list[EngineConfig]:
    return [pool.side(role).engine for role in pool.roles]
