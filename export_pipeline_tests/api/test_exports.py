"""Exports by HTTP: ask, follow, list, cancel, retry, delete, download."""

import base64
import hashlib
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
import sqlalchemy as sa

from export_pipeline.api import downloads
from export_pipeline.api.problems import Problem
from export_pipeline.jobs import EventKind, Status
from export_pipeline.rights import RIGHTS
from export_pipeline.sources.snapshot import SourceUnavailableError
from export_pipeline.store.folder import FolderStore
from export_pipeline.store.keys import manifest_key
from export_pipeline_tests.api.service import CONTENT, Running, start
from export_pipeline_tests.jobs.database import Database


def ask(client: httpx.Client, scope: str, **more: Any) -> dict[str, Any]:
    body = {"dataset": "records", "format": "csv", "scope": scope, **more}
    answer = client.post("/v1/exports", json=body)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["request_id"] == answer.headers["x-request-id"]
    return answer.status_code, problem["code"]


def test_an_export_is_asked_for_followed_downloaded_and_deleted(
    service: Running, accounts: list[str]
) -> None:
    client = service.client(name="backend")
    answer = client.post(
        "/v1/exports",
        json={"dataset": "records", "format": "csv", "scope": accounts[0], "preset": "financial"},
    )
    assert answer.status_code == 202
    made = answer.json()
    assert answer.headers["location"] == f"/v1/exports/{made['id']}"
    assert int(answer.headers["retry-after"]) > 0
    assert (made["status"], made["options"], made["requested_by"]) == (
        "pending",
        {"preset": "financial"},
        "key:backend",
    )
    assert problem(client.get(f"/v1/exports/{made['id']}/file")) == (409, "not_ready")
    service.complete(made["id"])
    done = client.get(answer.headers["location"]).json()
    digest = hashlib.sha256(CONTENT)
    assert done["status"] == "completed"
    assert done["file"] == {"name": "Kita Süd.csv", "size": len(CONTENT), "sha256": digest.hexdigest()}
    assert done["warnings"] == ["One row was odd."]
    file = client.get(f"/v1/exports/{made['id']}/file")
    assert (file.status_code, file.content) == (200, CONTENT)
    assert file.headers["etag"] == f'"{digest.hexdigest()}"'
    assert file.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert "filename*=UTF-8''Kita%20S%C3%BCd.csv" in file.headers["content-disposition"]
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert client.get(f"/v1/exports/{made['id']}/manifest").json()["rows"] == 1
    assert [event.kind for event in service.ledger.events(made["id"])][-1] is EventKind.DOWNLOADED
    assert client.delete(f"/v1/exports/{made['id']}").status_code == 204
    assert problem(client.get(f"/v1/exports/{made['id']}")) == (404, "not_found")
    assert list(service.store.list()) == []


def test_a_part_of_a_file_is_sent_and_a_known_one_is_not(service: Running, accounts: list[str]) -> None:
    client = service.client()
    made = ask(client, accounts[0])
    service.complete(made["id"])
    url = f"/v1/exports/{made['id']}/file"
    part = client.get(url, headers={"Range": "bytes=6-8"})
    assert (part.status_code, part.content) == (206, CONTENT[6:9])
    assert part.headers["content-range"] == f"bytes 6-8/{len(CONTENT)}"
    etag = part.headers["etag"]
    assert client.get(url, headers={"Range": "bytes=0-1", "If-Range": etag}).status_code == 206
    assert client.get(url, headers={"Range": "bytes=0-1", "If-Range": '"other"'}).status_code == 200
    assert client.get(url, headers={"If-None-Match": etag}).status_code == 304
    assert client.get(url, headers={"Range": "bytes=900-"}).status_code == 416
    head = client.head(url)
    assert (head.status_code, head.content, int(head.headers["content-length"])) == (200, b"", len(CONTENT))


