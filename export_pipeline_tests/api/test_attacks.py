"""Attacks on every route, and on the connection itself."""

import json
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from export_pipeline.api import change_notifier, server
from export_pipeline.jobs import migrate
from export_pipeline.jobs.api_keys import revoke_key
from export_pipeline.jobs.database import open_engine
from export_pipeline.settings import Settings, SettingsError, load_settings
from export_pipeline_tests.api.service import CONTENT, Running, serving
from export_pipeline_tests.api.test_exports import ask, problem
from export_pipeline_tests.api.test_inline import open_files
from export_pipeline_tests.api.test_links import downloads, link_to
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.paths import ROOT

OPEN = {"/healthz", "/readyz", "/errors/{code}", "/d/{token}", "/d/{token}/file", "/unsubscribe/{mail_id}"}


@pytest.fixture
def database(sqlite_database: Any) -> Any:
    """One kind of ledger is enough."""
    return sqlite_database


def routes(service: Running) -> Iterator[tuple[str, str]]:
    """Each method and path that wants a key, as the OpenAPI document lists them."""
    document = httpx.get(f"{service.url}/openapi.json").json()
    for path, operations in document["paths"].items():
        for method in operations:
            if path not in OPEN:
                yield method.upper(), re.sub(r"\{\w+\}", "7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11", path)


@pytest.mark.slow
def test_no_route_answers_without_a_valid_key_and_its_right(service: Running) -> None:
    engine = open_engine(service.settings.jobs_url)
    revoked = service.key("admin")
    revoke_key(engine, revoked.split("_")[1])
    engine.dispose()
    expired = service.key("admin", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    none = httpx.Client(base_url=service.url)
    dead = [
        httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {one}"})
        for one in (revoked, expired)
    ]
    wrong, other = service.client("metrics:read"), service.client("exports:read")
    answering = list(routes(service))
    assert len(answering) > 25
    for method, path in answering:
        # No body and no parameter: who may not call learns nothing of what is wrong with the call.
        for client, expected in (
            (none, 401),
            *((one, 401) for one in dead),
            (other if path == "/metrics" else wrong, 403),
        ):
            answer = client.request(method, path)
            assert answer.status_code == expected, (method, path, answer.text)
            assert "bearer" in answer.headers["www-authenticate"].lower()
            assert answer.headers["cache-control"] == "no-store"
    no_other = httpx.post(f"{service.url}/v1/exports", headers={"X-HTTP-Method-Override": "GET"})
    assert no_other.status_code == 401


@pytest.mark.parametrize(
    "part", ["bytes=1-", "bytes=00-", "bytes=,0-", "bytes=-9999", "BYTES=1-", "bytes=1-2,0-"]
)
def test_no_range_hides_a_download(service: Running, accounts: list[str], part: str) -> None:
    client = service.client()
    made = ask(client, accounts[0])["id"]
    service.complete(made)
    assert client.get(f"/v1/exports/{made}/file", headers={"Range": part}).status_code in (200, 206)
    assert downloads(service, made) == 1


def test_parts_of_one_download_count_once_and_those_of_another_caller_again(
    service: Running, accounts: list[str]
) -> None:
    first, second = service.client(), service.client()
    made = ask(first, accounts[0])["id"]
    service.complete(made)
    for part in ("0-3", "4-7", "8-"):
        assert first.get(f"/v1/exports/{made}/file", headers={"Range": f"bytes={part}"}).status_code == 206
    assert downloads(service, made) == 1
    second.get(f"/v1/exports/{made}/file", headers={"Range": "bytes=4-"})
    assert downloads(service, made) == 2


def test_downloads_are_kept_by_no_cache_and_odd_ranges_give_the_whole_file(
    service: Running, accounts: list[str]
) -> None:
    client = service.client()
    made = ask(client, accounts[0])["id"]
    service.complete(made)
    url = f"/v1/exports/{made}/file"
    assert client.get(url).headers["cache-control"] == "private, no-store"
    assert client.get(f"/v1/exports/{made}/manifest").headers["cache-control"] == "no-store"
    for odd in (
        "bytes=0-" + "9" * 5000,
        "items=0-1",
        "bytes=5-2",
        "bytes=a-b",
        "bytes",
        "bytes=" + "0-," * 2000 + "0-",
    ):
        answer = client.get(url, headers={"Range": odd})
        assert (answer.status_code, answer.content) == (200, CONTENT), odd
    stale = client.get(url, headers={"Range": "bytes=0-1", "If-Range": 'W/"x"'})
    assert (stale.status_code, stale.content) == (200, CONTENT)
    head = client.head(url, headers={"Range": "bytes=0-1"})
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(CONTENT)))
    assert "content-range" not in head.headers
    assert client.get(url, headers={"If-None-Match": "*"}).status_code == 304
    count = downloads(service, made)
    client.head(url)
    client.get(url, headers={"If-None-Match": "*"})
    assert downloads(service, made) == count


