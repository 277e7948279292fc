"""Times and money as people write and read them."""

import re
import time
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from app.cli.show import fail

_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_MICROS = 1_000_000


def span(text: str, option: str) -> float:
    """Seconds in a span of time such as `90d`, `24h` or `30m`."""
    match = _SPAN.fullmatch(text)
    if match is None:
        fail(f"{option}: {text!r} is not a span of time; write it like 30m, 24h, 90d or 2w")
    return float(match[1]) * _SECONDS[match[2]]


def ahead(text: str | None, option: str) -> float | None:
    """The Unix time that lies a span ahead, or a date."""
    return _moment(text, option, 1)


def ago(text: str | None, option: str) -> float | None:
    """The Unix time that lies a span back, or a date."""
    return _moment(text, option, -1)


def _moment(text: str | None, option: str, direction: int) -> float | None:
    if text is None:
        return None
    if _SPAN.fullmatch(text):
        return time.time() + direction * span(text, option)
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        fail(
            f"{option}: {text!r} is no time; write a span like 24h or 90d, or a date like "
            "2027-01-31 or 2027-01-31T12:00 (UTC)"
        )


def shown(moment: float | None) -> str:
    """A time in UTC, to the minute."""
    if moment is None:
        return "-"
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")


def micros(text: str, option: str) -> int:
    """Micro-dollars in an amount of dollars such as `25` or `0.50`."""
    try:
        amount = Decimal(text.removeprefix("$")) * _MICROS
        if amount < 0 or amount != amount.to_integral_value():
            raise InvalidOperation
        return int(amount)
    except (InvalidOperation, ValueError, OverflowError):
        fail(f"{option}: {text!r} is no amount of dollars; write it like 25 or 0.50")


def dollars(amount: int) -> str:
    """Micro-dollars as dollars, with as many digits as are needed."""
    whole, rest = divmod(amount, _MICROS)
    digits = f"{rest:06d}".rstrip("0")
    return f"${whole:,}.{digits.ljust(2, '0')}"
