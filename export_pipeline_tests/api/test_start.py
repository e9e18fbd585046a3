"""The service as a process: what it imports, what it costs, and how it ends."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import sqlalchemy as sa

from export_pipeline.api import server
from export_pipeline.api.inline_pool import PROCESSES
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.loading import DefsError
from export_pipeline.demo import bookkeeping
from export_pipeline.jobs import migrate
from export_pipeline.jobs.api_keys import create_key
from export_pipeline.jobs.database import open_engine
from export_pipeline.settings import Settings
from export_pipeline_tests.api.service import WORKER, serving
from export_pipeline_tests.services.fixtures import Bucket
from export_pipeline_tests.services.s3 import S3Server

_PROGRAM = """
import sys
from export_pipeline.cli.entry import main
sys.argv[1:] = ["serve", "--port", "0"]
try:
    main()
finally:
    print(*sys.modules, flush=True)
"""


@contextmanager
def started(
    folder: Path, source_url: str, jobs_url: str | None = None, **settings: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process of `export-pipeline serve`, and its address. It ends with the names of its modules."""
    jobs_url = jobs_url or f"sqlite:///{folder}/jobs.db"
    migrate(jobs_url)
    environment = {
        **os.environ,
        "EXPORT_JOBS_URL": jobs_url,
        "EXPORT_SOURCE_URL": source_url,
        "PYTHONDONTWRITEBYTECODE": "",
        **settings,
    }
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            address = re.search(r"http://\S+", process.stdout.readline())
            assert address
            yield process, address[0]
        finally:
            process.kill()


def children_of(pid: int) -> set[int]:
    """All processes below a process."""
    ids: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            ids |= {child} | children_of(child)
    return ids


def workers_of(pid: int) -> set[int]:
    """The processes of a service that make small exports: children of the one that it has forked."""
    return {grandchild for child in children_of(pid) for grandchild in children_of(child)}


