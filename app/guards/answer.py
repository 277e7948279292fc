"""Answers on their way out: watched, redacted or refused while they stream."""

from collections import Counter
from collections.abc import Mapping

from app.config import GuardAction
from app.errors import ContentRefused
from app.guards.kinds import Kind
from app.guards.scanner import Piece, Scanner


class AnswerFilter:
    """Filters the text of one answer; each choice of a request needs its own.

    What comes out is what `redact` makes of the whole answer, however the answer is cut. No part
    of what is redacted or refused comes out. Where actions only watch, text passes as it comes.

    Args:
        actions: what becomes of each kind; kinds that are not named pass unseen.

    Attributes:
        found: how many of each kind have been found so far.
    """

    __slots__ = ("_actions", "_came", "_holds", "_scanner", "_sent", "found")

    def __init__(self, actions: Mapping[Kind, GuardAction]) -> None:
        self._actions = {
            kind: action for kind, action in actions.items() if action is not GuardAction.OFF
        }
        self._holds = any(
            action in {GuardAction.REDACT, GuardAction.REFUSE} for action in self._actions.values()
        )
        self._scanner = Scanner()
        self._came = 0
        self._sent = ""
        self.found: Counter[str] = Counter()

    @property
    def holds_back(self) -> bool:
        """Whether text may come out later than it came in, and changed."""
        return self._holds

    @property
    def held(self) -> int:
        """Characters that are held back now."""
        return self._scanner.held if self._holds else 0

    def push(self, delta: str) -> str:
        """What may go out now that the answer goes on with this.

        Raises:
            ContentRefused: something was found that is refused.
        """
        if not self._actions:
            return delta
        out = self._out(self._scanner.feed(delta))
        return out if self._holds else delta

    def finish(self) -> str:
        """What is left to go out once the answer has ended; empty from then on.

        Raises:
            ContentRefused: something was found that is refused.
        """
        if not self._actions:
            return ""
        out = self._out(self._scanner.feed("", last=True))
        return out if self._holds else ""

    def cumulative(self, text: str, *, last: bool) -> str:
        """For whoever gets the whole answer so far each time: what may be out of it by now.

        Args:
            text: the answer so far; what was handed in before is its beginning.
            last: whether the answer has ended.

        Raises:
            ContentRefused: something was found that is refused.
        """
        self._sent += self.push(text[self._came :])
        self._came = len(text)
        if last:
            self._sent += self.finish()
        return self._sent

    def _out(self, pieces: list[Piece]) -> str:
        out = []
        for kind, text, begins in pieces:
            action = None if kind is None else self._actions.get(kind)
            if kind is None or action is None:
                out.append(text)
                continue
            if begins:
                self.found[kind.value] += 1
                if action is GuardAction.REFUSE:
                    raise ContentRefused(
                        f"the answer was ended because it would hold {_NAMES[kind]}, which this "
                        "zone or tenant does not let out"
                    )
            if action is not GuardAction.REDACT:
                out.append(text)
            elif begins:
                out.append(kind.placeholder)
        return "".join(out)


_NAMES = {
    Kind.EMAIL: "an e-mail address",
    Kind.PHONE: "a phone number",
    Kind.SSN: "a social security number",
    Kind.CARD: "the number of a payment card",
    Kind.IBAN: "the number of a bank account",
    Kind.SECRET: "a key, a token or a password",
    Kind.INJECTION: "an attempt to override instructions",
    Kind.EXHAUSTION: "endless repetition",
}
