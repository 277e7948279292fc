"""What becomes of a request that has begun when its replica dies or drains.

The tokens that have come are known to the gateway, so another replica can go on from prompt and
tokens, and what it generates is what the first one would have: greedily the same tokens, sampled
the same distribution. That holds where the next token depends on those before it alone. It does not
where an engine keeps something else for the request:

- a seed: the state of the random generator after so many draws;
- what `Traits.history` names: states over the tokens of this answer that no engine takes over.

Such a request is finished where it is while its replica drains. When its replica dies, it is
generated from the start: anew where the client has seen nothing yet, and where it has, as a replay
that must bring the same tokens again. Where chance would bring others, there is no honest way on::

    the next token depends on               nothing was seen    something was seen
    the tokens before it, and chance        CONTINUE            CONTINUE
    state, but neither chance nor a seed    RESTART             REPLAY
    a seed, and perhaps other state         RESTART             REPLAY
    state and chance                        RESTART             FAIL
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

MARGIN_S = 2.0
"""How long before its deadline a draining replica must have been left: what a move takes."""
_UNKNOWN_S = 10.0  # how long a request is taken to need whose pace nobody knows yet
_LEAST_LOOK_S = 0.25
_AGAIN = "send it again"


class Way(StrEnum):
    """How a request that has begun goes on without its replica."""

    CONTINUE = "continue"
    """Another replica takes prompt and tokens, and goes on after them."""
    REPLAY = "replay"
    """Another replica generates it from the start; what was sent already is checked and dropped."""
    RESTART = "restart"
    """Another replica generates it from the start; nobody has seen any of it."""
    FAIL = "fail"
    """It cannot go on; the reason says why, for the client to read."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What decides how a request can go on elsewhere."""

    sampled: bool = False
    """Whether its tokens are drawn at random, instead of being the most likely ones."""
    seeded: bool = False
    """Whether a seed of its own decides the draws."""
    history: tuple[str, ...] = ()
    """Its parameters whose state the engine keeps and a continuation lacks, by name: a thinking
    budget, or a grammar that begins where reasoning ends."""
    streamed: bool = True
    """Whether the client has seen what has come."""

    @property
    def state(self) -> tuple[str, ...]:
        """What is lost with the engine, by the names of the parameters."""
        return (*self.history, "seed") if self.sampled and self.seeded else self.history

    @property
    def continuable(self) -> bool:
        """Whether another replica can go on after its tokens as if nothing had happened."""
        return not self.state

    @property
    def repeatable(self) -> bool:
        """Whether generating it again gives the same tokens."""
        return self.seeded or not self.sampled


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a request."""

    way: Way
    reason: str = ""
    """Why it is not simply continued, in words; empty where it is."""


def on_death(traits: Traits, sent: int, migrations: int, most: int) -> Decision:
    """What becomes of a request whose replica was lost after its first token.

    Args:
        traits: the request's.
        sent: output tokens that have come, at least 1.
        migrations: how often it has gone on elsewhere before, in any way.
        most: how often it may; 0: never.

    Raises:
        ValueError: no token has come: such a request is simply sent again.
    """
    if sent < 1:
        raise ValueError(f"a request of which {sent} tokens have come has not begun: send it again")
    lost = "the replica that served this request was lost"
    if migrations >= most:
        moved = (
            f"the request had moved {migrations} times before, as often as it may"
            if most
            else "requests do not move once they have begun"
        )
        return Decision(Way.FAIL, f"{lost}, and {moved} (routing.migrations: {most}); {_AGAIN}")
    if traits.continuable:
        return Decision(Way.CONTINUE)
    state = f"the state of {' and '.join(traits.state)} was lost with the replica"
    if not traits.streamed:
        return Decision(Way.RESTART, state)
    if traits.repeatable:
        return Decision(Way.REPLAY, state)
    return Decision(
        Way.FAIL,
        f"{lost}, and with it the state of {' and '.join(traits.state)}; {_AGAIN}, with a seed or "
        "at temperature 0 if it is to survive such a loss",
    )


def on_drain(
    traits: Traits,
    expected_left: int,
    tokens_per_s: float | None,
    left_s: float,
    *,
    migrations: int,
    most: int,
    margin_s: float = MARGIN_S,
) -> bool:
    """Whether to move a request that has begun off a draining replica now.

    A move costs computing everything so far again, so what will finish in time stays. What cannot
    be continued exactly stays, too: it may still finish, and `on_death` is for what does not.

    Args:
        traits: the request's.
        expected_left: output tokens that it is expected still to need; 0 or less where it has had
            what was expected, and may end with any token.
        tokens_per_s: its pace; None where it is not known.
        left_s: seconds until the replica stops.
        migrations: how often the request has gone on elsewhere before.
        most: how often it may; 0: never.
        margin_s: what a move takes, in seconds: so long before the stop it must be decided.
    """
    if not traits.continuable or migrations >= most:
        return False
    time_left = left_s - margin_s
    if time_left <= 0:
        return True
    if not tokens_per_s or tokens_per_s <= 0:
        return time_left < _UNKNOWN_S
    return expected_left > time_left * tokens_per_s


def next_look(left_s: float, margin_s: float = MARGIN_S) -> float:
    """Seconds after which `on_drain` should be asked again about a request that stays.

    It may turn out longer than expected, or slower. Each look halves the time to the last one,
    `margin_s` before the replica stops, so that those that do are not all moved at the end.

    Args:
        left_s: seconds until the replica stops.
        margin_s: as for `on_drain`.
    """
    last = max(0.0, left_s - margin_s)
    return min(last, max(last / 2, _LEAST_LOOK_S))


class Seam:
    """Finds where a replay becomes new, and checks that it is the same until there.

    Args:
        sent: the output tokens that have come before.
    """

    __slots__ = ("_at", "_sent")

    def __init__(self, sent: Sequence[int]) -> None:
        self._sent = tuple(sent)
        self._at = 0

    @property
    def passed(self) -> bool:
        """Whether everything that comes from now on is new."""
        return self._at == len(self._sent)

    def known(self, tokens: Sequence[int]) -> int | None:
        """Takes the tokens that have come next.

        Returns:
            How many of them, from the first on, have come before and are to be dropped; None where
            they are others than those that came before: the replay is a different answer.
        """
        count = min(len(tokens), len(self._sent) - self._at)
        if tuple(tokens[:count]) != self._sent[self._at : self._at + count]:
            return None
        self._at += count
        return count
