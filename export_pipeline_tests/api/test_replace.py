"""docs/replace.md: the code that an application keeps works as it stands, against the service."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import re
import subprocess
import sys
import threading
import types
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import boto3
import httpx
import pytest
import uvicorn
from filelock import FileLock
from moto.server import ThreadedMotoServer

from export_pipeline.datasets.loading import load_datasets
from export_pipeline.delivery.webhooks.endpoints import create_webhook
from export_pipeline.delivery.webhooks.send import deliver_due
from export_pipeline.intake.sqs import receive_requests
from export_pipeline.jobs.database import open_engine
from export_pipeline.settings import Settings
from export_pipeline_tests.api.service import CONTENT, Running, serving
from export_pipeline_tests.paths import ROOT
from export_pipeline_tests.services.process import free_ports
from export_pipeline_tests.tools import missing, require_tool

pytestmark = pytest.mark.slow
PAGE = (ROOT / "docs" / "replace.md").read_text("utf-8")
FILTERS = {"status": {"in": ["SUCCESSFUL"]}}
CACHE = ROOT / ".cache"
PACKAGES = (
    "@nestjs/common@11.2.10", "@nestjs/core@11.2.10", "@nestjs/platform-express@11.2.10",
    "@aws-sdk/client-sqs@3.1175.0", "reflect-metadata@0.2.2", "rxjs@7.8.2", "standardwebhooks@1.1.1",
    "typescript@5.9.3", "@types/node@20.19.25",
)  # fmt: skip


@pytest.fixture
def database(sqlite_database: Any) -> Any:
    """One kind of ledger is enough."""
    return sqlite_database


@dataclass(frozen=True)
class Deployment:
    """The service, and what its daemon would do."""

    service: Running
    settings: Settings

    def finish(self, export_id: str) -> None:
        """Make the file of a request, and tell webhooks of it."""
        self.service.complete(export_id)
        engine = open_engine(self.settings.jobs_url)
        assert deliver_due(engine, self.settings) == {"delivered": 1}
        engine.dispose()

    def webhook(self, url: str) -> str:
        """Register a webhook; its secret."""
        engine = open_engine(self.settings.jobs_url)
        secret = create_webhook(engine, self.settings, url)[1]
        engine.dispose()
        return secret


@pytest.fixture
def deployment(settings: Settings) -> Iterator[Deployment]:
    allowed = {"webhook_key": "k" * 40, "webhook_networks": "127.0.0.0/8", "webhook_http": True}
    made = Settings.model_validate(allowed)
    changed = settings.model_copy(update={name: getattr(made, name) for name in allowed})
    with serving(changed) as service:
        yield Deployment(service, changed)


def example(title: str, language: str) -> str:
    """The code below a heading."""
    section = PAGE.split(f"## {title}\n", 1)[1].partition("\n## ")[0]
    (code,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return str(code)


def module_of(title: str, folder: Path, name: str) -> types.ModuleType:
    """The Python code below a heading, as a module."""
    path = folder / f"{name}.py"
    path.write_text(example(title, "python"))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def key_of(service: Running) -> str:
    """A key with the rights that the page names."""
    rights = re.findall(r"--right (\S+)", PAGE)
    assert rights == ["exports:read", "exports:write", "links:create"]
    return service.key(*rights)


def forged(url: str) -> httpx.Response:
    headers = {"webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
    return httpx.post(f"{url}/hooks/exports", content=b"{}", headers=headers)


@contextmanager
def fastapi_application(app: Any) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    waiting = threading.Event()
    while not server.started:
        assert not waiting.wait(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def test_fastapi(
    deployment: Deployment, accounts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("EXPORTS_URL", deployment.service.url)
    monkeypatch.setenv("EXPORTS_KEY", key_of(deployment.service))
    app = module_of("FastAPI with Celery", tmp_path, "shop_fastapi").app

    @app.middleware("http")
    async def log_in(request: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
        request.state.account = request.headers.get("x-account")
        return await call_next(request)

    with fastapi_application(app) as url:
        monkeypatch.setenv("WEBHOOK_SECRET", deployment.webhook(f"{url}/hooks/exports"))
        mine, other = ({"x-account": account, "Idempotency-Key": "click-1"} for account in accounts)
        asked = [httpx.post(f"{url}/sales/exports", json=FILTERS, headers=mine) for _ in range(2)]
        assert [one.status_code for one in asked] == [202, 202]
        assert asked[0].json() == asked[1].json()
        export_id = asked[0].json()["id"]
        made = deployment.service.ledger.get(export_id)
        assert (made.scope, made.format, made.filters) == (accounts[0], "excel", FILTERS)
        wrong = httpx.post(
            f"{url}/sales/exports", json={"nothing": {}}, headers={**mine, "Idempotency-Key": "2"}
        )
        assert (wrong.status_code, wrong.json()["detail"][0]["pointer"]) == (422, "/filters/nothing")
        deployment.finish(export_id)
        assert f"tell {accounts[0]} of {export_id}" in capsys.readouterr().out
        there = f"{url}/sales/exports/{export_id}"
        assert httpx.get(there, headers=mine).json()["status"] == "completed"
        assert httpx.get(f"{there}/file", headers=mine, follow_redirects=True).content == CONTENT
        for path in ("", "/file"):
            assert httpx.get(there + path, headers=other).status_code == 404
            assert httpx.get(f"{url}/sales/exports/{uuid.uuid4()}{path}", headers=mine).status_code == 404
        assert forged(url).status_code == 401


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def django_application(views: str) -> Iterator[str]:
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application

    settings.configure(
        ROOT_URLCONF=views,
        ALLOWED_HOSTS=["127.0.0.1"],
        SECRET_KEY="k" * 50,
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
        MIDDLEWARE=[f"{__name__}.log_in"],
    )
    django.setup()
    logging.getLogger("django.request").setLevel(logging.CRITICAL)
    with make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=_Silent) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


def log_in(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Django's middleware of the application's login."""

    def middleware(request: Any) -> Any:
        account = request.headers.get("x-account")
        request.user = types.SimpleNamespace(
            account_id=account, email="ann@example.org", is_authenticated=account is not None
        )
        return get_response(request)

    return middleware


