"""Routes that list datasets."""

from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest

from export_pipeline.api.datasets import request_schema
from export_pipeline.datasets.dataset import Dataset
from export_pipeline_tests.api.service import Running
from export_pipeline_tests.api.test_exports import problem


def test_datasets_are_listed_and_described(service: Running) -> None:
    client = service.client()
    listed = client.get("/v1/datasets").json()["data"]
    assert {"records", "sellers", "takeoff"} <= {one["name"] for one in listed}
    records = client.get("/v1/datasets/records").json()
    assert records["scoped"]
    assert records["filters"] == {"status": ["equals", "in"], "sale_date": ["range"]}
    assert records["presets"] == ["essential", "financial", "all"]
    guarded = [column["name"] for column in records["columns"] if column["guarded"]]
    assert guarded == ["order_remark", "service_remark"]
    assert problem(client.get("/v1/datasets/nothing")) == (404, "not_found")


def test_scopes_are_found_by_id_or_name(service: Running, accounts: list[str]) -> None:
    client = service.client()
    everybody = client.get("/v1/datasets/records/scopes").json()["data"]
    assert sorted(one["id"] for one in everybody) == accounts
    name = everybody[0]["name"]
    listed = client.get("/v1/datasets/records/scopes", params={"q": name[:4].upper()}).json()["data"]
    assert everybody[0] in listed
    assert problem(client.get("/v1/datasets/sellers/scopes")) == (404, "not_found")


def test_only_what_the_caller_may_see_is_listed(service: Running, accounts: list[str]) -> None:
    client = service.client(datasets=["records", "sellers"], scopes=[accounts[0]])
    assert [one["name"] for one in client.get("/v1/datasets").json()["data"]] == ["records"]
    for path in ("", "/schema", "/scopes"):
        assert problem(client.get(f"/v1/datasets/takeoff{path}")) == (404, "not_found")
        assert problem(client.get(f"/v1/datasets/sellers{path}")) == (404, "not_found")
    scopes = client.get("/v1/datasets/records/scopes").json()["data"]
    assert [one["id"] for one in scopes] == [accounts[0]]
    assert problem(service.client("links:create").get("/v1/datasets")) == (403, "forbidden")


def test_every_schema_is_valid(declared: Mapping[str, Dataset]) -> None:
    for dataset in declared.values():
        jsonschema.Draft202012Validator.check_schema(request_schema(dataset))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "valid"),
    [
        ({}, True),
        ({"preset": "financial", "columns": ["id", "order_remark"], "options": {"csv_bom": True}}, True),
        (
            {"filters": {"status": {"in": ["SUCCESSFUL"]}, "sale_date": {"range": {"from": "2026-01-01"}}}},
            True,
        ),
        ({"format": "doc"}, False),
        ({"columns": ["nothing"]}, False),
        ({"preset": "nothing"}, False),
        ({"filters": {"nothing": {"equals": 1}}}, False),
        ({"filters": {"status": {"equals": "LOST"}}}, False),
        ({"filters": {"status": {"in": []}}}, False),
        ({"options": {"csv_bom": "perhaps"}}, False),
        ({"options": {"requested_by": "boss"}}, False),
        ({"requested_by": "boss"}, False),
    ],
)
def test_a_schema_accepts_what_the_service_accepts(
    service: Running, accounts: list[str], changes: dict[str, Any], valid: bool
) -> None:
    client = service.client()
    body = {"dataset": "records", "format": "csv", "scope": accounts[0], **changes}
    schema = client.get("/v1/datasets/records/schema").json()
    assert jsonschema.Draft202012Validator(schema).is_valid(body) is valid
    assert client.post("/v1/exports", json=body).status_code == (202 if valid else 422)