@pytest.mark.parametrize("meanwhile", ["removed", "shorter", "longer"])
def test_a_file_is_sent_as_it_was_when_its_download_is_recorded(
    service: Running, accounts: list[str], monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    client = service.client()
    made = ask(client, accounts[0])
    service.complete(made["id"])
    path = file_path(service, made["id"])
    record = downloads._record

    async def late(*arguments: Any) -> None:
        await record(*arguments)
        other = path.with_name("other")
        other.write_bytes(b"x" if meanwhile == "shorter" else CONTENT * 3)
        other.replace(path)
        if meanwhile == "removed":
            path.unlink()

    monkeypatch.setattr(downloads, "_record", late)
    file = client.get(f"/v1/exports/{made['id']}/file")
    assert (file.status_code, file.content) == (200, CONTENT)
    until = time.monotonic() + 10
    while is_open(path) and time.monotonic() < until:
        time.sleep(0.01)  # the service closes it after the last byte
    assert not is_open(path)


def test_a_download_that_is_refused_leaves_no_file_open(
    service: Running, accounts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = service.client()
    made = ask(client, accounts[0])
    service.complete(made["id"])
    refusals: list[Problem] = []

    async def refuse(*_: Any) -> None:
        refusals.append(Problem(410, "expired", "It was used as often as it may be."))
        raise refusals[0]

    monkeypatch.setattr(downloads, "_record", refuse)
    assert problem(client.get(f"/v1/exports/{made['id']}/file")) == (410, "expired")
    # The error is kept here with all its frames, as a log may do.
    assert refusals
    assert not is_open(file_path(service, made["id"]))


def file_path(service: Running, id: str) -> Path:
    """The path of an export's file in the store, which is a folder."""
    assert isinstance(service.store, FolderStore)
    return service.store.path(str(service.ledger.get(id).file_key))


def is_open(path: Path) -> bool:
    """Return whether this process has the file open that had this path, also if it was removed since."""
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            if os.readlink(descriptor).startswith(str(path)):
                return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "wrong"),
    [
        ("/v1/exports?dataset=records&dataset=sellers", "dataset"),
        ("/v1/exports?scope={scope}&scope={scope}", "scope"),
        ("/v1/exports?datset=records", "datset"),
        ("/v1/exports?Dataset=records", "Dataset"),
        ("/v1/exports?status[]=failed", "status[]"),
        ("/v1/exports/{id}?wait=1&wait=2", "wait"),
        ("/v1/exports/{id}/links?limit=1", "limit"),
        ("/v1/schedules?active=true&active=false", "active"),
        ("/v1/schedules?scope={scope}", "scope"),
        ("/v1/webhooks?dataset=records", "dataset"),
    ],
)
def test_a_parameter_that_would_be_dropped_is_refused(
    service: Running, accounts: list[str], address: str, wrong: str
) -> None:
    client = service.client(*RIGHTS)
    made = ask(client, accounts[0])
    answer = client.get(address.format(scope=accounts[0], id=made["id"]))
    assert problem(answer) == (422, "invalid_request")
    assert wrong in answer.json()["detail"]


def test_a_status_may_be_repeated(service: Running, accounts: list[str]) -> None:
    client = service.client()
    made = ask(client, accounts[0])
    listed = client.get("/v1/exports?status=pending&status=failed&dataset=records").json()["data"]
    assert [one["id"] for one in listed] == [made["id"]]


def test_several_formats_are_several_exports(service: Running, accounts: list[str]) -> None:
    body = {"dataset": "records", "formats": ["csv", "pdf"], "scope": accounts[0]}
    made = service.client().post("/v1/exports", json=body).json()["data"]
    assert [one["format"] for one in made] == ["csv", "pdf"]


def test_the_same_request_under_one_idempotency_key_is_one_export(
    service: Running, accounts: list[str]
) -> None:
    client = service.client()
    body = {"dataset": "records", "format": "csv", "scope": accounts[0]}
    headers = {"Idempotency-Key": "order 66"}
    first, second = (client.post("/v1/exports", json=body, headers=headers) for _ in range(2))
    assert first.json() == second.json()
    other = client.post("/v1/exports", json={**body, "preset": "all"}, headers=headers)
    assert problem(other) == (409, "idempotency_conflict")
    assert len(service.ledger.find()) == 1