def test_no_secret_is_in_the_log_and_each_change_has_an_audit_line(
    settings: Settings, accounts: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    allowed = Settings.model_validate(
        {"webhook_key": "k" * 40, "webhook_networks": "127.0.0.0/8", "webhook_http": True}
    )
    names = ("webhook_key", "webhook_networks", "webhook_http")
    with serving(settings.model_copy(update={name: getattr(allowed, name) for name in names})) as service:
        token = service.key("admin")
        client = httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {token}"})
        hook = client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/"}).json()
        rotated = client.patch(f"/v1/webhooks/{hook['id']}", json={"rotate_secret": True}).json()
        client.post(f"/v1/webhooks/{hook['id']}/test")
        made = ask(client, accounts[0])["id"]
        link = client.post(f"/v1/exports/{made}/links").json()["url"]
        service.complete(made)
        assert httpx.get(link).content == CONTENT
        client.get(f"/v1/exports/{made}/file")
        client.get(f"/v1/exports/{made}", params={"access_token": token})
        client.get("/v1/exports", headers={"Authorization": f"Bearer {token}x"})
        client.get(f"/v1/exports/{made}/manifest")
        client.delete(f"/v1/exports/{made}")
    calls = [json.loads(one.message) for one in caplog.records if one.name == "export_pipeline.api.calls"]
    ours = [one for one in caplog.records if not one.name.startswith(("httpx", "httpcore"))]
    log = "\n".join(one.getMessage() for one in ours)
    for secret in (
        token,
        token.split("_", 2)[2],
        hook["secret"],
        rotated["secret"],
        link.rpartition("/")[2],
    ):
        assert secret.removeprefix("whsec_") not in log
    credentials = {
        (one["method"], one["path"].replace(made, "ID").replace(hook["id"], "ID"))
        for one in calls
        if "audit" in one
    }
    assert credentials == {
        ("POST", "/v1/webhooks"), ("PATCH", "/v1/webhooks/ID"), ("POST", "/v1/webhooks/ID/test"),
        ("POST", "/v1/exports"), ("POST", "/v1/exports/ID/links"), ("GET", "/d/***"),
        ("GET", "/v1/exports/ID/file"), ("GET", "/v1/exports/ID/manifest"), ("DELETE", "/v1/exports/ID"),
    }  # fmt: skip
    by_link = next(one for one in calls if one["path"] == "/d/***")
    assert by_link["audit"]["export"] == made
    assert by_link["audit"]["link"]


def closed_after(connection: socket.socket, trickle: bytes = b"") -> float:
    """Seconds until the service closes a connection to which a byte comes now and then."""
    begun = time.monotonic()
    connection.settimeout(0.1)
    while time.monotonic() - begun < 20:
        try:
            if trickle:
                connection.sendall(trickle)
            if connection.recv(65_536) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - begun


@pytest.mark.slow
def test_slow_clients_lose_their_connection(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_HEADER_SECONDS", 0.7)
    port = int(service.url.rpartition(":")[2])
    whole = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
    for sent, trickle in [
        (b"", b""),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: ", b"a"),
        (whole + b"\r\n", b""),
        (whole + b"\r\nGET /", b"a"),
        (whole + b"Content-Length: 100000\r\n\r\n", b"a"),
    ]:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(sent)
            assert closed_after(connection, trickle) < 10, sent
    with httpx.Client() as client:  # and nobody else does
        for _ in range(4):
            assert client.get(f"{service.url}/healthz").text == "ok\n"
            time.sleep(0.3)


@pytest.mark.slow
def test_a_client_that_takes_no_answer_loses_its_connection(
    service: Running, accounts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_SEND_SECONDS", 0.7)
    made, url = link_to(service, accounts[0])
    content = os.urandom(32 << 20)
    service.complete(made, content)
    host, path = service.url.removeprefix("http://"), url.removeprefix(service.url)
    with socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2]))) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        until = time.monotonic() + 30
        while open_files(service.settings.store_url) == [] and time.monotonic() < until:
            time.sleep(0.01)
        while open_files(service.settings.store_url) and time.monotonic() < until:
            time.sleep(0.05)
        assert open_files(service.settings.store_url) == []
        connection.settimeout(10)
        taken = 0
        with suppress(ConnectionResetError):
            while part := connection.recv(1 << 20):
                taken += len(part)
        assert taken < len(content)
    assert httpx.get(url).content == content  # whoever takes it gets it


