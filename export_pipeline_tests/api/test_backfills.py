"""Backfills by HTTP: the past windows of one scope."""

import base64
import hashlib

from export_pipeline.settings import Settings
from export_pipeline.store import manifest_key
from export_pipeline.store.manifest import read_manifest
from export_pipeline_tests.api.service import Running, serving
from export_pipeline_tests.api.test_exports import ask, problem

BODY = {"dataset": "records", "cadence": "daily", "from": "2026-01-05", "to": "2026-01-07"}
NONE = {"new": 0, "repeated": 0, "waiting": 0, "completed": 0, "held": 0}


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


def test_a_call_asks_for_so_many_exports_and_does_not_lock_out_others(
    settings: Settings, accounts: list[str]
) -> None:
    with serving(settings.model_copy(update={"api_max_pending": 3})) as service:
        client = service.client()
        body = BODY | {"scope": accounts[0]}
        assert client.post("/v1/backfills", json=body).json() == NONE | {"new": 3}
        refused = client.post("/v1/backfills", json=body | {"to": "2026-01-08"})
        assert problem(refused) == (413, "too_large")
        assert "4 exports, and a call may ask for 3 (EXPORT_API_MAX_PENDING)" in refused.json()["detail"]
        for _ in range(3):
            ask(client, accounts[0])
        late = {"dataset": "records", "format": "csv", "scope": accounts[0], "priority": -1}
        assert problem(client.post("/v1/exports", json=late)) == (429, "too_many_requests")


def test_who_sees_only_their_own_revives_nothing_of_others(service: Running, accounts: list[str]) -> None:
    ann = service.client("exports:read", "exports:write", acts_for="ann@example.org")
    bob = service.client("exports:read", "exports:write", acts_for="bob@example.org")
    body = BODY | {"scope": accounts[0]}
    ann.post("/v1/backfills", json=body)
    (first, *_) = ann.get("/v1/exports").json()["data"]
    service.ledger.canceled(first["id"])
    assert bob.post("/v1/backfills", json=body).json() == NONE | {"repeated": 1, "waiting": 2}
    assert ann.get(f"/v1/exports/{first['id']}").json()["status"] == "canceled"
    assert [one["status"] for one in bob.get("/v1/exports").json()["data"]] == ["pending"]


def test_the_hash_of_a_file_that_was_made_again_is_that_of_the_new_one(
    service: Running, accounts: list[str]
) -> None:
    client = service.client()
    first = service.complete(ask(client, accounts[0])["id"])
    service.store.put_bytes(b"new", str(first.file_key), media_type="text/csv")
    manifest = read_manifest(service.store, str(first.file_key))
    sha256 = hashlib.sha256(b"new").digest()
    replaced = manifest.model_copy(update={"bytes": 3, "hash": f"sha256:{sha256.hex()}"})
    beside = manifest_key(str(first.file_key))
    service.store.put_bytes(replaced.to_json(), beside, media_type="application/json")
    answer = client.get(f"/v1/exports/{first.id}/file")
    assert answer.content == b"new"
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(sha256).decode()}:"
    assert answer.headers["etag"] == f'"{sha256.hex()}"'
