"""The values that parameters are made of, and how bad ones are refused.

They come as JSON or out of a query string, where everything is text; so numbers are taken as text
too where a query can hold them.
"""

import math
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, WithJsonSchema

from app.config.explain import explain
from app.config.types import Section
from app.errors import InvalidRequest

_MOST_VALUES = 256
_MOST_TEXT = 1024
MOST = 10**15
"""The largest limit or budget: still exact in JSON, whoever reads it."""


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def flag(value: object) -> object:
    """`true` and `false` of a query as what they say; all else is for pydantic to judge."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def words(value: object) -> object:
    """Words of a query, which have commas between them, as a list."""
    return value.split(",") if isinstance(value, str) else value


def _moment(value: object) -> float:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            try:
                value = float(value)
            except ValueError:
                value = None
        else:
            value = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e11:
        raise ValueError(
            "is not a time: give Unix seconds, or a date like 2027-01-31 or 2027-01-31T12:00:00Z"
        )
    return float(value)


def distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Each value once, in the order of first mention."""
    return tuple(dict.fromkeys(values))


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("holds characters that cannot be printed")
    return value


# What is made is named like a principal of the configuration; what is looked for may have come
# from an identity provider, which names its users as it likes.
Reference = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_printable)]
Moment = Annotated[
    float,
    BeforeValidator(_moment),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number"}, {"type": "string"}],
            "description": "Unix seconds, or a date such as 2027-01-31T12:00:00Z",
        }
    ),
]
KeyId = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,32}$")]
Limit = Annotated[int, BeforeValidator(_number), Field(strict=True, ge=1, le=1000)]
# That a page is read is logged: pages of one entry would never come to the end.
ExportLimit = Annotated[int, BeforeValidator(_number), Field(strict=True, ge=2, le=1000)]
Place = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,32}:\d{1,18}$")]
Cursor = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_printable)]

P = TypeVar("P", bound=Section)


def parse(model: type[P], params: dict[str, Any]) -> P:
    """The parameters, checked.

    Raises:
        InvalidRequest: something is wrong; the error names each field and the way out.
    """
    _check_size(params)
    try:
        return model.model_validate(params)
    except ValidationError as error:
        issues = explain(error, model)
        raise InvalidRequest(
            "; ".join(f"`{issue.path}`: {issue.message}" for issue in issues[:8]),
            param=issues[0].path[:64],
        ) from None


def _check_size(params: dict[str, Any]) -> None:
    # Before anything looks for what each value might have been meant to be.
    waiting: list[object] = [params]
    count = 0
    while waiting:
        value = waiting.pop()
        count += 1
        if isinstance(value, str) and len(value) > _MOST_TEXT:
            raise InvalidRequest(
                f"a value has {len(value):,} characters, at most {_MOST_TEXT:,} are allowed"
            )
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list | tuple):
            waiting += value
        if count + len(waiting) > _MOST_VALUES:
            raise InvalidRequest(f"there are more than {_MOST_VALUES} values")


def when(moment: float | None) -> str | None:
    """A time as people read it, in UTC."""
    if moment is None or not math.isfinite(moment):
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
