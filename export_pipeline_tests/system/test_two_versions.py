"""An upgrade without a pause: two versions of the code on one ledger, store and broker.

The older one is the code before the newest migration. Two deployments share the ledger: the runs of the first
are tasks of Celery workers, those of the second are forked on its machine.

It runs on demand only, as it takes three minutes at least and the older code must work with the packages of
today: `EXPORT_TEST_MINUTES=60 pytest -s export_pipeline_tests/system/test_two_versions.py` takes an hour.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import dagster as dg
import pytest
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

import export_pipeline.jobs.migrations.versions
from export_pipeline.jobs import Ledger, Status
from export_pipeline.orchestration.runs.attempts import CODE_TAG
from export_pipeline.orchestration.runs.code_version import code_version
from export_pipeline_tests.paths import ROOT
from export_pipeline_tests.system import asking, checks
from export_pipeline_tests.system.deployment import System, daemon, migrate
from export_pipeline_tests.system.kills import RECOVERY_SECONDS
from export_pipeline_tests.system.machines import Machine, machine, running_broker
from export_pipeline_tests.system.processes import Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("EXPORT_TEST_MINUTES" not in os.environ, reason="EXPORT_TEST_MINUTES is not set"),
]

_MINUTES = float(os.environ.get("EXPORT_TEST_MINUTES", "1"))
_SECONDS_BETWEEN = 10.0
_NEW = {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as it was before the newest migration came."""
    (versions,) = export_pipeline.jobs.migrations.versions.__path__
    newest = max(Path(versions).glob("v*.py"))
    git = ["git", "-C", str(ROOT)]
    added = ["log", "-1", "--format=%H", "--diff-filter=A", "--", str(newest)]
    commit = subprocess.run([*git, *added], capture_output=True, text=True, check=False).stdout.strip()
    folder = tmp_path_factory.mktemp("old")
    before = [*git, "archive", f"{commit}~1", "export_pipeline", "workspace.yaml"]
    archive = subprocess.run(before, capture_output=True, check=False)
    if not commit or archive.returncode:
        pytest.skip("the history of the code is not there")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


class Asker:
    """Asks for an export every ten seconds."""

    def __init__(self, system: System) -> None:
        self.asked: list[str] = []
        self._system, self._requests = system, asking.right(system)

    def ask_for(self, share: float) -> None:
        """Ask for a share of the whole time."""
        for request in islice(self._requests, max(1, round(60 * _MINUTES * share / _SECONDS_BETWEEN))):
            self.asked.append(self._system.insert(**request))
            time.sleep(_SECONDS_BETWEEN)


@pytest.mark.timeout(900 + 60 * _MINUTES)
def test_two_versions_share_a_ledger(old_code: Path, tmp_path: Path) -> None:
    with running_broker(tmp_path, launchers=2, more={"PYTHONPATH": str(old_code)}) as (system, _):
        old, new = _version(old_code), code_version()
        assert old != new
        asker = Asker(system)
        workers = {old: machine(system, "old", "old"), new: machine(system, "new", "new", _NEW)}
        workers[old].start()
        asker.ask_for(1 / 12)
        migrate(system.processes.environment | _NEW)
        asker.ask_for(1 / 12)
        workers[new].start()
        second = _exchange_daemon(system, 2)
        asker.ask_for(9 / 12)
        second.stop()
        asker.asked += _finish_what_the_old_one_leaves(system, workers[old], old)
        second.start()
        asker.ask_for(1 / 12)
        system.wait(RECOVERY_SECONDS)

        jobs = [job for job in system.jobs() if job.id in set(asker.asked)]
        assert [job for job in jobs if job.status is not Status.COMPLETED] == []
        assert len(jobs) == len(asker.asked)
        runs = {run.run_id: run for run in _runs(system)}
        versions = {old: "old", new: "new"}
        print(f"\n{checks.summary(jobs)}; attempts {Counter(job.attempt for job in jobs)}")
        print(Counter(versions[runs[str(job.run_id)].tags[CODE_TAG]] for job in jobs))
        for version, worker in workers.items():
            assert _executed(worker, runs.values()) <= {version}
        looked = checks.files_are_right(system, jobs)
        print(f"{looked} files searched for foreign rows")
        checks.nothing_is_wrong(system)


def _version(code: Path) -> str:
    """Return the hash by which runs of other code find their workers."""
    program = (
        "from export_pipeline.orchestration.runs.code_version import code_version; print(code_version())"
    )
    environment = os.environ | {"PYTHONPATH": str(code)}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def _exchange_daemon(system: System, number: int) -> Service:
    """Stop the daemon of a deployment, start that of the new version, and return it."""
    name = "daemon" if number == 1 else f"daemon {number}"
    system.services[name].stop()
    environment = {**system.launchers[number - 1], **_NEW}
    new = daemon(system.processes, system.folder, number, environment)
    new.start()
    return new


def _finish_what_the_old_one_leaves(system: System, worker: Machine, old: str) -> list[str]:
    """The old worker has begun a run, and others wait for it, when it goes for good."""
    asked: list[str] = []
    with system.held():
        deadline = time.monotonic() + RECOVERY_SECONDS
        while not _is_waited_for(system, old):
            assert time.monotonic() < deadline, "no run waits for the old worker"
            for number, scope in enumerate(system.scopes["records"]):
                by = f"asker {len(asked)} {number}"
                asked.append(system.insert(dataset="records", format="csv", scope=scope, requested_by=by))
            time.sleep(10)
        _exchange_daemon(system, 1)
        worker.kill()
    system.wait(2 * RECOVERY_SECONDS)
    return asked


def _is_waited_for(system: System, old: str) -> bool:
    with Ledger(system.url) as ledger:
        runs = [run for run in _runs(system) if run.tags.get(CODE_TAG) == old]
        begun = ledger.leases([run.run_id for run in runs if not run.is_finished])
    waiting = [run for run in runs if run.status is dg.DagsterRunStatus.STARTING and run.run_id not in begun]
    return bool(begun) and bool(waiting)


def _runs(system: System) -> Iterator[dg.DagsterRun]:
    """Yield the runs of all deployments."""
    for environment in system.launchers:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            with dg.DagsterInstance.get() as instance:
                yield from instance.get_runs()


def _executed(worker: Machine, runs: Iterable[dg.DagsterRun]) -> set[str]:
    """Return the versions of the code that claimed what a worker has executed."""
    log = worker.worker.log.read_text(errors="replace")
    tasks = {run.tags.get(DAGSTER_CELERY_TASK_ID_TAG): run.tags[CODE_TAG] for run in runs}
    return {version for task, version in tasks.items() if task and task in log}
