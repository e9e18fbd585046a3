"""Requests by HTTP: what is invalid is refused before it is in the ledger, and scopes may be named."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.api import service as service_module
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.demo import ecology
from export_pipeline.settings import Settings
from export_pipeline_tests.api.service import CONTENT, Running, serving
from export_pipeline_tests.api.test_exports import ask, problem


@pytest.mark.parametrize(
    ("changes", "code", "pointer", "allowed"),
    [
        ({"dataset": "nothing"}, "unknown_dataset", "/dataset", "records"),
        ({"format": "doc"}, "unknown_format", "/format", "csv"),
        ({"format": None, "formats": ["csv", "doc"]}, "unknown_format", "/formats/1", "csv"),
        ({"scope": None}, "no_scope", "/scope", None),
        ({"scope": "nobody"}, "unknown_scope", "/scope", None),
        ({"dataset": "sellers"}, "unknown_scope", "/scope", None),
        ({"columns": ["nothing"]}, "invalid_options", "/columns", None),
        ({"preset": "nothing"}, "invalid_options", "/preset", None),
        ({"sort": ["nothing"]}, "invalid_options", "/sort", None),
        ({"filters": {"nothing": {"equals": 1}}}, "invalid_options", "/filters/nothing", None),
        ({"filters": {"status": {"in": ["SUCCESFUL"]}}}, "invalid_options", "/filters/status/in/0", None),
        ({"filters": {"sale_date": {"range": {"from": "tomorrow"}}}}, "invalid_options", "/filters/sale_date/range/from", None),
        ({"options": {"csv_bom": "perhaps"}}, "invalid_options", "/options/csv_bom", None),
        ({"options": {"csv_bon": True}}, "invalid_options", "/options/csv_bon", "csv_bom"),
        ({"options": {"requested_by": "boss"}}, "invalid_options", "/options/requested_by", None),
        ({"recipients": ["nobody"]}, "invalid_recipients", "/recipients", None),
        ({"colums": []}, "invalid_request", "/colums", None),
        ({"formats": ["csv"]}, "invalid_request", "", None),
        ({"priority": 10_000}, "invalid_request", "/priority", None),
    ],
)  # fmt: skip
def test_an_invalid_request_is_refused_before_a_row_is_inserted(
    service: Running,
    accounts: list[str],
    changes: dict[str, Any],
    code: str,
    pointer: str,
    allowed: str | None,
) -> None:
    body = {"dataset": "records", "format": "csv", "scope": accounts[0], "preset": "financial", **changes}
    answer = service.client().post("/v1/exports", json={k: v for k, v in body.items() if v is not None})
    assert problem(answer) == (422, code)
    error = answer.json()["errors"][0]
    assert error["pointer"].startswith(pointer)
    assert allowed is None or allowed in error["allowed"]
    assert service.ledger.find() == []


def test_a_scope_may_be_named_but_not_that_of_others(service: Running, accounts: list[str]) -> None:
    mine, theirs = service.client(scopes=[accounts[0]]), service.client(scopes=[accounts[1]])
    (named,) = mine.get("/v1/datasets/records/scopes").json()["data"]
    assert ask(mine, named["name"])["scope"] == accounts[0]
    (listed,) = mine.get("/v1/exports", params={"scope": named["name"], "dataset": "records"}).json()["data"]
    assert listed["scope"] == accounts[0]
    for client in (mine, service.client()):  # without a dataset too: the name is looked up in all
        (alike,) = client.get("/v1/exports", params={"scope": named["name"]}).json()["data"]
        assert alike["id"] == listed["id"]
    assert service.client().get("/v1/exports", params={"scope": accounts[1]}).json()["data"] == []
    body = {"dataset": "records", "format": "csv", "scope": named["name"]}
    assert problem(theirs.post("/v1/exports", json=body)) == (404, "not_found")


def test_every_route_that_takes_a_scope_takes_its_name(service: Running, accounts: list[str]) -> None:
    client = service.client("exports:read", "exports:write", "schedules:write")
    name = {one["id"]: one["name"] for one in client.get("/v1/datasets/records/scopes").json()["data"]}[
        accounts[0]
    ]
    body = {"dataset": "records", "scope": name, "cadence": "daily"}
    assert client.post("/v1/schedules", json={**body, "format": "csv"}).json()["scope"] == accounts[0]
    backfill = client.post("/v1/backfills", json={**body, "from": "2026-02-01", "to": "2026-02-02"})
    assert backfill.json()["new"] == 2, backfill.text
    file = client.get("/v1/datasets/records/export.csv", params={"scope": name})
    assert file.status_code == 200, file.text
    made = client.get("/v1/exports", params={"scope": name}).json()["data"]
    assert {one["scope"] for one in made} == {accounts[0]}
    assert len(made) == 3


def test_a_name_of_several_scopes_is_refused_with_their_ids(
    service: Running, accounts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "read_scopes", lambda *_, **__: dict.fromkeys(accounts, "Twins"))
    body = {"dataset": "records", "format": "csv", "scope": "twins"}
    answer = service.client().post("/v1/exports", json=body)
    assert problem(answer) == (422, "unknown_scope")
    assert all(account in answer.json()["detail"] for account in accounts)
    of_any = service.client().get("/v1/exports", params={"scope": "twins"})
    assert problem(of_any) == (422, "unknown_scope")
    assert all(account in of_any.json()["detail"] for account in accounts)
    # Of those that a caller may see, one has the name.
    assert ask(service.client(scopes=[accounts[1]]), "twins")["scope"] == accounts[1]


@pytest.mark.parametrize(
    "fields", [{"format": "occurrences_simple_csv"}, {"formats": ["occurrences_simple_csv"]}]
)
def test_a_format_may_be_named_by_an_alias(
    settings: Settings,
    declared: Mapping[str, Dataset],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fields: Any,
) -> None:
    url = f"sqlite:///{tmp_path}/ecology.db"
    engine = sa.create_engine(url)
    ecology.fill(engine)
    engine.dispose()
    monkeypatch.setattr(service_module, "load_datasets", lambda: declared)
    with serving(settings.model_copy(update={"source_url": url})) as service:
        client = service.client()
        schema = client.get("/v1/datasets/occurrences/schema").json()
        assert schema["properties"]["format"]["enum"][-2:] == [
            "occurrences_api_json",
            "occurrences_simple_csv",
        ]
        body = {"dataset": "occurrences", "scope": str(ecology.MEADOW), **fields}
        answer = client.post("/v1/exports", json=body)
        assert answer.status_code == 202, answer.text
        made = answer.json()["data"][0] if "formats" in fields else answer.json()
        assert made["format"] == "occurrences_simple_csv"
        service.complete(made["id"])
        file = client.get(f"/v1/exports/{made['id']}/file")
        assert (file.content, file.headers["content-type"]) == (CONTENT, "text/csv; charset=utf-8")
        assert problem(
            client.post("/v1/exports", json={**body, "formats": None, "format": "simple_csv"})
        ) == (
            422,
            "unknown_format",
        )
