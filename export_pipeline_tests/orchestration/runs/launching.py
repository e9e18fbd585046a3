"""Runs as the daemon launches them: from a code server's definitions, by the launcher of the instance."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.selector import JobSubsetSelector
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from export_pipeline.demo import takeoff
from export_pipeline.jobs import Ledger, migrate
from export_pipeline.orchestration.runs import run_lock, warm_process
from export_pipeline.orchestration.runs.warm_launcher import WarmRunLauncher
from export_pipeline_tests.orchestration.deployment import SAMPLES
from export_pipeline_tests.paths import ROOT
from export_pipeline_tests.services.postgres import PostgresServer

_END_SECONDS = 240.0
_JOB = "takeoff_on_demand_job"


@dataclass(frozen=True, slots=True)
class Launching:
    """An instance with a launcher, a code server, and a sample application on PostgreSQL.

    Attributes:
        folder: Has `home`, `staging`, `store`, and `code`, whose files the launcher watches.
        url: Of the application's database.
    """

    folder: Path
    url: str
    scope: str
    instance: dg.DagsterInstance
    process: WorkspaceProcessContext

    @property
    def launcher(self) -> Any:
        return self.instance.run_launcher

    def launch(self, **tags: str) -> str:
        """Launch an export as CSV; the run's id."""
        workspace = self.process.create_request_context()
        (location,) = workspace.code_locations
        (repository,) = location.get_repositories().values()
        key = dg.AssetKey(["takeoff", "on_demand", "csv"])
        selector = JobSubsetSelector(location.name, repository.name, _JOB, None, [key])
        self.instance.add_dynamic_partitions("takeoff_scopes", [self.scope])
        job = location.get_job(selector)
        plan = location.get_execution_plan(job, {}, None, None, self.instance)
        run = self.instance.create_run(
            job_name=_JOB,
            run_id=None,
            run_config={},
            status=dg.DagsterRunStatus.NOT_STARTED,
            tags={"dagster/partition": self.scope, **tags},
            root_run_id=None,
            parent_run_id=None,
            step_keys_to_execute=None,
            execution_plan_snapshot=plan.execution_plan_snapshot,
            job_snapshot=job.job_snapshot,
            parent_job_snapshot=job.parent_job_snapshot,
            asset_selection=frozenset([key]),
            asset_check_selection=None,
            resolved_op_selection=job.resolved_op_selection,
            op_selection=None,
            remote_job_origin=job.get_remote_origin(),
            job_code_origin=job.get_python_origin(),
            asset_graph=repository.asset_graph,
        )
        self.instance.launch_run(run.run_id, workspace)
        return run.run_id

    def worker(self, run_id: str) -> int:
        """The process of a run that has begun."""
        return int(re.findall(r"Started process for run \(pid: (\d+)\)", "\n".join(self.messages(run_id)))[0])

    @contextmanager
    def held(self) -> Iterator[None]:
        """No run gets on with reading the source within the block."""
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            lock = "LOCK TABLE measurements, conditions, projects IN ACCESS EXCLUSIVE MODE"
            connection.execute(sa.text(lock))
            yield
            connection.rollback()
        engine.dispose()

    def lock(self, run_id: str) -> Path:
        """The lock that the process of a run holds."""
        return run_lock.lock_of(self.folder / "staging", run_id)

    def files(self, run_id: str) -> int:
        """Return the number of files of a run in the store."""
        return len(list((self.folder / "store").rglob(f"{run_id}.csv")))

    def run(self, run_id: str) -> dg.DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def ended(self, run_id: str) -> dg.DagsterRunStatus:
        """Wait for the end of a run, and return its status."""
        self.wait(run_id, *_ENDS)
        return self.run(run_id).status

    def wait(self, run_id: str, *statuses: dg.DagsterRunStatus) -> None:
        """Wait until a run has one of the statuses."""
        deadline = time.monotonic() + _END_SECONDS
        while self.run(run_id).status not in statuses:
            assert time.monotonic() < deadline, self.messages(run_id)
            time.sleep(0.1)

    def messages(self, run_id: str) -> list[str]:
        """The messages of a run."""
        return [
            record.event_log_entry.message for record in self.instance.get_records_for_run(run_id).records
        ]


_ENDS = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


_WARM = f"{{module: {WarmRunLauncher.__module__}, class: {WarmRunLauncher.__name__}}}"


@contextmanager
def launching(folder: Path, url: str, launcher: str = _WARM) -> Iterator[Launching]:
    """A deployment in a folder, whose dagster.yaml names the launcher and needs no daemon."""
    home = folder / "home"
    home.mkdir()
    (folder / "code").mkdir()
    (home / "dagster.yaml").write_text(
        f"telemetry: {{enabled: false}}\nrun_monitoring: {{enabled: true}}\nrun_launcher: {launcher}\n"
    )
    settings = {
        "EXPORT_SOURCE_URL": url,
        "EXPORT_STORE_URL": str(folder / "store"),
        "EXPORT_STAGING_URL": str(folder / "staging"),
        "DAGSTER_HOME": str(home),
    }
    engine = sa.create_engine(url)
    scope, *_ = takeoff.fill(engine, SAMPLES)
    engine.dispose()
    migrate(url)
    target = WorkspaceFileTarget([str(ROOT / "workspace.yaml")])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(
            warm_process, "_PACKAGE", folder / "code"
        )  # whoever works on this project changes the real one
        for name, value in settings.items():
            patch.setenv(name, value)
        with (
            dg.DagsterInstance.from_config(str(home)) as instance,
            WorkspaceProcessContext(instance, target) as process,
        ):
            yield Launching(folder, url, scope, instance, process)


@contextmanager
def source_away(postgres: PostgresServer, url: str) -> Iterator[None]:
    """The source lets nobody in, so that runs wait for seconds before they try again."""
    name = sa.make_url(url).database
    with contextlib.closing(postgres.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        yield
        cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _END_SECONDS
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def gone(pid: int) -> bool:
    """Return whether a process has ended, or is a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except FileNotFoundError:
        return True


def lease_is_taken(ledger: Ledger, run_id: str) -> bool:
    lease = ledger.leases([run_id]).get(run_id)
    return lease is not None and lease.worker_id is not None
