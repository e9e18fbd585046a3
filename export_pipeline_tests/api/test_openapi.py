"""The OpenAPI document is true: whatever is sent, the answer is one that it describes, and never a 5xx."""

import json
from typing import Any

import httpx
import hypothesis
import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from export_pipeline.rights import RIGHTS
from export_pipeline_tests.api.service import Running

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture
def database(sqlite_database: Any) -> Any:
    """One kind of ledger is enough."""
    return sqlite_database


def settings(examples: int) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=True,
    )


def test_the_document_is_valid_and_describes_each_route(service: Running) -> None:
    document = httpx.get(f"{service.url}/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert "HTTPValidationError" not in json.dumps(document)
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids)) > 25
    assert {"create_export", "get_export", "get_file", "get_file_head", "cancel_export"} <= {*ids}
    for path in ("/v1/datasets/{name}/export.{extension}", "/v1/exports/{export_id}/file", "/d/{token}/file"):
        answer = document["paths"][path]["get"]["responses"]["200"]
        assert {"text/csv", "application/pdf", "application/json"} <= answer["content"].keys()
    for path in document["paths"].values():
        for operation in path.values():  # what the service answers before it looks at the route
            assert {"400", "414", "431"} <= operation["responses"].keys()
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.slow
def test_no_input_makes_an_answer_that_is_not_documented(service: Running) -> None:
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    headers = {"Authorization": f"Bearer {service.key(*RIGHTS, datasets=['records', 'sellers'])}"}
    problems: list[str] = []
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(15)
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            case.call_and_validate(headers=headers, checks=CHECKS)

        try:
            check()
        except Exception as error:
            problems.append(f"{operation.label}: {error}")
    assert not problems, "\n\n".join(problems)


@pytest.mark.slow
def test_no_sequence_of_calls_makes_an_answer_that_is_not_documented(service: Running) -> None:
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    headers = {"Authorization": f"Bearer {service.key(*RIGHTS, datasets=['records', 'sellers'])}"}

    class Calls(schema.as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": headers}

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            case.validate_response(response, checks=CHECKS)

    Calls.run(settings=hypothesis.settings(settings(15), stateful_step_count=10))