def test_a_long_poll_answers_when_the_export_ends(service: Running, accounts: list[str]) -> None:
    client = service.client()
    made = ask(client, accounts[0])
    threading.Timer(0.5, service.complete, [made["id"]]).start()
    begun = time.monotonic()
    assert client.get(f"/v1/exports/{made['id']}", params={"wait": 30}).json()["status"] == "completed"
    assert 0.4 < time.monotonic() - begun < 25
    other = ask(client, accounts[0])
    assert client.get(f"/v1/exports/{other['id']}", params={"wait": 1}).json()["status"] == "pending"


def test_prefer_wait_answers_201_when_the_file_was_made_in_time(
    service: Running, accounts: list[str]
) -> None:
    client = service.client()

    def work() -> None:
        while not (jobs := service.ledger.find()):
            time.sleep(0.02)
        service.complete(jobs[0].id)

    worker = threading.Thread(target=work)
    worker.start()
    body = {"dataset": "records", "format": "csv", "scope": accounts[0]}
    answer = client.post("/v1/exports", json=body, headers={"Prefer": "respond-async, wait=20"})
    worker.join()
    assert (answer.status_code, answer.headers["preference-applied"]) == (201, "wait=20")
    assert answer.json()["status"] == "completed"


def test_lists_have_pages_in_order_and_filters(service: Running, accounts: list[str]) -> None:
    client = service.client()
    made = [ask(client, accounts[n % 2])["id"] for n in range(7)]
    service.ledger.canceled(made[0])
    ids, cursor = [], None
    while True:
        page = client.get("/v1/exports", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        ids += [one["id"] for one in page["data"]]
        if (cursor := page["next"]) is None:
            break
    assert ids == made[::-1]
    canceled = client.get("/v1/exports", params={"status": "canceled"}).json()["data"]
    assert [one["id"] for one in canceled] == [made[0]]
    of_scope = client.get("/v1/exports", params={"scope": accounts[1]}).json()["data"]
    assert [one["id"] for one in of_scope] == made[5::-2]
    at = client.get(f"/v1/exports/{made[3]}").json()["created_at"]
    later = client.get("/v1/exports", params={"created_after": at}).json()["data"]
    assert [one["id"] for one in later] == made[:3:-1]


def test_states_that_forbid_a_call_answer_409(service: Running, accounts: list[str]) -> None:
    client = service.client()
    made = ask(client, accounts[0])["id"]
    start(service.ledger, made)
    assert problem(client.post(f"/v1/exports/{made}/retry")) == (409, "state_conflict")
    assert problem(client.delete(f"/v1/exports/{made}")) == (409, "state_conflict")
    canceled = client.post(f"/v1/exports/{made}/cancel")
    assert (canceled.status_code, canceled.json()["status"]) == (202, "canceled")
    assert problem(client.get(f"/v1/exports/{made}/file")) == (409, "state_conflict")
    again = client.post(f"/v1/exports/{made}/retry")
    assert (again.status_code, again.json()["status"], again.json()["attempt"]) == (202, "pending", 2)
    done = service.complete(made)
    assert problem(client.post(f"/v1/exports/{made}/cancel")) == (409, "state_conflict")
    service.ledger.hold(made, True)
    assert problem(client.delete(f"/v1/exports/{made}")) == (423, "legal_hold")
    assert service.store.exists(str(done.file_key))


def test_a_copy_of_the_ledger_deletes_nothing(service: Running, accounts: list[str]) -> None:
    client = service.client()
    made = ask(client, accounts[0])["id"]
    key = str(service.complete(made).file_key)
    claim = f"ledgers/{service.ledger.deployment()}.json"
    service.store.put_bytes(b'{"database": "another one"}', claim, media_type="application/json")
    refused = client.delete(f"/v1/exports/{made}")
    assert problem(refused) == (409, "store_of_a_copy")
    assert "export-pipeline health" in refused.json()["detail"]
    assert service.store.exists(key)
    service.store.delete(claim)
    assert client.delete(f"/v1/exports/{made}").status_code == 204


def test_a_file_of_a_deleted_scope_is_not_given_away(
    service: Running, database: Database, accounts: list[str]
) -> None:
    client = service.client()
    made = ask(client, accounts[0])["id"]
    service.complete(made)
    service.ledger.hold(made, True)
    database.run("UPDATE export_jobs SET error_code = 'scope_deleted' WHERE id = ?", made)
    answer = client.get(f"/v1/exports/{made}/file")
    assert problem(answer) == (410, "expired")
    assert answer.json()["detail"].endswith("cannot be downloaded any more; it is kept under legal hold.")
    service.ledger.hold(made, False)
    detail = client.get(f"/v1/exports/{made}/file").json()["detail"]
    assert detail.endswith("was deleted, so its file cannot be downloaded any more.")


def test_a_damaged_manifest_is_no_fault_of_the_service(service: Running, accounts: list[str]) -> None:
    client = service.client()
    made = ask(client, accounts[0])["id"]
    key = manifest_key(str(service.complete(made).file_key))
    service.store.put_bytes(b"{ damaged", key, media_type="application/json")
    for path in ("manifest", "parts"):
        assert problem(client.get(f"/v1/exports/{made}/{path}")) == (410, "expired")


def test_a_name_is_not_listed_as_empty_while_the_source_is_away(
    service: Running, accounts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, limited = service.client(), service.client(scopes=accounts[:1])
    made = ask(client, accounts[0])["id"]

    def away(*_: object, **__: object) -> NoReturn:
        raise SourceUnavailableError("The source database cannot be reached.")

    service.app.state.service.scopes._known.clear()
    monkeypatch.setattr("export_pipeline.api.service.read_scopes", away)
    for one in (client, limited):
        answer = one.get("/v1/exports?scope=Kita%20S%C3%BCd")
        assert problem(answer) == (503, "unavailable")
        assert answer.headers["retry-after"]
        for more in ("", "&status=failed"):
            listed = one.get(f"/v1/exports?scope={accounts[0]}{more}")
            assert listed.status_code == 200
            assert [export["id"] for export in listed.json()["data"]] == ([] if more else [made])


def test_a_ledger_without_tables_is_away(service: Running, accounts: list[str]) -> None:
    client = service.client()

    def rename(old: str, new: str) -> None:
        with service.ledger.engine.begin() as connection:
            connection.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))

    rename("export_jobs", "away")
    try:
        answer = client.get("/v1/exports")
    finally:
        rename("away", "export_jobs")
    assert problem(answer) == (503, "unavailable")
    assert answer.headers["retry-after"]


