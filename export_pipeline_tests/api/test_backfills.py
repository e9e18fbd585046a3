"""Backfills by HTTP: the past windows of one scope."""

from export_pipeline_tests.api.service import Running
from export_pipeline_tests.api.test_exports import problem

BODY = {"dataset": "records", "cadence": "daily", "from": "2026-01-05", "to": "2026-01-07"}
NONE = {"new": 0, "repeated": 0, "retried": 0, "waiting": 0, "completed": 0}


def test_the_windows_of_one_scope_are_requested_once(service: Running, accounts: list[str]) -> None:
    client = service.client("exports:read", "exports:write", acts_for="ann@example.org")
    body = BODY | {"scope": accounts[0]}
    first = client.post("/v1/backfills", json=body)
    assert (first.status_code, first.json()) == (202, NONE | {"new": 3}), first.text
    assert client.post("/v1/backfills", json=body).json() == NONE | {"waiting": 3}
    listed = client.get("/v1/exports", params={"scope": accounts[0]}).json()["data"]
    assert {(one["format"], one["status"]) for one in listed} == {("csv", "pending")}
    assert len(listed) == 3


def test_what_cannot_be_backfilled_is_refused(service: Running, accounts: list[str]) -> None:
    client = service.client("exports:write", scopes=[accounts[0]])
    refused = {
        (422, "unknown_window"): {"scope": accounts[0], "cadence": "weekly"},
        (422, "unknown_format"): {"scope": accounts[0], "formats": ["pdf"]},
        (404, "not_found"): {"scope": accounts[1]},
        (422, "unknown_dataset"): {"scope": accounts[0], "dataset": "recods"},
    }
    for answer, change in refused.items():
        assert problem(client.post("/v1/backfills", json=BODY | change)) == answer
    late = BODY | {"scope": accounts[0], "from": "2099-01-01", "to": "2099-02-01"}
    assert problem(client.post("/v1/backfills", json=late)) == (422, "unknown_window")
    assert problem(service.client("exports:write").post("/v1/backfills", json=BODY)) == (422, "no_scope")
    assert service.client("exports:read").post("/v1/backfills", json=BODY).status_code == 403
    assert service.ledger.find() == []
