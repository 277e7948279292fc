"""Names of what guards find."""

from enum import StrEnum


class Kind(StrEnum):
    """What was found. The values are what verdicts, the audit log and metrics count by."""

    EMAIL = "email"
    PHONE = "phone"
    SSN = "ssn"
    CARD = "card"
    IBAN = "iban"
    SECRET = "secret"  # noqa: S105 - a name
    INJECTION = "injection"
    EXHAUSTION = "exhaustion"

    @property
    def placeholder(self) -> str:
        """What is written in its place, such as `[EMAIL]`."""
        return f"[{self.value.upper()}]"


PERSONAL = frozenset({Kind.EMAIL, Kind.PHONE, Kind.SSN, Kind.CARD, Kind.IBAN})
"""Personal data."""

SECRETS = frozenset({Kind.SECRET})
"""What opens doors: keys, tokens, passwords."""

REDACTABLE = PERSONAL | SECRETS
"""What stands at a place in the text that a placeholder can take."""