def test_django(
    deployment: Deployment, accounts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("EXPORTS_URL", deployment.service.url)
    monkeypatch.setenv("EXPORTS_KEY", key_of(deployment.service))
    module_of("Django with Celery", tmp_path, "shop_django")
    with django_application("shop_django") as url:
        monkeypatch.setenv("WEBHOOK_SECRET", deployment.webhook(f"{url}/hooks/exports"))
        mine, other = ({"x-account": account, "Idempotency-Key": "click-1"} for account in accounts)
        asked = httpx.post(f"{url}/orders/exports", json=FILTERS, headers=mine)
        assert asked.status_code == 202, asked.text
        assert asked.json() == httpx.post(f"{url}/orders/exports", json=FILTERS, headers=mine).json()
        assert set(asked.json()) == {"csv", "excel"}
        assert httpx.post(f"{url}/orders/exports", json=FILTERS).status_code == 302  # to the login
        wrong = httpx.post(
            f"{url}/orders/exports", json={"nothing": {}}, headers={**mine, "Idempotency-Key": "2"}
        )
        assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/filters/nothing")
        export_id = asked.json()["csv"]
        assert deployment.service.ledger.get(export_id).recipients == ["ann@example.org"]
        deployment.finish(export_id)
        assert f"tell {accounts[0]} of {export_id}" in capsys.readouterr().out
        there = f"{url}/orders/exports/{export_id}"
        assert httpx.get(there, headers=mine).json()["status"] == "completed"
        assert httpx.get(f"{there}/file", headers=mine, follow_redirects=True).content == CONTENT
        for path in ("", "/file"):
            assert httpx.get(there + path, headers=other).status_code == 404
        assert forged(url).status_code == 401


MAIN = """
import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { ExportsModule } from './exports';

async function main() {
  const app = await NestFactory.create(ExportsModule, { rawBody: true, logger: ['error'] });
  app.use((request: any, _: any, next: () => void) => {
    request.account = request.headers['x-account'];
    request.user = 'u-17';
    next();
  });
  await app.listen(Number(process.env.PORT), '127.0.0.1');
  console.log('listening');
}
main();
"""


@cache
def node_packages() -> Path:
    """A folder with node_modules, made once."""
    name = hashlib.sha256(repr(PACKAGES).encode()).hexdigest()[:12]
    folder = CACHE / f"nest-{name}"
    CACHE.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            npm = str(require_tool("npm"))
            with TemporaryDirectory(dir=CACHE) as made:
                command = [
                    npm,
                    "install",
                    "--ignore-scripts",
                    "--no-save",
                    "--no-audit",
                    "--no-fund",
                    "--prefix",
                    made,
                ]
                command += ["--fetch-retries=1", "--fetch-timeout=30000", *PACKAGES]
                try:
                    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
                except subprocess.TimeoutExpired:
                    missing("npm gave no answer")
                if done.returncode:
                    missing(f"the packages of NestJS could not be installed: {done.stderr.strip()[-200:]}")
                Path(made).rename(folder)
                Path(made).mkdir()
    return folder / "node_modules"  # Node finds the packages of packages by this name


@contextmanager
def nest_application(folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The application in Node, compiled with the types of its libraries."""
    (folder / "node_modules").symlink_to(node_packages())
    (folder / "exports.ts").write_text(example("NestJS with SQS", "typescript"))
    (folder / "main.ts").write_text(MAIN)
    node = str(require_tool("node"))
    options = [
        "--experimentalDecorators",
        "--emitDecoratorMetadata",
        "--strict",
        "--skipLibCheck",
        "--module",
        "commonjs",
    ]
    compiler = [
        node,
        str(folder / "node_modules" / "typescript" / "bin" / "tsc"),
        *options,
        "--target",
        "es2022",
        "main.ts",
    ]
    done = subprocess.run(compiler, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout
    with subprocess.Popen(
        [node, "main.js"], cwd=folder, env=os.environ | environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def queue_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client("sqs", endpoint_url=endpoint, region_name="eu-west-1")
    yield str(client.create_queue(QueueName="exports")["QueueUrl"])
    server.stop()


@pytest.mark.timeout(600)
def test_nestjs(deployment: Deployment, accounts: list[str], tmp_path: Path, queue_url: str) -> None:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    environment = {
        "PORT": str(port),
        "EXPORTS_URL": deployment.service.url,
        "EXPORTS_KEY": key_of(deployment.service),
        "WEBHOOK_SECRET": deployment.webhook(f"{url}/hooks/exports"),
        "EXPORT_QUEUE_URL": queue_url,
        "AWS_ENDPOINT_URL_SQS": queue_url.rpartition("/")[0].rpartition("/")[0],
        "AWS_REGION": "eu-west-1",
    }
    settings = deployment.settings.model_copy(update={"queue_url": queue_url, "s3_region": "eu-west-1"})
    mine, other = ({"x-account": account} for account in accounts)
    with nest_application(tmp_path, environment) as process:
        body = {"exportId": "4711", "filters": {"status": ["SUCCESSFUL"]}}
        asked = httpx.post(f"{url}/exports", json=body, headers=mine, timeout=30)
        assert (asked.status_code, asked.json()) == (202, {"exportId": "4711"})
        assert (
            httpx.get(f"{url}/exports/4711", headers=mine).status_code == 404
        )  # not taken from the queue yet
        assert receive_requests(deployment.service.ledger, load_datasets(), settings, float("inf")) == {
            "taken": 1
        }
        assert httpx.get(f"{url}/exports/4711", headers=mine).json()["status"] == "pending"
        (job,) = deployment.service.ledger.find()
        assert (job.dataset, job.format, job.scope, job.filters) == ("records", "excel", accounts[0], FILTERS)
        assert job.requested_by == "u-17"
        deployment.finish(job.id)
        assert process.stdout is not None
        assert process.stdout.readline() == f"tell {accounts[0]} of {job.id}\n"
        assert httpx.get(f"{url}/exports/4711", headers=mine).json()["status"] == "completed"
        assert httpx.get(f"{url}/exports/4711/file", headers=mine, follow_redirects=True).content == CONTENT
        for path in ("", "/file"):
            assert httpx.get(f"{url}/exports/4711{path}", headers=other).status_code == 404
        assert forged(url).status_code == 401
