"""The OpenAPI document of the routes that are served."""

import json
from functools import cache
from typing import Any

from app.errors import CODES

_ROUTES = {
    "/v1/chat/completions": ("Chat", "ChatCompletionRequest"),
    "/v1/completions": ("Text completion", "CompletionRequest"),
    "/v1/responses": ("Responses", "ResponsesRequest"),
}
_READS = {
    "/v1/models": "The models served",
    "/readyz": "Whether every pool has its least replicas (503 until then)",
    "/livez": "Whether the gateway runs",
    "/openapi.json": "This document",
}
_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}


@cache
def openapi_document() -> bytes:
    """The document as JSON; request schemas are those of vLLM's own protocol models."""
    # Imported on first use: the models pull in vLLM, which the rest of the HTTP layer needs not.
    from app.api.schemas import request_schemas

    schemas = request_schemas()
    schemas["Error"] = _ERROR
    paths: dict[str, Any] = {}
    for path, (summary, schema) in _ROUTES.items():
        paths[path] = {
            "post": {
                "summary": summary,
                "parameters": [
                    {
                        "name": "x-tidegate-zone",
                        "in": "header",
                        "required": False,
                        "schema": {"type": "string"},
                        "description": "The zone to serve this request in",
                    }
                ],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}
                    },
                },
                "responses": {"200": _answer(summary, events=True), **_errors()},
            }
        }
    for path, summary in _READS.items():
        responses = {"200": _answer(summary)}
        if path == "/readyz":
            responses["503"] = _answer("Some pool has too few replicas")
        paths[path] = {"get": {"summary": summary, "responses": responses}}
    return json.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": "Tidegate", "version": "0.1.0"},
            "paths": paths,
            "components": {"schemas": schemas},
        }
    ).encode()


def _answer(summary: str, *, events: bool = False) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if events:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {"description": summary, "content": content}


def _errors() -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code, error in CODES.items():
        by_status.setdefault(error.status, []).append(code)
    return {
        str(status): {
            "description": ", ".join(sorted(codes)),
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
        for status, codes in sorted(by_status.items())
    }
