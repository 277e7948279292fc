"""Requests that schemathesis makes up from the OpenAPI document, valid ones and others."""

from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.api.admin import PREFIX, ROUTES
from app.api.bodies import REFUSED_FIELDS, RESERVED_FIELDS
from app.api.http import GENERATING, READING
from app.errors import CODES
from tests.engine.stack import Gateway

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
LIMITS = {
    "/v1/chat/completions": {"max_tokens": 2, "max_completion_tokens": 2},
    "/v1/completions": {"max_tokens": 2},
    "/v1/responses": {"max_output_tokens": 2},
}
READS = ("/v1/models", "/livez", "/readyz", "/openapi.json")


def operation(gateway: Gateway, path: str, method: str) -> Any:
    document = gateway.http.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=str(gateway.http.base_url))
    return schema[path][method]


def test_the_document_is_of_what_is_served(gateway: Gateway) -> None:
    document = gateway.http.get("/openapi.json").json()
    admin = {f"{PREFIX}{route.path}" for route in ROUTES}
    assert set(document["paths"]) == set(GENERATING) | READING | admin
    schemas = document["components"]["schemas"]
    for path in GENERATING:
        [content] = document["paths"][path]["post"]["requestBody"]["content"].values()
        fields = schemas[content["schema"]["$ref"].rpartition("/")[2]]["properties"]
        assert "model" in fields
        assert not fields.keys() & {*RESERVED_FIELDS, *REFUSED_FIELDS}
        statuses = {str(error.status) for error in CODES.values()}
        assert statuses <= document["paths"][path]["post"]["responses"].keys()


@pytest.mark.parametrize("path", READS)
def test_reads(gateway: Gateway, path: str) -> None:
    case = operation(gateway, path, "GET").Case()
    case.call_and_validate(checks=CHECKS)


@pytest.mark.parametrize("path", LIMITS)
def test_made_up_requests(gateway: Gateway, path: str) -> None:
    made = operation(gateway, path, "POST").as_strategy()

    @hypothesis.given(case=made)
    @hypothesis.settings(
        max_examples=60,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def run(case: Any) -> None:
        if isinstance(case.body, dict):
            # Short, so that the engine keeps up; and of a model there is, mostly.
            case.body |= {"model": "demo"} | LIMITS[path]
        answer = case.call()
        case.validate_response(answer, checks=CHECKS)
        assert "Traceback" not in answer.text

    run()
