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
_OPEN = frozenset({"/livez", "/readyz"})
_WITH_KEY = frozenset({"401", "403", "503"})
_ASKED_BY = (
    ("x-tidegate-zone", "The zone to serve this request in"),
    ("x-tidegate-priority", "The tier to serve this request in: critical, standard or batch"),
)
_RATE_LIMITS = {
    "x-ratelimit-limit-tokens": "Size of the tightest limit of tokens",
    "x-ratelimit-remaining-tokens": "What is left of it",
    "x-ratelimit-reset-tokens": "When it is full again",
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
                "rule": {"type": "string", "description": "With 429: the limit that was met"},
                "limit": {"type": ["integer", "null"]},
                "used": {"type": ["integer", "null"]},
                "retry_after_s": {"type": ["number", "null"]},
            },
        }
    },
}


@cache
def openapi_document() -> bytes:
    """The document as JSON; request schemas are those of vLLM's own protocol models."""
    # Imported on first use: the models pull in vLLM, which the rest of the HTTP layer needs not.
    from app.api.admin_document import admin_paths, admin_schemas
    from app.api.schemas import request_schemas

    schemas = request_schemas() | admin_schemas()
    schemas["Error"] = _ERROR
    paths: dict[str, Any] = {}
    for path, (summary, schema) in _ROUTES.items():
        paths[path] = {
            "post": {
                "summary": summary,
                "parameters": [
                    {
                        "name": name,
                        "in": "header",
                        "required": False,
                        "schema": {"type": "string"},
                        "description": description,
                    }
                    for name, description in _ASKED_BY
                ],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}
                    },
                },
                "responses": {"200": _limited(_answer(summary, events=True)), **_errors()},
            }
        }
    for path, summary in _READS.items():
        responses = {"200": _answer(summary)}
        if path == "/readyz":
            responses["503"] = _answer("Some pool has too few replicas")
        operation: dict[str, Any] = {"summary": summary, "responses": responses}
        if path in _OPEN:
            operation["security"] = []
        else:
            responses |= {
                status: error for status, error in _errors().items() if status in _WITH_KEY
            }
        paths[path] = {"get": operation}
    paths |= admin_paths(_errors())
    return json.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": "Tidegate", "version": "0.1.0"},
            "paths": paths,
            "security": [{"key": []}],
            "components": {
                "schemas": schemas,
                "securitySchemes": {
                    "key": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "An API key, or a token of the identity provider",
                    }
                },
            },
        }
    ).encode()


def _answer(summary: str, *, events: bool = False) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if events:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {"description": summary, "content": content}


def _limited(answer: dict[str, Any]) -> dict[str, Any]:
    headers = {
        name: {"description": description, "schema": {"type": "string"}}
        for name, description in _RATE_LIMITS.items()
    }
    return {**answer, "headers": headers}


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
