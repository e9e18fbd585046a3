"""Links for people: a page, the file, and the day on which they are dead."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import httpx
import pytest

from export_pipeline.delivery.send import deliver_due
from export_pipeline.jobs import EventKind, Status
from export_pipeline.jobs.database import open_engine
from export_pipeline.jobs.purge import purge
from export_pipeline.settings import Settings
from export_pipeline.store import StoreUnavailableError, manifest_key
from export_pipeline.store.manifest import read_manifest
from export_pipeline_tests.api.service import CONTENT, Running, serving, start
from export_pipeline_tests.api.test_exports import ask, problem
from export_pipeline_tests.delivery.mail_server import mail_server
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.services.fixtures import Bucket
from export_pipeline_tests.services.process import running, server_folder
from export_pipeline_tests.services.s3 import S3Server, answers, prepare
from export_pipeline_tests.tools import require_tool

PERSON = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def link_to(service: Running, scope: str, **body: int) -> tuple[str, str]:
    """A new export of the scope, and a link to it."""
    client = service.client()
    made = ask(client, scope)["id"]
    answer = client.post(f"/v1/exports/{made}/links", json=body)
    assert answer.status_code == 201, answer.text
    return made, answer.json()["url"]


def test_a_person_sees_a_page_and_downloads_with_one_click(service: Running, accounts: list[str]) -> None:
    made, url = link_to(service, accounts[0])
    service.complete(made, name="تقرير <b>.csv")
    page = httpx.get(url, headers=PERSON)
    assert page.status_code == 200
    assert "تقرير _b_.csv" in page.text
    assert "One row was odd." in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "no-referrer"
    button = re.search(r'href="(/d/[^"]+)"', page.text)
    assert button
    file = httpx.get(service.url + button[1], headers=PERSON)
    assert file.content == CONTENT
    assert "filename*=UTF-8''%D8%AA%D9%82" in file.headers["content-disposition"]
    event = service.ledger.events(made)[-1]
    assert (event.kind, event.details["by"]) == (EventKind.DOWNLOADED, "link")


def test_the_page_says_of_when_the_data_are_and_how_the_window_counts(
    service: Running, accounts: list[str]
) -> None:
    made, url = link_to(service, accounts[0])
    key = str(service.complete(made).file_key)
    manifest = read_manifest(service.store, key).model_copy(
        update={
            "period": "rows that existed by the end of 2026-10-31",
            "snapshot_at": datetime(2026, 11, 20, 6, 5, tzinfo=UTC),
        }
    )
    service.store.put_bytes(manifest.to_json(), manifest_key(key), media_type="application/json")
    page = httpx.get(url, headers=PERSON).text
    assert "<dd>rows that existed by the end of 2026-10-31</dd>" in page
    assert "<dt>Data as of</dt><dd>2026-11-20 06:05 UTC</dd>" in page
    assert "Made" not in page
    service.store.delete(manifest_key(key))
    assert "<dt>Made</dt>" in httpx.get(url, headers=PERSON).text


def test_a_program_gets_the_file_itself(service: Running, accounts: list[str]) -> None:
    made, url = link_to(service, accounts[0])
    assert problem(httpx.get(url)) == (409, "not_ready")
    service.complete(made)
    assert httpx.get(url).content == CONTENT
    assert httpx.get(url, headers={"Range": "bytes=0-3"}).status_code == 206


def test_pages_tell_of_progress_failure_and_cancelling(service: Running, accounts: list[str]) -> None:
    made, url = link_to(service, accounts[0])
    waiting = httpx.get(url, headers=PERSON)
    assert "It waits for its turn." in waiting.text
    assert waiting.headers["refresh"] == "3"
    job = start(service.ledger, made)
    service.ledger.progress(job.current, "Rendering", percent=61)
    assert "61 %: Rendering" in httpx.get(url, headers=PERSON).text
    service.ledger.failed(job.current, "source_error", "The table <orders> has no column total.")
    failed = httpx.get(url, headers=PERSON).text
    assert "The table &lt;orders&gt; has no column total." in failed
    assert made in failed
    service.ledger.retry(made)
    service.ledger.canceled(made)
    assert "This export was canceled" in httpx.get(url, headers=PERSON).text


@pytest.mark.slow
def test_a_link_dies_with_its_file_its_time_its_uses_or_its_maker(
    service: Running, accounts: list[str], database: Database
) -> None:
    def dead(url: str) -> bool:
        pages = [httpx.get(url, headers=PERSON), httpx.get(f"{url}/file", headers=PERSON)]
        assert problem(httpx.get(url)) == (410, "expired")
        return all(page.status_code == 410 and "no longer available" in page.text for page in pages)

    made, once = link_to(service, accounts[0], max_uses=1)
    service.complete(made)
    client = service.client()
    links = f"/v1/exports/{made}/links"
    short, revoked, lasting = (client.post(links, json=body).json() for body in ({"expires_in": 60}, {}, {}))
    assert httpx.get(once, headers=PERSON).status_code == 200  # the page is no download
    assert httpx.get(once).content == CONTENT
    assert dead(once)
    assert httpx.get(short["url"]).status_code == 200
    database.age("expires_at", 61, f"id = '{short['id']}'", table="export_links")
    assert dead(short["url"])
    assert client.delete(f"{links}/{revoked['id']}").status_code == 204
    assert dead(revoked["url"])
    listed = {one["id"]: one for one in client.get(links).json()["data"]}
    assert listed[short["id"]]["uses"] == 1
    assert "url" not in listed[short["id"]]
    assert httpx.get(lasting["url"]).status_code == 200
    database.age("expires_at", 2 * 86_400, f"id = '{made}'")
    assert dead(lasting["url"])
    assert purge(service.ledger, service.store, retention=timedelta(days=1)).counts["expired"] == 1
    assert service.ledger.get(made).status is Status.EXPIRED
    assert dead(lasting["url"])
    service.ledger.delete(made, service.store.delete)
    assert httpx.get(lasting["url"], headers=PERSON).status_code == 404


def uses(service: Running, made: str) -> int:
    """Uses of all links of an export."""
    listed = service.client().get(f"/v1/exports/{made}/links").json()["data"]
    return sum(int(one["uses"]) for one in listed)


def downloads(service: Running, job_id: str) -> int:
    """Number of recorded downloads of an export."""
    return sum(event.kind is EventKind.DOWNLOADED for event in service.ledger.events(job_id))


def test_only_an_answer_with_bytes_is_a_use(
    service: Running, accounts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, url = link_to(service, accounts[0], max_uses=2)
    service.complete(made)
    head = httpx.head(url)
    assert (head.status_code, int(head.headers["content-length"])) == (200, len(CONTENT))
    assert httpx.get(url, headers={"If-None-Match": head.headers["etag"]}).status_code == 304
    etag = head.headers["etag"]
    for refused in (
        "bytes=9999-",
        "bytes=9999-10000",
        "bytes=0-1,9999-",
        "bytes=-0",
        f"bytes={len(CONTENT)}-",
    ):
        for more in ({}, {"If-Range": etag}):
            answer = httpx.get(url, headers={"Range": refused, **more})
            assert (answer.status_code, answer.content) == (416, b"")
            assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"
    with monkeypatch.context() as away:
        away.setattr(service.store, "stat", _is_away)
        assert problem(httpx.get(url)) == (503, "unavailable")
    assert uses(service, made) == downloads(service, made) == 0
    # An outdated If-Range gives the whole file, and so is a use.
    whole = httpx.get(url, headers={"Range": "bytes=9999-", "If-Range": '"old"'})
    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert httpx.get(url, headers={"Range": "bytes=3-"}).status_code == 206
    assert uses(service, made) == 2
    assert problem(httpx.get(url, headers={"Range": "bytes=3-"})) == (410, "expired")
    assert httpx.head(url).status_code == 410


def _is_away(*_: object) -> NoReturn:
    raise StoreUnavailableError("the disk is not mounted")


@pytest.mark.slow
@pytest.mark.parametrize("token", ["A" * 27, "A" * 26, "%2e%2e", "a' OR '1'='1", "\u202e" * 27, "A" * 99])
def test_an_altered_token_opens_nothing(service: Running, accounts: list[str], token: str) -> None:
    made, _ = link_to(service, accounts[0])
    service.complete(made)
    assert httpx.get(f"{service.url}/d/{token}").status_code == 404
    assert httpx.get(f"{service.url}/d/{token}", headers=PERSON).status_code == 404


def test_links_are_made_by_those_who_see_the_export(service: Running, accounts: list[str]) -> None:
    made, url = link_to(service, accounts[0])
    foreign = service.client(scopes=[accounts[1]])
    for method in ("POST", "GET"):
        assert problem(foreign.request(method, f"/v1/exports/{made}/links")) == (404, "not_found")
        without = service.client("exports:read", "exports:write")
        assert problem(without.request(method, f"/v1/exports/{made}/links")) == (403, "forbidden")
    client = service.client()
    assert problem(client.delete(f"/v1/exports/{made}/links/nothing")) == (404, "not_found")
    for body in ({"expires_in": 0}, {"expires_in": 10**9}, {"max_uses": 0}, {"url": "x"}):
        assert client.post(f"/v1/exports/{made}/links", json=body).status_code == 422
    token = url.rpartition("/")[2]
    engine = open_engine(service.settings.jobs_url)
    with engine.connect() as connection:
        assert token not in str(connection.exec_driver_sql("SELECT * FROM export_links").all())
    engine.dispose()


@pytest.mark.slow
def test_on_s3_a_link_is_signed_at_each_click(
    settings: Settings, accounts: list[str], bucket: Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    on_s3 = settings.model_copy(update={"store_url": bucket.url, "s3_endpoint_url": s3.endpoint_url})
    with serving(on_s3) as service:
        made, url = link_to(service, accounts[0])
        service.complete(made)
        assert "Signature" not in url
        head = httpx.head(url)  # with a signed address anybody could download, unseen
        assert (head.status_code, int(head.headers["content-length"])) == (200, len(CONTENT))
        assert "location" not in head.headers
        assert uses(service, made) == downloads(service, made) == 0
        answer = httpx.get(url)
        assert answer.status_code == 302
        assert answer.headers["cache-control"] == "no-store"
        signed = answer.headers["location"]
        assert "X-Amz-Expires=300" in signed
        file = httpx.get(signed)
        assert file.content == CONTENT
        assert "Kita%20S%C3%BCd.csv" in file.headers["content-disposition"]
        client = service.client()
        assert httpx.get(client.get(f"/v1/exports/{made}/file").headers["location"]).content == CONTENT
        assert client.delete(f"/v1/exports/{made}").status_code == 204
        assert httpx.get(signed).status_code == 404
        assert httpx.get(url).status_code == 404
        gone, url = link_to(service, accounts[0], max_uses=1)
        key = str(service.complete(gone).file_key)
        service.store.delete(key)
        assert httpx.get(url).status_code == 410
        assert uses(service, gone) == 0


def test_a_recipient_unsubscribes_by_a_button_and_not_by_opening_the_link(
    service: Running, accounts: list[str], database: Database
) -> None:
    made = ask(service.client(), accounts[0])["id"]
    ((mail_id,),) = database.run(
        "INSERT INTO export_deliveries (job_id, attempt, kind, recipient) "
        "VALUES (?, 1, 'file', 'Ann@example.org') RETURNING id",
        made,
    )
    url = f"{service.url}/unsubscribe/{mail_id}"
    assert httpx.get(url, headers=PERSON).status_code == 404  # asked for once: no subscription
    schedule = service.client("schedules:write").post(
        "/v1/schedules",
        json={
            "dataset": "records",
            "format": "csv",
            "scope": accounts[0],
            "cadence": "cron",
            "cron": "0 7 * * 1-5",
        },
    )
    assert schedule.status_code == 201, schedule.text
    ((job_id,),) = database.run(
        "INSERT INTO export_jobs (dataset, format, scope, schedule_id) VALUES ('records', 'csv', ?, ?) RETURNING id",
        accounts[0], schedule.json()["id"],
    )  # fmt: skip
    ((mail_id,),) = database.run(
        "INSERT INTO export_deliveries (job_id, attempt, kind, recipient) "
        "VALUES (?, 1, 'file', 'Ann@example.org') RETURNING id",
        str(job_id),
    )
    url = f"{service.url}/unsubscribe/{mail_id}"
    page = httpx.get(url, headers=PERSON)
    assert (page.status_code, "ann@example.org" in page.text) == (200, True)
    assert database.run("SELECT count(*) FROM export_unsubscribes") == [(0,)]
    done = httpx.post(url, data={"List-Unsubscribe": "One-Click"})
    assert done.status_code == 200
    assert "You are unsubscribed" in done.text
    assert database.run("SELECT recipient FROM export_unsubscribes") == [("ann@example.org",)]
    assert httpx.post(f"{service.url}/unsubscribe/{job_id}").status_code == 404


@pytest.mark.slow
def test_a_mails_link_outlives_the_keys_of_the_store_and_dies_with_its_file(
    settings: Settings, accounts: list[str], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server_folder("s3") as folder, mail_server() as mails:
        command, old = prepare(str(require_tool("weed")), folder)
        changed = {
            "store_url": "s3://exports/team", "s3_endpoint_url": old.endpoint_url,
            "smtp_url": mails.url, "mail_from": "Exports <exports@example.org>", "mail_attach_bytes": 0,
            "api_url": "https://exports.example.org",
        }  # fmt: skip
        on_s3 = settings.model_copy(update=changed)

        @contextmanager
        def store_with(keys: S3Server, name: str) -> Iterator[None]:
            for variable, value in keys.environment().items():
                monkeypatch.setenv(variable, value)
            (folder / name).mkdir()
            with running(command, folder / name, ready=lambda: answers(keys), stop_signal="KILL"):
                yield

        with store_with(old, "old"), serving(on_s3) as service:
            old.client().create_bucket(Bucket="exports")
            made = ask(service.client(), accounts[0], recipients=["ann@example.org"])["id"]
            service.complete(made, days=7)
            engine = open_engine(on_s3.jobs_url)
            assert deliver_due(engine, service.store, on_s3).sent == 1
            engine.dispose()
            text = mails.to("ann@example.org").get_body(("plain",)).get_content()  # type: ignore[union-attr]
            (link,) = re.findall(r"https://exports\.example\.org(/d/\S+)", text)
            signed = httpx.get(service.url + link).headers["location"]
            assert httpx.get(signed).content == CONTENT
        new = S3Server(old.endpoint_url, "CHANGED", "other secret of the store")
        config = folder / "s3.json"
        config.write_text(
            config.read_text().replace(old.access_key, new.access_key).replace(old.secret_key, new.secret_key)
        )
        with store_with(new, "new"), serving(on_s3) as service:
            database.age("expires_at", 3 * 86_400, f"id = '{made}'")  # three days later
            assert httpx.get(signed).status_code == 403
            page = httpx.get(service.url + link, headers=PERSON)
            assert (page.status_code, "Kita Süd.csv" in page.text) == (200, True)
            until = time.monotonic() + 30  # the server answers before it has found all of its files
            while (file := httpx.get(f"{service.url}{link}/file", follow_redirects=True)).status_code == 503:
                assert time.monotonic() < until
                time.sleep(0.2)
            assert file.content == CONTENT
            database.age("expires_at", 5 * 86_400, f"id = '{made}'")  # the day after it has expired
            gone = httpx.get(service.url + link, headers=PERSON)
            assert (gone.status_code, "no longer available" in gone.text) == (410, True)
            assert problem(httpx.get(f"{service.url}{link}/file")) == (410, "expired")
