"""Downloads of exports in parts: a ZIP of all, a list, and each by itself."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from export_pipeline.jobs import Attempt, File
from export_pipeline.settings import Settings
from export_pipeline.store.keys import request_key
from export_pipeline.store.manifest import Manifest, read_manifest
from export_pipeline.store.parts import PartedUpload, RenderedPart
from export_pipeline.store.publish import publish
from export_pipeline_tests.api.service import Running, serving, start
from export_pipeline_tests.api.test_exports import ask, problem
from export_pipeline_tests.api.test_inline import get
from export_pipeline_tests.api.test_links import PERSON
from export_pipeline_tests.services.fixtures import Bucket

PARTS = [b"a\r\n1\r\n2\r\n", b"a\r\n3\r\n"]


@pytest.fixture
def export(service: Running, accounts: list[str], tmp_path: Path) -> str:
    """The id of a completed export in two parts."""
    return export_parts(service, accounts[0], tmp_path)


def export_parts(service: Running, account: str, folder: Path) -> str:
    made = str(ask(service.client(), account)["id"])
    job = start(service.ledger, made)
    key = request_key(job.scope, job.id, "csv")
    with PartedUpload(service.store, key, folder, media_type="text/csv", file_name="a.csv") as upload:
        for row, content in zip((1, 3), PARTS, strict=True):
            part = upload.begin(row)
            part.write(content)
            part.finish()
            upload.add(RenderedPart(part, row, content.count(b"\n") - 1))
        stored, _ = publish(
            service.store,
            upload,
            lambda stored: Manifest(
                name="export", path=key.rpartition("/")[2], bytes=stored.bytes, hash=f"sha256:{stored.sha256}",
                format="csv", mediatype="text/csv", rows=3, dataset=job.dataset, scope=job.scope,
                snapshot_at=datetime.now(UTC), parts=upload.parts,
            ),
        )  # fmt: skip
    file = File(key, "Süd.csv", stored.bytes, 3, stored.sha256)
    run = Attempt(job.id, job.attempt, job.run_id)
    service.ledger.completed(run, file, datetime.now(UTC) + timedelta(days=1))
    return made


def test_all_parts_come_as_one_zip_or_one_by_one(service: Running, export: str) -> None:
    client = service.client()
    listed = client.get(f"/v1/exports/{export}/parts").json()["data"]
    assert [(part["number"], part["file_name"], part["row_count"], part["file_size"]) for part in listed] == [
        (1, "Süd-0001.csv", 2, len(PARTS[0])),
        (2, "Süd-0002.csv", 1, len(PARTS[1])),
    ]
    whole = client.get(f"/v1/exports/{export}/file")
    assert (whole.status_code, whole.headers["content-type"]) == (200, "application/zip")
    assert "filename*=UTF-8''S%C3%BCd.csv.zip" in whole.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(whole.content)) as archive:
        assert [archive.read(part["file_name"]) for part in listed] == PARTS
    known = client.get(f"/v1/exports/{export}/file", headers={"If-None-Match": whole.headers["etag"]})
    assert known.status_code == 304
    for number, content in enumerate(PARTS, start=1):
        one = client.get(f"/v1/exports/{export}/file", params={"part": number})
        assert (one.content, one.headers["etag"]) == (content, f'"{listed[number - 1]["sha256"]}"')
    some = client.get(f"/v1/exports/{export}/file?part=2", headers={"Range": "bytes=3-5"})
    assert (some.status_code, some.content) == (206, PARTS[1][3:6])
    assert problem(client.get(f"/v1/exports/{export}/file?part=3")) == (404, "not_found")


def test_an_export_of_one_file_has_no_parts(service: Running, accounts: list[str]) -> None:
    client = service.client()
    made = ask(client, accounts[0])["id"]
    service.complete(made)
    assert client.get(f"/v1/exports/{made}/parts").json() == {"data": []}
    assert problem(client.get(f"/v1/exports/{made}/file?part=1")) == (404, "not_found")


def test_the_page_of_a_link_lists_the_parts(service: Running, export: str) -> None:
    client = service.client()
    url = client.post(f"/v1/exports/{export}/links", json={}).json()["url"]
    page = httpx.get(url, headers=PERSON).text
    assert "2 files" in page
    assert "Süd-0002.csv" in page
    assert httpx.get(f"{url}/file?part=2").content == PARTS[1]
    once = client.post(f"/v1/exports/{export}/links", json={"max_uses": 1}).json()["url"]
    assert "Süd-0002.csv" not in httpx.get(once, headers=PERSON).text  # each would be a use
    assert httpx.get(f"{once}/file").headers["content-type"] == "application/zip"


def test_a_download_is_a_use_of_a_link_be_it_all_parts_or_one(service: Running, export: str) -> None:
    client = service.client()

    def link(uses: int) -> str:
        return str(client.post(f"/v1/exports/{export}/links", json={"max_uses": uses}).json()["url"])

    once, twice = link(1), link(2)
    assert httpx.head(f"{once}/file").status_code == 200  # hands out nothing
    assert httpx.get(f"{once}/file?part=3").status_code == 404
    assert httpx.get(f"{once}/file").headers["content-type"] == "application/zip"
    assert problem(httpx.get(f"{once}/file")) == (410, "expired")
    assert [httpx.get(f"{twice}/file?part={part}").status_code for part in (1, 2, 1)] == [200, 200, 410]


def test_a_part_that_is_missing_costs_no_use_of_a_link(service: Running, export: str) -> None:
    """Nor is the answer a ZIP that breaks off."""
    url = service.client().post(f"/v1/exports/{export}/links", json={"max_uses": 1}).json()["url"]
    key = str(service.ledger.get(export).file_key)
    lost = read_manifest(service.store, key).part_keys(key)[1]
    content = service.store.path(lost).read_bytes()  # type: ignore[attr-defined]
    service.store.delete(lost)
    assert httpx.get(f"{url}/file").status_code == 410
    service.store.put_bytes(content, lost, media_type="text/csv")
    assert httpx.get(f"{url}/file").status_code == 200


@pytest.mark.slow
def test_parts_in_s3_come_as_one_zip_or_by_links_and_go_together(
    settings: Settings, accounts: list[str], bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bucket.server.environment().items():
        monkeypatch.setenv(name, value)
    on_s3 = {"store_url": bucket.url, "s3_endpoint_url": bucket.server.endpoint_url}
    with serving(settings.model_copy(update=on_s3)) as service:
        made, client = export_parts(service, accounts[0], tmp_path), service.client()
        whole = client.get(f"/v1/exports/{made}/file")
        with zipfile.ZipFile(io.BytesIO(whole.content)) as archive:
            assert [archive.read(f"Süd-000{number}.csv") for number in (1, 2)] == PARTS
        url = client.post(f"/v1/exports/{made}/links", json={"max_uses": 2}).json()["url"]
        assert "location" not in httpx.head(f"{url}/file?part=2").headers
        signed = httpx.get(f"{url}/file?part=2")
        file = httpx.get(signed.headers["location"])
        assert (signed.status_code, file.content) == (302, PARTS[1])
        assert "filename*=UTF-8''S%C3%BCd-0002.csv" in file.headers["content-disposition"]
        assert [httpx.get(f"{url}/file").status_code for _ in range(2)] == [200, 410]
        service.ledger.hold(made, True)
        assert client.delete(f"/v1/exports/{made}").status_code == 423
        assert len(list(service.store.list("exports/"))) == 3
        service.ledger.hold(made, False)
        assert client.delete(f"/v1/exports/{made}").status_code == 204
        assert list(service.store.list("exports/")) == []


def test_a_request_for_parts_of_a_pdf_is_refused(service: Running, accounts: list[str]) -> None:
    body = {
        "dataset": "records",
        "format": "pdf",
        "scope": accounts[0],
        "options": {"parts": {"max_rows": 5}},
    }
    answer = service.client().post("/v1/exports", json=body)
    assert problem(answer) == (422, "invalid_options")
    assert "pdf is always one file" in answer.text


@pytest.mark.parametrize("is_file_left", [False, True])
def test_an_export_in_parts_is_not_reused_for_one_that_is_made_at_once(
    service: Running, accounts: list[str], export: str, monkeypatch: pytest.MonkeyPatch, is_file_left: bool
) -> None:
    """Nor is a file that an attempt left under its key."""
    if is_file_left:
        service.store.put_bytes(b"old", str(service.ledger.get(export).file_key), media_type="text/csv")
    records = service.app.state.service.datasets["records"]
    monkeypatch.setattr(records, "attributes", records.attributes.model_copy(update={"reuse_seconds": 300}))
    answer = get(service, "csv", scope=accounts[0])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert len(answer.content.splitlines()) > 100
    assert {job.id for job in service.ledger.find()} == {export, answer.headers["export-id"]}
