"""Runs as Celery tasks: a waiting one is told from a lost one, and a broker that is away costs no run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from export_pipeline.jobs import Ledger
from export_pipeline.orchestration import dagster_health
from export_pipeline.orchestration.dagster_compat.launchers import (
    CodeUnreachableError,
    WorkerStatus,
    launcher_in,
)
from export_pipeline.orchestration.runs import celery_app, celery_launcher, reconciler
from export_pipeline.orchestration.runs.attempts import CODE_TAG
from export_pipeline.orchestration.runs.code_version import code_version
from export_pipeline.orchestration.runs.reconciler import reconcile
from export_pipeline.settings import SettingsError
from export_pipeline_tests.orchestration.runs.celery_workers import (
    WORKER_PROCESSES,
    CeleryDeployment,
    celery,
    worker_command,
    worker_running,
)
from export_pipeline_tests.orchestration.runs.launching import gone, lease_is_taken, wait
from export_pipeline_tests.paths import ROOT
from export_pipeline_tests.services.postgres import PostgresServer

_STARTING = dg.DagsterRunStatus.STARTING


@pytest.fixture(scope="module")
def deployment(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CeleryDeployment]:
    with postgres.database() as url, celery(tmp_path_factory.mktemp("celery"), url) as running:
        yield running


@contextmanager
def busy(deployment: CeleryDeployment) -> Iterator[None]:
    """The worker has no process for another run within the block."""
    system = deployment.system
    with Ledger(system.url) as ledger:
        with system.held():
            runs = [system.launch() for _ in range(WORKER_PROCESSES)]
            wait(lambda: all(lease_is_taken(ledger, run) for run in runs))
            yield
        for run in runs:
            system.ended(run)


@contextmanager
def frozen(deployment: CeleryDeployment) -> Iterator[None]:
    """The worker may take one more task from the broker and gets no further, as on a machine without network."""
    os.kill(deployment.worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(deployment.worker, signal.SIGCONT)


def status(deployment: CeleryDeployment, run_id: str) -> WorkerStatus:
    system = deployment.system
    return system.launcher.check_run_worker_health(system.run(run_id)).status


@contextmanager
def lost_run(deployment: CeleryDeployment) -> Iterator[str]:
    """A run whose task the broker has lost; its worker is frozen within the block."""
    with frozen(deployment):
        run = deployment.system.launch()
        deployment.broker.flushall()
        assert status(deployment, run) is WorkerStatus.NOT_FOUND
        yield run


@pytest.mark.slow
def test_a_run_that_waits_is_told_from_one_that_is_lost(
    deployment: CeleryDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it waits; a broker that has forgotten it will never bring it."""
    system = deployment.system
    monkeypatch.setattr(reconciler, "START_TIMEOUT", timedelta(0))
    with Ledger(system.url) as ledger, busy(deployment):
        run = system.launch()
        assert status(deployment, run) is WorkerStatus.RUNNING
        reconcile(ledger, system.instance)
        assert system.run(run).status is _STARTING
        deployment.broker.flushall()
        assert status(deployment, run) is WorkerStatus.NOT_FOUND
        reconcile(ledger, system.instance)
    assert system.run(run).status is dg.DagsterRunStatus.FAILURE


@pytest.mark.slow
def test_a_young_run_is_not_lost(deployment: CeleryDeployment) -> None:
    """Its worker may have taken the task, and not yet the lease."""
    system = deployment.system
    with Ledger(system.url) as ledger, frozen(deployment):
        run = system.launch()
        reconcile(ledger, system.instance)
        assert system.run(run).status is _STARTING
    assert system.ended(run) is dg.DagsterRunStatus.SUCCESS


