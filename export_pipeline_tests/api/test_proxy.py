"""docs/api.md: the service behind nginx as it is configured there, and single sign-on."""

import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from export_pipeline.settings import Settings
from export_pipeline_tests.api.service import CONTENT, Running, serving
from export_pipeline_tests.api.test_exports import ask, problem
from export_pipeline_tests.api.test_links import link_to
from export_pipeline_tests.api.test_oidc import claims, issuer, token  # noqa: F401
from export_pipeline_tests.paths import ROOT
from export_pipeline_tests.services.process import free_ports, running, server_folder
from export_pipeline_tests.services.tls import certificate
from export_pipeline_tests.tools import require_tool

pytestmark = pytest.mark.slow
PAGE = (ROOT / "docs" / "api.md").read_text("utf-8")


@pytest.fixture
def database(sqlite_database: Any) -> Any:
    """One kind of ledger is enough."""
    return sqlite_database


@dataclass(frozen=True)
class Proxy:
    """nginx before a service."""

    service: Running
    url: str
    tls: ssl.SSLContext
    log: Path

    def client(self, token: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, verify=self.tls, timeout=30)


@pytest.fixture
def proxy(service: Running) -> Iterator[Proxy]:
    (config,) = re.findall(r"```nginx\n(.*?)```", PAGE, re.DOTALL)
    (port,) = free_ports(1)
    with server_folder("nginx") as folder:
        pem = str(certificate(folder, "localhost"))
        log = folder / "exports.log"
        for shown, here in {
            "443 ssl": f"127.0.0.1:{port} ssl",
            "/etc/ssl/exports.pem": pem,
            "/etc/ssl/exports.key": pem,
            "/var/log/nginx/exports.log": str(log),
            "http://127.0.0.1:8000": service.url,
        }.items():
            assert config.count(shown) == 1
            config = config.replace(shown, here)
        temporary = "\n".join(
            f"{name}_temp_path {folder}/{name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\nhttp {{\n{temporary}\n{config}\n}}"
        )
        command = [
            str(require_tool("nginx")),
            "-p",
            str(folder),
            "-e",
            f"{folder}/error.log",
            "-c",
            str(folder / "nginx.conf"),
        ]
        tls = ssl.create_default_context(cafile=pem)
        url = f"https://localhost:{port}"
        with running(
            command, folder, ready=lambda: socket.create_connection(("127.0.0.1", port), 5).close() is None
        ):
            yield Proxy(service, url, tls, log)


def test_everything_works_behind_the_proxy(proxy: Proxy, accounts: list[str]) -> None:
    service = proxy.service
    client = proxy.client(service.key())
    made = ask(client, accounts[0])["id"]
    heard: list[str] = []

    def follow() -> None:
        with client.stream("GET", f"/v1/exports/{made}/events") as events:
            heard.extend(line for line in events.iter_lines() if line.startswith("data"))

    follower = threading.Thread(target=follow)
    follower.start()
    until = time.monotonic() + 240
    while not heard:  # the first event comes before the export ends
        assert time.monotonic() < until
        time.sleep(0.02)
    service.complete(made)
    follower.join(20)
    assert '"status":"completed"' in heard[-1]
    assert client.get(f"/v1/exports/{made}", params={"wait": 20}).json()["status"] == "completed"
    file = client.get(f"/v1/exports/{made}/file")
    assert (file.content, file.headers["cache-control"]) == (CONTENT, "private, no-store")
    part = client.get(f"/v1/exports/{made}/file", headers={"Range": "bytes=6-8"})
    assert (part.status_code, part.content) == (206, CONTENT[6:9])
    assert client.post("/v1/exports", content=b" " * 500_000).status_code == 413
    other, link = link_to(service, accounts[0])
    service.complete(other)
    secret = link.rpartition("/")[2]
    with proxy.client() as stranger:
        assert stranger.get(f"/d/{secret}").content == CONTENT
        assert problem(stranger.get("/v1/exports")) == (401, "unauthenticated")
    lines = proxy.log.read_text()
    assert "GET /d/*** 200" in lines
    assert secret not in lines


def test_the_service_learns_the_clients_address_and_the_id_of_the_call(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "export_pipeline.api.calls")
    answer = proxy.client().get(
        "/v1/exports", headers={"X-Forwarded-For": "6.6.6.6", "X-Request-Id": "chosen-by-me"}
    )
    (line,) = [one.message for one in caplog.records if "/v1/exports" in one.message]
    assert '"client": "127.0.0.1"' in line
    assert answer.headers["x-request-id"] in line
    assert "chosen-by-me" not in line
    assert answer.headers["x-request-id"] in proxy.log.read_text()


def test_a_flood_from_one_address_is_told_to_wait(proxy: Proxy) -> None:
    with proxy.client() as client:
        codes = {client.get("/healthz").status_code for _ in range(600)}
    assert codes <= {200, 429}
    assert 200 in codes


def test_single_sign_on_as_it_is_shown(settings: Settings, issuer: str, accounts: list[str]) -> None:  # noqa: F811
    (block,) = re.findall(r"## Single sign-on.*?```ini\n(.*?)```", PAGE, re.DOTALL)
    shown = dict(line.split("=", 1) for line in block.splitlines())
    assert set(shown) <= set(re.findall(r"EXPORT_\w+", (ROOT / "docs" / "operating.md").read_text()))
    shown["EXPORT_OIDC_ISSUER"] = issuer
    names = {name.removeprefix("EXPORT_").lower(): value for name, value in shown.items()}
    chosen = Settings.model_validate(names)
    with serving(settings.model_copy(update={name: getattr(chosen, name) for name in names})) as service:
        values = claims(issuer, accounts=[accounts[0]], export_scopes="*")
        client = httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {token(values)}"})
        made = ask(client, accounts[0])
        assert made["requested_by"] == "ann@example.org"
        assert [one["id"] for one in client.get("/v1/exports").json()["data"]] == [made["id"]]
        foreign = client.post(
            "/v1/exports", json={"dataset": "records", "format": "csv", "scope": accounts[1]}
        )
        assert problem(foreign) == (404, "not_found")
        assert problem(client.get("/v1/schedules")) == (403, "forbidden")
        origin = "https://app.example.org"
        assert (
            client.get("/v1/exports", headers={"Origin": origin}).headers["access-control-allow-origin"]
            == origin
        )
        nothing = token(claims(issuer, export_scopes="*"))
        answer = httpx.get(f"{service.url}/v1/exports", headers={"Authorization": f"Bearer {nothing}"})
        assert answer.json()["data"] == []


def test_nginx_finds_no_fault_in_it(proxy: Proxy) -> None:
    config = proxy.log.parent / "nginx.conf"
    done = subprocess.run(
        [require_tool("nginx"), "-t", "-q", "-c", config, "-e", "stderr"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
