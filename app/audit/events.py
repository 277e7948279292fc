"""What the audit log is made of."""

from enum import StrEnum

import msgspec


class EventKind(StrEnum):
    """What happened."""

    ADMITTED = "admitted"
    REFUSED = "refused"
    COMPLETED = "completed"
    UNAUTHENTICATED = "unauthenticated"
    GUARD_FINDING = "guard_finding"
    ZONE_RAISED = "zone_raised"
    ISOLATION = "isolation"
    BUDGET_ALERT = "budget_alert"
    KEY_CREATED = "key_created"
    KEY_ROTATED = "key_rotated"
    KEY_REVOKED = "key_revoked"
    ADMIN_CALL = "admin_call"
    PERSONAL_DATA_DELETED = "personal_data_deleted"
    RETENTION = "retention"
    LEDGER = "ledger"
    MODEL = "model"
    REPLICA = "replica"


class AuditEvent(msgspec.Struct, frozen=True, array_like=True):
    """One entry, before it is chained. Holds no prompt, no answer and no secret.

    Attributes:
        id: unique; makes the event count once, however often it arrives.
        at: Unix time, in seconds.
        kind: what happened.
        tenant: whose; empty where nobody is known.
        user: who; stored as a pseudonym that can be forgotten.
        key: id of the key.
        request_id: the request, if it was one.
        zone: the zone, if one was decided.
        detail: names and numbers only, such as a rule, a pool, a code, a count.
    """

    id: str
    at: float
    kind: EventKind
    tenant: str = ""
    user: str = ""
    key: str = ""
    request_id: str = ""
    zone: str = ""
    detail: dict[str, str | int | float | bool] = {}
