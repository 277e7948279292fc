"""The admin routes for the OpenAPI document."""

import re
from collections.abc import Iterator
from typing import Any

from pydantic.json_schema import models_json_schema

from app.admin.operations import OPERATIONS
from app.api.admin import EXPORT, PREFIX, ROUTES, Route

_REFS = "#/components/schemas/Admin{model}"


def admin_paths(errors: dict[str, Any]) -> dict[str, Any]:
    """The paths, each with its methods.

    Args:
        errors: the answers that every route may give beside its own.
    """
    schemas = _schemas()
    paths: dict[str, Any] = {}
    for route in ROUTES:
        path = f"{PREFIX}{route.path}"
        model = schemas[f"Admin{OPERATIONS[route.name].params.__name__}"]
        operation: dict[str, Any] = {
            "summary": route.summary,
            "operationId": route.name,
            "tags": ["admin"],
            "parameters": list(_parameters(route, model)),
            "responses": {str(route.status): _answer(route, path), **errors},
        }
        if route.body:
            operation["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": _body(route, model)}},
            }
        paths.setdefault(path, {})[route.method.lower()] = operation
    return paths


def admin_schemas() -> dict[str, Any]:
    """Schemas that the paths refer to."""
    params = {f"Admin{operation.params.__name__}" for operation in OPERATIONS.values()}
    return {name: schema for name, schema in _schemas().items() if name not in params}


def _schemas() -> dict[str, Any]:
    models = {operation.params for operation in OPERATIONS.values()}
    _, document = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template=_REFS,
    )
    return {f"Admin{name}": schema for name, schema in document["$defs"].items()}


def _in_path(route: Route) -> list[str]:
    return re.findall(r"\{(\w+)\}", route.path)


def _parameters(route: Route, model: dict[str, Any]) -> Iterator[dict[str, Any]]:
    in_path = _in_path(route)
    for name, schema in model["properties"].items():
        if name in in_path:
            yield {"name": name, "in": "path", "required": True, "schema": schema}
        elif not route.body:
            required = name in model.get("required", ())
            parameter = {"name": name, "in": "query", "required": required, "schema": schema}
            if schema.get("type") == "array":
                parameter |= {"style": "form", "explode": False}
            yield parameter


def _body(route: Route, model: dict[str, Any]) -> dict[str, Any]:
    in_path = _in_path(route)
    return {
        **model,
        "properties": {
            name: schema for name, schema in model["properties"].items() if name not in in_path
        },
        "required": [name for name in model.get("required", ()) if name not in in_path],
    }


def _answer(route: Route, path: str) -> dict[str, Any]:
    kind = "application/x-ndjson" if path == EXPORT else "application/json"
    return {
        "description": route.summary,
        "content": {kind: {"schema": {"type": "string" if path == EXPORT else "object"}}},
    }