def memory(pid: int, measure: str = "Pss") -> int:
    """Memory of a process in kB; by default what several processes share is divided among them."""
    size = re.search(rf"{measure}:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text())
    assert size
    return int(size[1])


def lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_the_service_starts_in_little_memory_and_ends_in_order(tmp_path: Path, source_url: str) -> None:
    with started(tmp_path, source_url) as (process, url):
        transport = httpx.HTTPTransport(retries=50)
        with httpx.Client(base_url=url, transport=transport, timeout=120) as client:
            assert client.get("/healthz").text == "ok\n"
            assert client.get("/readyz").text == "ready\n"
        until = time.monotonic() + 60  # the processes of small exports are started before anybody asks
        while len(workers := workers_of(process.pid)) < PROCESSES and time.monotonic() < until:
            time.sleep(0.05)
        assert len(workers) == PROCESSES
        family = {process.pid, *children_of(process.pid)}
        assert len(family) == 2 + PROCESSES
        shares = {pid: memory(pid) for pid in family}
        assert shares[process.pid] < 70_000
        assert memory(process.pid, "Rss") < 110_000
        assert sum(shares.values()) < 175_000
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
        until = time.monotonic() + 30
        while any(map(lives, workers)) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(map(lives, workers))


@pytest.mark.slow
def test_the_service_imports_no_dagster_and_no_orm() -> None:
    script = (
        "import sys; from export_pipeline.api.app import build_app; from export_pipeline.settings import Settings;"
        "app = build_app(Settings(jobs_url='sqlite:////tmp/none.db')); len(app.state.service.datasets);"
        "sys.exit(bool({'dagster', 'sqlalchemy.orm', 'reportlab', 'boto3', 'alembic'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=240).returncode == 0


@dataclass(frozen=True)
class Deployed:
    """A database and a store that a service can use."""

    source_url: str
    jobs_url: str | None
    settings: Mapping[str, str]


@pytest.fixture
def on_files(source_url: str, tmp_path: Path) -> Deployed:
    return Deployed(source_url, None, {"EXPORT_STORE_URL": str(tmp_path / "store")})


@pytest.fixture
def on_servers(postgres_url: str, bucket: Bucket, s3: S3Server) -> Deployed:
    engine = sa.create_engine(postgres_url)
    bookkeeping.fill(engine)
    engine.dispose()
    store = {"EXPORT_STORE_URL": bucket.url, "EXPORT_S3_ENDPOINT_URL": s3.endpoint_url}
    return Deployed(postgres_url, postgres_url, store | s3.environment())


def use_service(client: httpx.Client) -> None:
    """Make an export at once and download it both ways; ask for one by the name of its scope."""
    assert client.get("/v1/datasets").status_code == client.get("/v1/datasets/records").status_code == 200
    assert client.get("/v1/datasets/records/schema").status_code == 200
    (scope, *_) = client.get("/v1/datasets/records/scopes").json()["data"]
    made = client.get("/v1/datasets/records/export.xlsx", params={"scope": scope["id"]})
    assert made.status_code == 200
    assert made.content[:2] == b"PK"
    path = f"/v1/exports/{made.headers['Export-Id']}"
    assert client.get(f"{path}/file", follow_redirects=True).content == made.content
    assert client.get(f"{path}/manifest").json()["rows"] == int(made.headers["Export-Rows"]) > 0
    url = client.post(f"{path}/links", json={}).json()["url"]
    assert client.get(url, follow_redirects=True).content == made.content
    body = {
        "dataset": "records",
        "format": "pdf",
        "scope": scope["name"],
        "filters": {"sale_date": {"range": {"from": "2026-01-01"}}},
        "columns": ["item_name", "profit_cents"],
    }
    asked = client.post("/v1/exports", json=body)
    assert asked.status_code == 202, asked.text
    assert asked.json()["scope"] == scope["id"]
    assert client.get(asked.headers["Location"]).json()["status"] == "pending"
    schedule = {
        "dataset": "records", "format": "csv", "scope": scope["name"], "cadence": "daily", "hour": 6,
    }  # fmt: skip
    asked = client.post("/v1/schedules", json=schedule)
    assert asked.status_code == 201, asked.text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["on_files", "on_servers"])
def test_the_process_of_http_stays_small_as_workers_and_not_it_have_arrow(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    deployed: Deployed = request.getfixturevalue(kind)
    with started(tmp_path, deployed.source_url, deployed.jobs_url, **deployed.settings) as (process, url):
        engine = open_engine(deployed.jobs_url or f"sqlite:///{tmp_path}/jobs.db")
        key = create_key(engine, "test", [*WORKER, "schedules:read", "schedules:write"])[1]
        engine.dispose()
        headers = {"Authorization": f"Bearer {key}"}
        transport = httpx.HTTPTransport(retries=50)
        with httpx.Client(base_url=url, transport=transport, timeout=120, headers=headers) as client:
            assert client.get("/readyz").text == "ready\n"
            use_service(client)
        assert memory(process.pid, "Rss") < 120_000
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        loaded = set(process.stdout.read().split())
    assert "export_pipeline.sources.snapshot" in loaded
    assert not loaded & {"dagster", "numpy", "pandas", "pyarrow", "adbc_driver_manager"}


_SHARED = """
import sys
from export_pipeline.api.inline_worker import load_code
from export_pipeline.settings import load_settings

load_code(load_settings())
loaded = set(sys.modules)
import adbc_driver_manager, adbc_driver_postgresql, psycopg2
from export_pipeline.store.s3_client import default_factory

default_factory("us-east-1")("http://127.0.0.1:1")
print(sorted(set(sys.modules) - loaded))
print(loaded & {"dagster", "pandas", "pyarrow.dataset", "adbc_driver_manager.dbapi", "openpyxl", "reportlab"})
"""


@pytest.mark.slow
def test_workers_share_the_drivers_that_the_settings_need(tmp_path: Path) -> None:
    """Each would import its own: boto3 and the description of S3 are 24 MB."""
    environment = os.environ | {
        "EXPORT_SOURCE_URL": "postgresql://app:x@127.0.0.1:1/app",
        "EXPORT_STORE_URL": "s3://bucket/exports",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    command = [sys.executable, "-c", _SHARED]
    ended = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.stdout.splitlines() == ["[]", "set()"], ended.stderr[-2000:]


def test_no_makers_of_small_exports_start_without_datasets() -> None:
    """They could load none either, and each would end with a traceback."""

    class Service:
        @property
        def datasets(self) -> None:
            raise DefsError("defs/x/defs.yaml: line 3")

    server._fork_workers(SimpleNamespace(state=SimpleNamespace(service=Service())))  # type: ignore[arg-type]


def test_the_datasets_are_loaded_before_the_first_call(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading imports modules that change libraries, which calls in other threads may be using."""
    loaded_in: list[str] = []

    def load() -> dict[str, Dataset]:
        loaded_in.append(threading.current_thread().name)
        return {}

    monkeypatch.setattr("export_pipeline.api.service.load_datasets", load)
    with serving(settings):
        assert len(loaded_in) == 1
        assert not loaded_in[0].startswith("AnyIO worker")
