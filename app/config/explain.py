"""Turns what pydantic found into errors that name the place, the value, the limit and the way out.

pydantic's own texts speak of types and validators; whoever edits serve_config.yaml should not need
to know either.
"""

import difflib
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.errors import ConfigError, ConfigIssue

_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = 80

_KINDS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text; put it in quotes",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "tuple_type": "a list",
    "list_type": "a list",
}
_LIMITS = {
    "greater_than": ("gt", "must be above"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be below"),
    "less_than_equal": ("le", "must be at most"),
}


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A question with the known word that is nearest, or None where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else None


def explain(error: ValidationError, root: type[BaseModel]) -> list[ConfigIssue]:
    """All that pydantic found, in our words.

    Args:
        error: What the validation of `root` raised.
        root: The model that was validated; its fields tell which keys there are.

    Returns:
        At least one issue, with paths relative to `root`.
    """
    issues: list[ConfigIssue] = []
    for details in error.errors(include_url=False):
        cause = details.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):
            issues += cause.issues
        elif not _follows_from_another(details):
            loc = tuple(part for part in details["loc"] if part != "[key]")
            issues.append(ConfigIssue(path_of(loc), _message(details, loc, root)))
    return issues


def path_of(loc: Iterable[int | str]) -> str:
    """A location as it is written in a path: ``pools[2].engine.max_model_len``."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path


def _follows_from_another(details: ErrorDetails) -> bool:
    """Whether an error only says that something else is wrong, which has an entry of its own."""
    if details["type"] == "too_short":  # pydantic counts valid elements only
        return bool(details["input"])
    return details["type"] == "default_factory_not_called"


def _message(details: ErrorDetails, loc: tuple[int | str, ...], root: type[BaseModel]) -> str:
    kind, value = details["type"], details["input"]
    context: Mapping[str, Any] = details.get("ctx", {})
    shown = _shorten.repr(value)
    if kind == "extra_forbidden":
        return _unknown_key(loc, root)
    if kind == "missing":
        return _missing(str(loc[-1]), _model_at(root, loc[:-1]))
    if kind == "enum":
        known = [word.strip(" '") for word in context["expected"].replace(" or ", ",").split(",")]
        hint = did_you_mean(value, known) if isinstance(value, str) else None
        return f"{shown} must be one of {', '.join(known)}" + (f"; {hint}" if hint else "")
    if kind in _KINDS:
        return f"{shown} must be {_KINDS[kind]}"
    if kind in _LIMITS:
        key, words = _LIMITS[kind]
        return f"{shown} {words} {context[key]}"
    if kind in ("too_short", "string_too_short"):
        return "is empty: at least one is needed" if kind == "too_short" else "is empty"
    if kind == "string_too_long":
        return f"has {len(value)} characters, at most {context['max_length']} are allowed"
    if kind == "string_pattern_mismatch":
        return f"{shown} must match {context['pattern']}"
    if kind == "value_error":
        return str(context["error"])
    return f"{details['msg']} (it is {shown})"


def _unknown_key(loc: tuple[int | str, ...], root: type[BaseModel]) -> str:
    key, model = str(loc[-1]), _model_at(root, loc[:-1])
    if model is None:
        return "is not a known key: remove it"
    fields = list(model.model_fields)
    for name, section in _sections(model):
        if key in section.model_fields:
            return f"is not a known key here: move it under `{name}`"
    for outer in _around(loc[:-1]):
        for name, section in _sections(_model_at(root, outer)):
            if key in section.model_fields:
                return f"is not a known key here: set it in `{path_of((*outer, name))}`"
    way_out = did_you_mean(key, fields) or f"the keys are {', '.join(fields)}"
    if "extra" in fields:
        way_out += " (further vLLM engine arguments stand under `extra`)"
    return f"is not a known key; {way_out}"


def _missing(key: str, model: type[BaseModel] | None) -> str:
    description = model.model_fields[key].description if model is not None else None
    return "is missing" + (f": {' '.join(description.split())}" if description else "")


def _around(loc: tuple[int | str, ...]) -> Iterator[tuple[int | str, ...]]:
    """The places that hold this one, up to the element of a list that it belongs to."""
    while loc and not isinstance(loc[-1], int):
        loc = loc[:-1]
        if loc:
            yield loc


def _sections(model: type[BaseModel] | None) -> Iterator[tuple[str, type[BaseModel]]]:
    if model is None:
        return
    for name, field in model.model_fields.items():
        section = _strip(field.annotation)
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield name, section


def _model_at(root: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    here: Any = root
    for part in loc:
        here = _strip(here)
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(part))
            here = None if field is None else field.annotation
        else:  # The elements of a tuple or the values of a dict.
            values = [arg for arg in get_args(here) if arg is not Ellipsis]
            here = values[-1] if values else None
    here = _strip(here)
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


def _strip(annotation: Any) -> Any:
    """Take off ``Annotated`` and ``| None``."""
    if get_origin(annotation) is Annotated:
        return _strip(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        present = [arg for arg in get_args(annotation) if arg is not NoneType]
        return _strip(present[0]) if len(present) == 1 else annotation
    return annotation
