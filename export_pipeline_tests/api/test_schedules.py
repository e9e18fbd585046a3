"""Schedules by HTTP: made, read, changed by those who know their state, run and deleted."""

from typing import Any

import httpx
import pytest

from export_pipeline.jobs.database import open_engine
from export_pipeline.schedules.editing import list_schedules
from export_pipeline_tests.api.service import Running
from export_pipeline_tests.api.test_exports import problem

ALL = ["schedules:read", "schedules:write", "exports:read"]
PARTS = {"parts": {"max_rows": 1000}}


def create(client: httpx.Client, account: str, **more: Any) -> httpx.Response:
    body = {"dataset": "records", "format": "csv", "scope": account, "cadence": "daily", "hour": 7, **more}
    return client.post("/v1/schedules", json=body)


def test_a_schedule_is_made_changed_paused_run_and_deleted(service: Running, accounts: list[str]) -> None:
    client = service.client(*ALL, acts_for="ann@example.org")
    answer = create(client, accounts[0], timezone="Europe/Berlin")
    assert answer.status_code == 201, answer.text
    made, url, tag = answer.json(), answer.headers["location"], answer.headers["etag"]
    assert (made["owner"], made["active"]) == ("ann@example.org", True)
    assert made["next_run"] is not None
    assert client.get(url).headers["etag"] == tag
    changed = client.patch(url, json={"hour": 8}, headers={"If-Match": tag})
    assert (changed.status_code, changed.json()["hour"], changed.json()["cadence"]) == (200, 8, "daily")
    assert problem(client.patch(url, json={"hour": 9}, headers={"If-Match": tag})) == (
        412,
        "precondition_failed",
    )
    assert problem(client.patch(url, json={"hour": 9})) == (428, "precondition_required")
    paused = client.patch(url, json={"active": False}, headers={"If-Match": changed.headers["etag"]})
    assert (paused.json()["active"], paused.json()["next_run"]) == (False, None)
    assert client.get("/v1/schedules", params={"active": True}).json()["data"] == []
    resumed = client.patch(url, json={"active": True}, headers={"If-Match": "*"})
    assert resumed.json()["active"]
    ran = client.post(f"{url}/run")
    assert ran.status_code == 202
    assert client.get(ran.headers["location"]).json()["schedule_id"] == made["id"]
    assert problem(client.delete(url, headers={"If-Match": tag})) == (412, "precondition_failed")
    assert client.delete(url).status_code == 204
    assert problem(client.get(url)) == (404, "not_found")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"dataset": "nothing"}, "/dataset"), ({"format": "doc"}, "/format"),
        ({"hour": 24}, "/hour"), ({"timezone": "Mars"}, "/timezone"), ({"scope": "nobody"}, "/scope"), ({"scope": None}, "/scope"),
        ({"recipients": ["nobody"]}, "/recipients"), ({"filters": {"nothing": {}}}, "/filters"), ({"cadence": "yearly"}, "/cadence"),
        ({"options": {"window": {}}}, "/options"), ({"owner": "boss"}, "/owner"),
        ({"options": PARTS, "format": "json"}, "/options/parts"),
        ({"options": PARTS, "additional_formats": ["json"]}, "/options/parts"),
    ],
)  # fmt: skip
def test_a_schedule_whose_runs_would_fail_is_refused(
    service: Running, accounts: list[str], changes: dict[str, Any], pointer: str
) -> None:
    answer = create(service.client(*ALL), accounts[0], **changes)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"].startswith(pointer)
    engine = open_engine(service.settings.jobs_url)
    assert list_schedules(engine) == []
    engine.dispose()


def test_a_schedule_of_parts_takes_no_format_that_is_one_file_later(
    service: Running, accounts: list[str]
) -> None:
    client = service.client(*ALL)
    url = create(client, accounts[0], options=PARTS, additional_formats=["parquet"]).headers["location"]
    answer = client.patch(url, json={"additional_formats": ["json"]}, headers={"If-Match": "*"})
    assert answer.status_code == 422
    assert "json is always one file; parts are for csv, jsonl, excel, parquet" in answer.text
    assert client.get(url).json()["additional_formats"] == ["parquet"]


def test_schedules_of_another_scope_or_person_do_not_exist(service: Running, accounts: list[str]) -> None:
    url = create(service.client(*ALL, acts_for="ann@example.org"), accounts[0]).headers["location"]
    strangers = [
        service.client(*ALL, scopes=[accounts[1]]),
        service.client(*ALL, acts_for="ben@example.org"),
        service.client(*ALL, datasets=["takeoff"]),
    ]
    for client in strangers:
        assert client.get("/v1/schedules").json()["data"] == []
        for method, path, body in [
            ("GET", "", None),
            ("PATCH", "", {"hour": 1}),
            ("DELETE", "", None),
            ("POST", "/run", None),
        ]:
            answer = client.request(method, url + path, json=body, headers={"If-Match": "*"})
            assert problem(answer) == (404, "not_found"), (method, path)
    assert problem(create(strangers[0], accounts[0])) == (404, "not_found")
    for spelt in ("urn:uuid:7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11", "7e1c9a520d4b4f439f6e6a0d8f3f2b11", "'"):
        assert problem(strangers[0].get(f"/v1/schedules/{spelt}")) == (404, "not_found")
    reader = service.client("schedules:read")
    assert problem(create(reader, accounts[0])) == (403, "forbidden")
    assert problem(reader.delete(url)) == (403, "forbidden")
    assert problem(service.client("exports:read").get(url)) == (403, "forbidden")