@pytest.mark.slow
def test_a_run_that_a_lost_worker_has_taken_is_lost(
    deployment: CeleryDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker has given the task to a connection that leads nowhere. A worker that comes back ignores it."""
    system = deployment.system
    monkeypatch.setattr(reconciler, "START_TIMEOUT", timedelta(0))
    with Ledger(system.url) as ledger, lost_run(deployment) as run:
        reconcile(ledger, system.instance)
        assert system.run(run).status is dg.DagsterRunStatus.FAILURE
    assert system.ended(system.launch()) is dg.DagsterRunStatus.SUCCESS
    assert system.run(run).status is dg.DagsterRunStatus.FAILURE
    assert system.files(run) == 0


@pytest.mark.slow
def test_a_run_that_waits_is_withdrawn(deployment: CeleryDeployment) -> None:
    system = deployment.system
    with busy(deployment):
        run = system.launch()
        assert system.launcher.terminate(run)
        assert system.run(run).status is dg.DagsterRunStatus.CANCELED
    assert system.ended(system.launch()) is dg.DagsterRunStatus.SUCCESS
    assert system.run(run).status is dg.DagsterRunStatus.CANCELED
    assert system.files(run) == 0


@pytest.mark.slow
def test_the_worker_reports_the_death_of_a_process(deployment: CeleryDeployment) -> None:
    """Before its lease has expired; while it lives nothing else counts, even if the backend has lost all."""
    system = deployment.system
    with Ledger(system.url) as ledger, system.held():
        run = system.launch()
        wait(lambda: lease_is_taken(ledger, run))
        assert status(deployment, run) is WorkerStatus.RUNNING
        deployment.broker.flushall()
        assert status(deployment, run) is WorkerStatus.RUNNING
        os.kill(system.worker(run), signal.SIGKILL)
        wait(lambda: gone(system.worker(run)))
        wait(lambda: status(deployment, run) is WorkerStatus.FAILED)


@pytest.mark.slow
def test_a_worker_removes_what_its_runs_have_staged(deployment: CeleryDeployment) -> None:
    system = deployment.system
    assert not deployment.left.exists()  # since its start
    run = system.launch()
    assert system.ended(run) is dg.DagsterRunStatus.SUCCESS
    wait(lambda: not (system.folder / "staging" / run).exists())


@pytest.mark.slow
def test_a_run_is_taken_by_a_worker_that_has_its_code(deployment: CeleryDeployment) -> None:
    """While versions are exchanged, old workers end what old code has claimed, and new code's runs wait for new ones."""
    system = deployment.system
    later = system.launch(**{CODE_TAG: "later"})
    assert system.ended(system.launch(**{CODE_TAG: code_version()})) is dg.DagsterRunStatus.SUCCESS
    assert system.ended(system.launch()) is dg.DagsterRunStatus.SUCCESS
    assert system.run(later).status is _STARTING
    assert status(deployment, later) is WorkerStatus.RUNNING
    (finding,) = dagster_health._workers(system.instance)
    assert finding[:2] == (
        "queue_unserved",
        "No Celery worker takes runs from the queue dagster-later; 1 run waits there.",
    )
    folder = system.folder / "later"
    folder.mkdir()
    command = [*worker_command(1), "--queues", "dagster-later"]
    with worker_running(command, folder):
        assert list(dagster_health._workers(system.instance)) == []
        assert system.ended(later) is dg.DagsterRunStatus.SUCCESS


@pytest.mark.slow
def test_a_run_of_a_version_that_has_no_worker_any_more_never_begins(
    deployment: CeleryDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its request begins anew by today's code. Runs of today's code wait for a worker, however long it takes."""
    system = deployment.system
    launcher, earlier = system.launcher, "0123456789ab"
    with Ledger(system.url) as ledger, busy(deployment):
        run, of_today = (system.launch(**{CODE_TAG: code}) for code in (earlier, code_version()))
        assert status(deployment, run) is WorkerStatus.RUNNING  # its worker may be restarting
        for module in (celery_launcher, reconciler):
            monkeypatch.setattr(module, "START_TIMEOUT", timedelta(0))
        with monkeypatch.context() as patch:
            patch.setattr(launcher, "_served_queues", lambda: {launcher.queue_of_code(earlier)})
            assert status(deployment, run) is WorkerStatus.RUNNING  # its worker is busy
        for _ in range(2):  # one answer may be late
            assert system.run(run).status is _STARTING
            launcher._asked_again_at.clear()
            reconcile(ledger, system.instance)
            monkeypatch.setattr(celery_launcher, "_UNSERVED_SECONDS", 0.0)
        assert system.run(run).status is dg.DagsterRunStatus.FAILURE
        assert system.run(of_today).status is _STARTING
    assert system.ended(of_today) is dg.DagsterRunStatus.SUCCESS


@pytest.mark.slow
def test_a_broker_that_is_away_gives_runs_back_to_the_queue(
    deployment: CeleryDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = deployment.system
    with busy(deployment):
        waiting = system.launch()
        address = "redis://127.0.0.1:1/0"
        away = celery_launcher.CeleryRunLauncher("dagster", broker=address, backend=address)
        away.register_instance(system.instance)
        monkeypatch.setattr(system.instance, "_run_launcher", away)
        with pytest.raises(CodeUnreachableError, match="broker is unavailable"):
            system.launch()
        assert status(deployment, waiting) is WorkerStatus.RUNNING  # nobody knows
        assert [code for code, *_ in dagster_health._workers(system.instance)] == ["broker_unreachable"]
        assert away.terminate(waiting)
    assert system.run(waiting).status is dg.DagsterRunStatus.CANCELED


@pytest.mark.slow
def test_a_broker_that_refuses_to_answer_ends_no_run(
    deployment: CeleryDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while it loads its data, or after a change of its password."""
    system = deployment.system
    monkeypatch.setattr(reconciler, "START_TIMEOUT", timedelta(0))
    with Ledger(system.url) as ledger, lost_run(deployment) as run:
        deployment.broker.config_set("requirepass", "changed")
        try:
            with dg.DagsterInstance.from_config(str(system.folder / "home")) as daemon:
                assert (
                    daemon.run_launcher.check_run_worker_health(system.run(run)).status
                    is WorkerStatus.RUNNING
                )
                reconcile(ledger, daemon)
                assert system.run(run).status is _STARTING
                assert daemon.run_launcher.terminate(run)
        finally:
            deployment.broker.config_set("requirepass", "")
    assert system.run(run).status is dg.DagsterRunStatus.CANCELED


def test_a_worker_without_a_launcher_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(SettingsError, match=r"WarmRunLauncher .* deploy/dagster-celery\.yaml"):
        _ = celery_app.app


def test_the_broker_learns_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deployed file names the variables of its databases, and tasks carry the file."""
    url = "postgresql+psycopg2://dagster:Zebra7@db:5432/dagster"
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)
    monkeypatch.setenv("DAGSTER_CELERY_BROKER_URL", "redis://:Gnu9@127.0.0.1:1/0")
    (tmp_path / "dagster.yaml").write_text((ROOT / "deploy" / "dagster-celery.yaml").read_text())
    launcher = launcher_in(tmp_path)
    assert isinstance(launcher, celery_launcher.CeleryRunLauncher)
    assert launcher.celery.conf.broker_url == "redis://:Gnu9@127.0.0.1:1/0"
    assert launcher.celery.conf.worker_max_tasks_per_child == 1
    assert launcher.celery.conf.worker_disable_prefetch is True
    from dagster._core.instance.ref import InstanceRef
    from dagster._serdes import serialize_value

    task = serialize_value(InstanceRef.from_dir(str(tmp_path)))
    assert "DAGSTER_POSTGRES_URL" in task
    assert "Zebra7" not in task
    assert "Gnu9" not in task
