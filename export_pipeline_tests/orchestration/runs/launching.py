"""Runs as the daemon launches them: from a code server's definitions, by the launcher of the instance."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.selector import JobSubsetSelector
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from export_pipeline.demo import takeoff
from export_pipeline.jobs import migrate
from export_pipeline.orchestration.runs import run_lock, warm_process
from export_pipeline.orchestration.runs.warm_launcher import WarmRunLauncher
from export_pipeline_tests.orchestration.deployment import SAMPLES
from export_pipeline_tests.paths import ROOT

_END_SECONDS = 240.0
_JOB = "takeoff_on_demand_job"


@dataclass(frozen=True, slots=True)
class Launching:
    """An instance with the warm launcher, a code server, and a sample application on PostgreSQL.

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
    def launcher(self) -> WarmRunLauncher:
        launcher = self.instance.run_launcher
        assert isinstance(launcher, WarmRunLauncher)
        return launcher

    def launch(self) -> str:
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
            tags={"dagster/partition": self.scope},
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
            assert time.monotonic() < deadline, self.told(run_id)
            time.sleep(0.05)

    def told(self, run_id: str) -> list[str]:
        """The messages of a run."""
        return [
            record.event_log_entry.message for record in self.instance.get_records_for_run(run_id).records
        ]


_ENDS = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


@contextmanager
def launching(folder: Path, url: str) -> Iterator[Launching]:
    """A deployment in a folder, whose dagster.yaml names the launcher and needs no daemon."""
    launcher, home = WarmRunLauncher, folder / "home"
    home.mkdir()
    (folder / "code").mkdir()
    (home / "dagster.yaml").write_text(
        f"telemetry: {{enabled: false}}\nrun_monitoring: {{enabled: true}}\n"
        f"run_launcher: {{module: {launcher.__module__}, class: {launcher.__name__}}}\n"
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
