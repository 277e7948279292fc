"""Refusals, counted: a flood of them must not become a flood of records."""

from collections.abc import Iterable
from dataclasses import dataclass

from app.audit.events import AuditEvent, EventKind

OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is counted together.

    Attributes:
        kind: `unauthenticated`, or `refused` for somebody known.
        code: the error's.
        tenant: whose request it was; empty where nobody knows.
        user: who asked.
        key: id of the key that was shown.
        zone: the zone asked for.
        rule: the limit that was met, if it was one.
    """

    kind: EventKind
    code: str
    tenant: str = ""
    user: str = ""
    key: str = ""
    zone: str = ""
    rule: str = ""


class RefusalTally:
    """Counts refusals until they are taken, as one event for each kind of them.

    Args:
        max_kinds: most kinds that are told apart; further ones are counted as `others`.
    """

    def __init__(self, max_kinds: int = 1000) -> None:
        self._max_kinds = max_kinds
        self._counts: dict[Refusal, int] = {}
        self._requests: dict[Refusal, str] = {}

    def add(self, refusal: Refusal, request_id: str) -> None:
        """Counts one, and remembers its request if it is the first of its kind."""
        if refusal not in self._counts and len(self._counts) >= self._max_kinds:
            refusal = Refusal(refusal.kind, OTHERS)
        self._counts[refusal] = self._counts.get(refusal, 0) + 1
        self._requests.setdefault(refusal, request_id)

    def take(self, now: float, ids: Iterable[str]) -> list[AuditEvent]:
        """The events for all since the last call.

        Args:
            now: Unix time, in seconds.
            ids: unique ids for the events, as many as are asked for.
        """
        counts, self._counts = self._counts, {}
        requests, self._requests = self._requests, {}
        return [
            AuditEvent(
                id=event_id,
                at=now,
                kind=refusal.kind,
                tenant=refusal.tenant,
                user=refusal.user,
                key=refusal.key,
                request_id=requests[refusal],
                zone=refusal.zone,
                detail=_detail(refusal, count),
            )
            for event_id, (refusal, count) in zip(ids, counts.items(), strict=False)
        ]


def _detail(refusal: Refusal, count: int) -> dict[str, str | int | float | bool]:
    detail: dict[str, str | int | float | bool] = {"code": refusal.code, "count": count}
    if refusal.rule:
        detail["rule"] = refusal.rule
    return detail