@pytest.mark.slow
def test_calls_that_wait_are_bounded_for_each_caller(
    service: Running, accounts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    greedy, modest = service.client(), service.client()
    made = ask(greedy, accounts[0])["id"]
    monkeypatch.setattr(change_notifier, "MAX_WAITS", 0)
    for answer in (
        greedy.get(f"/v1/exports/{made}", params={"wait": 5}),
        greedy.get(f"/v1/exports/{made}/events"),
        greedy.post(
            "/v1/exports",
            json={"dataset": "records", "format": "csv", "scope": accounts[0]},
            headers={"Prefer": "wait=5"},
        ),
    ):
        assert problem(answer) == (429, "too_many_requests")
        assert "retry-after" in answer.headers
    assert greedy.get(f"/v1/exports/{made}").status_code == 200
    assert len(service.ledger.find()) == 1
    monkeypatch.setattr(change_notifier, "MAX_WAITS", 1)
    assert modest.get(f"/v1/exports/{made}", params={"wait": 1}).status_code == 200
    assert modest.get(f"/v1/exports/{made}", params={"wait": 1}).status_code == 200


def test_scripts_of_other_origins_get_nothing_unless_theirs_is_listed(settings: Settings) -> None:
    mine, other = "https://app.example.org", "https://evil.example.org"
    with serving(settings) as service:
        answer = service.client().get("/v1/exports", headers={"Origin": mine})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert httpx.options(f"{service.url}/v1/exports", headers={"Origin": mine}).status_code == 405
    with serving(settings.model_copy(update={"api_origins": (mine,)})) as service:
        client = service.client()
        allowed = client.get("/v1/exports", headers={"Origin": mine})
        assert allowed.headers["access-control-allow-origin"] == mine
        assert "access-control-allow-credentials" not in allowed.headers
        assert (
            "access-control-allow-origin" not in client.get("/v1/exports", headers={"Origin": other}).headers
        )
        asked = {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,idempotency-key",
        }
        url = f"{service.url}/v1/exports"
        assert httpx.options(url, headers={"Origin": mine, **asked}).status_code == 200
        assert httpx.options(url, headers={"Origin": other, **asked}).status_code == 400


@pytest.mark.parametrize("text", ["*", "https://app.example.org/x", "app.example.org", "null"])
def test_an_origin_is_an_origin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("EXPORT_API_ORIGINS", text)
    with pytest.raises(SettingsError, match="EXPORT_API_ORIGINS: must be origins"):
        load_settings()


@pytest.mark.parametrize(
    "body",
    [
        b'{"dataset": "records", "format": "csv", "priority": NaN}',
        b'{"dataset": "records", "format": "csv", "priority": 1e400}',
        b'{"dataset": "records", "format": "csv", "priority": 1%s}' % (b"0" * 5000),
        b'{"dataset": "records", "format": "csv", "filters": {"a": %s1%s}}' % (b"[" * 5000, b"]" * 5000),
        b'{"dataset": "\\ud800", "format": "csv", "scope": "\\ud800"}',
        b'{"dataset": ["records"], "format": {"a": 1}}',
        b'\xff\xfe{"dataset": "records"}',
        b"null",
        b"[]",
        b'"records"',
    ],
)  # fmt: skip
def test_odd_bodies_are_refused_in_order(service: Running, body: bytes) -> None:
    for path in ("/v1/exports", "/v1/schedules", "/v1/webhooks"):
        answer = service.client("admin").post(
            path, content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in (400, 404, 422), (path, answer.text)
        assert problem(answer)


def test_what_is_given_twice_is_refused(service: Running, accounts: list[str]) -> None:
    """A proxy that checks the first of two would pass what the service reads from the second."""
    client = service.client("admin")
    there = f'"dataset": "records", "format": "csv", "scope": "{accounts[0]}"'
    for more in (f'"scope": "{accounts[1]}"', '"options": {"title": "a", "title": "b"}', '"format": "csv"'):
        answer = client.post(
            "/v1/exports", content=f"{{{there}, {more}}}", headers={"Content-Type": "application/json"}
        )
        assert problem(answer) == (422, "invalid_request"), more
        assert "twice" in answer.json()["detail"]
    made = ask(client, accounts[0])["id"]
    service.complete(made)
    for name, first, second in (
        ("Authorization", client.headers["authorization"], "Bearer other"),
        ("Idempotency-Key", "a", "b"),
        ("Range", "bytes=0-1", "bytes=2-3"),
    ):
        twice = [(name, first), (name, second)]
        answer = httpx.get(f"{service.url}/v1/exports/{made}/file", headers=twice)
        assert problem(answer) == (400, "invalid_request"), name


def test_monitors_may_ask_for_headers_only(service: Running) -> None:
    for path in ("/healthz", "/readyz"):
        head = httpx.head(f"{service.url}{path}")
        assert (head.status_code, head.content) == (200, b"")


def test_odd_headers_are_taken_as_text_or_refused(service: Running, accounts: list[str]) -> None:
    client = service.client()
    body = {"dataset": "records", "format": "csv", "scope": accounts[0]}
    for name in (b"idempotency-key", b"prefer"):
        for value in (
            b"\xff\xfe",
            b"' OR 1=1 --",
            b"a" * 5000,
            "é".encode(),
            b"wait=-5",
        ):
            answer = client.post("/v1/exports", json=body, headers={name: value})  # type: ignore[dict-item]
            assert answer.status_code in (201, 202, 400, 422), (name, value, answer.text)
    client.close()
    port = int(service.url.rpartition(":")[2])
    for lines in (
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n Host: a\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    ):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.settimeout(10)
            connection.sendall(lines)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_a_moment_that_utc_does_not_know_is_refused(service: Running, moment: str) -> None:
    answer = service.client().get("/v1/exports", params={"created_after": moment})
    assert problem(answer) == (422, "invalid_request")


def test_no_path_redirects_to_the_host_that_the_caller_names(service: Running) -> None:
    for path in ("/v1/exports/", "/v1/datasets/", "/d/x/file/"):
        answer = service.client().get(path, headers={"Host": "evil.example"})
        assert problem(answer) == (404, "not_found")
        assert "location" not in answer.headers


def test_a_deleted_exports_link_is_dead_for_good(service: Running, accounts: list[str]) -> None:
    made, url = link_to(service, accounts[0])
    service.complete(made)
    assert service.client().delete(f"/v1/exports/{made}").status_code == 204
    assert problem(httpx.get(url)) == (404, "not_found")
    assert problem(httpx.get(f"{url}/file")) == (404, "not_found")
    assert problem(httpx.get(url.upper())) == (404, "not_found")


@pytest.mark.slow
def test_the_rights_that_the_readme_grants_are_enough(
    settings: Settings, accounts: list[str], postgres_url: str
) -> None:
    (grants,) = re.findall(
        r"```sql\n(GRANT SELECT, INSERT.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    migrate(postgres_url)
    owner = Database(postgres_url)
    role = f"exporter_{sa.make_url(postgres_url).database}"
    owner.run(f"CREATE ROLE {role}")
    try:
        owner.run(grants.replace("TO exporter", f"TO {role}"))
        as_role = sa.make_url(postgres_url).update_query_dict({"options": f"-c role={role}"})
        allowed = Settings.model_validate(
            {"webhook_key": "k" * 40, "webhook_networks": "127.0.0.0/8", "webhook_http": True}
        )
        changed = {
            name: getattr(allowed, name) for name in ("webhook_key", "webhook_networks", "webhook_http")
        }
        changed["jobs_url"] = as_role.render_as_string(hide_password=False)
        with serving(settings.model_copy(update=changed)) as service:
            client = service.client("admin")
            assert client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/"}).status_code == 201
            schedule = {"dataset": "records", "format": "csv", "scope": accounts[0], "cadence": "daily"}
            assert client.post("/v1/schedules", json=schedule).status_code == 201
            made, url = link_to(service, accounts[0])
            service.complete(made)
            assert httpx.get(url).content == CONTENT
            ask(client, accounts[0])
            assert client.get("/v1/exports", params={"limit": 1}).json()["next"]
            assert client.get("/metrics").status_code == 200
            assert client.delete(f"/v1/exports/{made}").status_code == 204
    finally:
        owner.run(f"DROP OWNED BY {role}")
        owner.run(f"DROP ROLE {role}")
        owner.close()
