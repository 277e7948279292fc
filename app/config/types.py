"""The scalars that the configuration is made of.

Numbers are strict: ``max_num_seqs: "8"`` or ``: true`` is a slip of the pen, and an error here is
cheaper than an engine that starts with something else than was meant.
"""

import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema


class Isolation(StrEnum):
    """How strictly a zone's requests are kept apart from each other, weakest first."""

    MEDIUM = "medium"
    HIGH = "high"
    MAXIMUM = "maximum"

    @property
    def strength(self) -> int:
        """0 for the weakest."""
        return list(Isolation).index(self)


class Market(StrEnum):
    """Where a pool's replicas run; a Serve deployment each."""

    ON_DEMAND = "on-demand"
    SPOT = "spot"


class Role(StrEnum):
    """What a replica does of a request: all of it, or one half of a disaggregated pool's work."""

    WHOLE = "whole"
    PREFILL = "prefill"
    DECODE = "decode"


class Device(StrEnum):
    """What an engine computes on."""

    CPU = "cpu"
    GPU = "gpu"


class Executor(StrEnum):
    """How an engine runs its ranks: in its process, in processes of its node, or across nodes."""

    AUTO = "auto"
    UNI = "uni"
    MP = "mp"
    RAY = "ray"


class OnUnavailable(StrEnum):
    """What becomes of a request whose text could not be judged in time."""

    REFUSE = "refuse"
    ALLOW = "allow"


class Section(BaseModel):
    """The base of every section: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(I?)B?|B)?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_bytes(value: object) -> object:
    """Turn ``64MiB`` into 67108864; numbers pass unchanged, for pydantic to judge.

    Args:
        value: A number of bytes, or a string with a unit of powers of 1024 (KiB, MiB, GiB, TiB) or
            1000 (KB, MB, GB, TB).

    Raises:
        ValueError: The string is not a size.
    """
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is not a size: write it like 64MiB, 4GiB or 1048576")
    number, prefix, binary = match.groups()
    base = 1024 if binary else 1000
    return int(float(number) * base ** _POWERS[(prefix or "").upper()])


def _no_nul(value: object) -> object:
    if isinstance(value, str) and "\0" in value:
        raise ValueError("a NUL character cannot be part of it")
    return value


_SIZE_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^\d"}],
    "examples": ["64MiB", 67108864],
}

Bytes = Annotated[
    int,
    Field(strict=True, ge=1),
    BeforeValidator(parse_bytes),
    WithJsonSchema(_SIZE_SCHEMA, mode="validation"),
]
"""A number of bytes, at least 1; ``64MiB`` in the file."""

Count = Annotated[int, Field(strict=True, ge=1)]
"""A whole number, at least 1."""

CountOrZero = Annotated[int, Field(strict=True, ge=0)]
"""A whole number, at least 0."""

Flag = Annotated[bool, Field(strict=True)]

Seconds = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
"""A duration in seconds, above 0."""

Cpus = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
"""CPU cores that Ray sets aside, above 0; may be a fraction."""

Fraction = Annotated[float, Field(strict=True, ge=0, le=1)]
"""From 0 to 1."""

Text = Annotated[str, Field(min_length=1, max_length=4096), BeforeValidator(_no_nul)]
"""A string that is not empty."""

# Zone and pool names become parts of deployment names, headers and metric labels.
ZoneName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$")]
PoolName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$")]
# Hub identifiers such as org/Model-8B-Instruct are served under their own name.
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$")]
# Letters, digits and what may stand in a user id, such as an e-mail address.
PrincipalName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$")]
