"""The service as a process: what it imports, what it costs, and how it ends."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from export_pipeline.api import server
from export_pipeline.api.inline_pool import PROCESSES
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.loading import DefsError
from export_pipeline.jobs import migrate
from export_pipeline.settings import Settings
from export_pipeline_tests.api.service import serving

_PROGRAM = (
    "import sys; from export_pipeline.cli.entry import main; sys.argv[1:] = ['serve', '--port', '0']; main()"
)


@contextmanager
def started(folder: Path, source_url: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process of `export-pipeline serve`, and its address."""
    jobs_url = f"sqlite:///{folder}/jobs.db"
    migrate(jobs_url)
    environment = {
        **os.environ,
        "EXPORT_JOBS_URL": jobs_url,
        "EXPORT_SOURCE_URL": source_url,
        "PYTHONDONTWRITEBYTECODE": "",
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


def makers_of(pid: int) -> set[int]:
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
        while len(workers := makers_of(process.pid)) < PROCESSES and time.monotonic() < until:
            time.sleep(0.05)
        assert len(workers) == PROCESSES
        family = {process.pid, *children_of(process.pid)}
        assert len(family) == 2 + PROCESSES
        shares = {pid: memory(pid) for pid in family}
        assert shares[process.pid] < 70_000
        assert memory(process.pid, "Rss") < 170_000
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


_FORKED = """
import sys
from unittest.mock import Mock
from export_pipeline.api import server
from export_pipeline.api.app import build_app
from export_pipeline.settings import load_settings

loaded = set()
app = build_app(load_settings())
app.state.pool = Mock()
app.state.pool.fork_server.fork = lambda datasets: loaded.update(sys.modules)
server._fork_makers(app)
import adbc_driver_manager, adbc_driver_postgresql, psycopg2
from export_pipeline.store.s3_client import new_client

new_client("http://127.0.0.1:1", region_name="us-east-1")
print(sorted(set(sys.modules) - loaded))
print(loaded & {"dagster", "pandas", "pyarrow.dataset", "adbc_driver_manager.dbapi", "openpyxl", "reportlab"})
"""


@pytest.mark.slow
def test_the_processes_of_the_service_share_the_drivers_that_its_settings_need(tmp_path: Path) -> None:
    """Each would import its own: boto3 and the description of S3 are 24 MB."""
    environment = os.environ | {
        "EXPORT_SOURCE_URL": "postgresql://app:x@127.0.0.1:1/app",
        "EXPORT_STORE_URL": "s3://bucket/exports",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    command = [sys.executable, "-c", _FORKED]
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

    server._fork_makers(SimpleNamespace(state=SimpleNamespace(service=Service())))  # type: ignore[arg-type]


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
