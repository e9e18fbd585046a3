"""Backfills by HTTP: the past windows of one scope."""

import base64
import hashlib
import threading
import time
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from export_pipeline.api import downloads
from export_pipeline.settings import Settings
from export_pipeline.store import Store, manifest_key
from export_pipeline.store.folder import FolderStore
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
    replace_file(service.store, str(first.file_key), b"new")
    check_download(client.get(f"/v1/exports/{first.id}/file"), b"new")


@pytest.mark.parametrize("pause", [0.0, 0.05])
def test_so_it_is_if_it_was_made_again_in_the_moment_of_the_download(
    service: Running, accounts: list[str], monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    client, opened = service.client(), downloads._open_current
    first = service.complete(ask(client, accounts[0])["id"])

    def open_replaced(store: FolderStore, key: str, stack: ExitStack) -> Any:
        replacing = threading.Thread(target=replace_file, args=(store, key, b"new", pause))
        replacing.start()
        while store.stat(key).bytes != 3:
            time.sleep(0.001)
        result = opened(store, key, stack)
        replacing.join()
        return result

    monkeypatch.setattr(downloads, "_open_current", open_replaced)
    check_download(client.get(f"/v1/exports/{first.id}/file"), b"new")


def replace_file(store: Store, key: str, content: bytes, pause: float = 0) -> None:
    """Do what a new export of a window does: replace the file, and a moment later its manifest."""
    store.put_bytes(content, key, media_type="text/csv")
    time.sleep(pause)
    sha256 = hashlib.sha256(content).hexdigest()
    changes = {"bytes": len(content), "hash": f"sha256:{sha256}"}
    manifest = read_manifest(store, key).model_copy(update=changes)
    store.put_bytes(manifest.to_json(), manifest_key(key), media_type="application/json")


def check_download(answer: httpx.Response, content: bytes) -> None:
    sha256 = hashlib.sha256(content).digest()
    assert answer.content == content
    assert answer.headers["etag"] == f'"{sha256.hex()}"'
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(sha256).decode()}:"
