"""JSON schemas of the request bodies, from the models that validate them."""

from typing import Any

from pydantic.json_schema import models_json_schema

from app.api.bodies import REFUSED_FIELDS, RESERVED_FIELDS
from app.api.openai import REQUEST_MODELS


def request_schemas() -> dict[str, Any]:
    """Schemas by model name, without the fields that clients may not set."""
    _, document = models_json_schema(
        [(model, "validation") for model in REQUEST_MODELS],
        ref_template="#/components/schemas/{model}",
    )
    schemas: dict[str, Any] = document["$defs"]
    for model in REQUEST_MODELS:
        properties = schemas[model.__name__]["properties"]
        for field in (*RESERVED_FIELDS, *REFUSED_FIELDS):
            properties.pop(field, None)
    return schemas