def test_an_expired_or_lost_file_is_gone(service: Running, accounts: list[str]) -> None:
    client = service.client()
    made = ask(client, accounts[0])["id"]
    job = service.complete(made, days=-1)
    assert problem(client.get(f"/v1/exports/{made}/file")) == (410, "expired")
    service.ledger.expire(made, service.store.delete)
    assert service.ledger.get(made).status is Status.EXPIRED
    assert problem(client.get(f"/v1/exports/{made}/file")) == (410, "expired")
    other = ask(client, accounts[0])["id"]
    job = service.complete(other)
    service.store.delete(str(job.file_key))
    assert problem(client.get(f"/v1/exports/{other}/file")) == (410, "expired")


def test_health_readiness_metrics_and_errors_have_routes(service: Running) -> None:
    client = service.client("metrics:read")
    assert httpx.get(f"{service.url}/healthz").text == "ok\n"
    assert httpx.get(f"{service.url}/readyz").text == "ready\n"
    assert "export_pipeline_queue_depth" in client.get("/metrics").text
    assert problem(httpx.get(f"{service.url}/metrics")) == (401, "unauthenticated")
    assert httpx.get(f"{service.url}/errors/not_ready").status_code == 200
    assert problem(httpx.get(f"{service.url}/nothing")) == (404, "not_found")
