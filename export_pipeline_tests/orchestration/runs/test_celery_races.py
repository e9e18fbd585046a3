"""Workers take runs while somebody asks about them, versions are exchanged, and brokers hang."""

from __future__ import annotations

import socket
import time
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
from dagster_celery import launcher as of_dagster
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_TASK_ID_TAG

from export_pipeline.jobs import Ledger
from export_pipeline.orchestration.dagster_compat.launchers import LaunchRunContext, WorkerStatus
from export_pipeline.orchestration.runs import celery_launcher, reconciler
from export_pipeline.orchestration.runs.attempts import CODE_TAG
from export_pipeline.orchestration.runs.celery_launcher import CeleryRunLauncher
from export_pipeline.orchestration.runs.code_version import code_version
from export_pipeline.orchestration.runs.reconciler import reconcile
from export_pipeline_tests.orchestration.deployment import Deployment
from export_pipeline_tests.orchestration.runs.leases import SECOND, pass_time

_STARTING, _STARTED = dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED
_OLD = "0123456789ab"


@dg.job
def job() -> None:
    pass


@pytest.fixture
def launcher(deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> CeleryRunLauncher:
    """A launcher whose broker is in this process. Every run is of this code."""
    monkeypatch.setattr(celery_launcher, "is_of_this_code", lambda _: True)
    made = CeleryRunLauncher("dagster", broker="memory://", backend="cache+memory://")
    made.register_instance(deployment.instance)
    return made


def queue_of_launch(
    launcher: CeleryRunLauncher,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    tags: dict[str, str],
    parent_run_id: str | None = None,
) -> tuple[str, str]:
    """Launch a run with these tags; return the queue that it goes to, and the version of its code."""
    sent: list[dg.DagsterRun] = []
    monkeypatch.setattr(
        of_dagster.CeleryRunLauncher, "launch_run", lambda _, context: sent.append(context.dagster_run)
    )
    parent = {"parent_run_id": parent_run_id, "root_run_id": parent_run_id}
    run = instance.create_run_for_job(job, tags=tags, **parent)  # type: ignore[arg-type]
    launcher.launch_run(LaunchRunContext(run, None))
    stored = instance.get_run_by_id(run.run_id)
    assert stored is not None
    queue = sent[0].tags[DAGSTER_CELERY_QUEUE_TAG]
    assert stored.tags[DAGSTER_CELERY_QUEUE_TAG] == queue
    return queue, stored.tags.get(CODE_TAG, "")


def test_a_re_execution_goes_to_workers_with_the_code_of_today(
    launcher: CeleryRunLauncher, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parent's tags name code that no worker has any more; so do those of a copy from the launchpad."""
    instance, now = deployment.instance, (f"dagster-{code_version()}", code_version())
    old = {CODE_TAG: _OLD, DAGSTER_CELERY_QUEUE_TAG: f"dagster-{_OLD}", DAGSTER_CELERY_TASK_ID_TAG: "task"}
    parent = instance.create_run_for_job(job, tags=old)
    assert queue_of_launch(launcher, instance, monkeypatch, old, parent.run_id) == now
    assert queue_of_launch(launcher, instance, monkeypatch, old) == now


def test_a_claimed_request_waits_for_the_code_that_claimed_it(
    launcher: CeleryRunLauncher, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the broker was away at its first launch; a queue that somebody chose stays."""
    instance, claimed = deployment.instance, (f"dagster-{_OLD}", _OLD)
    assert queue_of_launch(launcher, instance, monkeypatch, {CODE_TAG: _OLD}) == claimed
    again = {CODE_TAG: _OLD, DAGSTER_CELERY_QUEUE_TAG: f"dagster-{_OLD}"}
    assert queue_of_launch(launcher, instance, monkeypatch, again) == claimed
    chosen = {DAGSTER_CELERY_QUEUE_TAG: "dagster-large"}
    parent = instance.create_run_for_job(job, tags=chosen)
    assert queue_of_launch(launcher, instance, monkeypatch, chosen) == ("dagster-large", "")
    assert queue_of_launch(launcher, instance, monkeypatch, chosen, parent.run_id) == ("dagster-large", "")


@pytest.mark.parametrize("takes", ["lease", "status", "nothing"])
def test_a_run_that_is_taken_while_its_health_is_checked_is_not_lost(
    launcher: CeleryRunLauncher,
    deployment: Deployment,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    takes: str,
) -> None:
    """A worker takes the last task of the queue after the lease was read."""
    run = deployment.instance.create_run_for_job(job, status=_STARTING)

    def waiting(_: Any) -> int:
        if takes == "lease":
            ledger.expect_lease(run.run_id)
        elif takes == "status":
            deployment.instance.handle_new_event(_started(run))
        return 0

    monkeypatch.setattr(launcher, "_waiting", waiting)
    healthy = WorkerStatus.NOT_FOUND if takes == "nothing" else WorkerStatus.RUNNING
    assert launcher.check_run_worker_health(run).status is healthy


def _started(run: dg.DagsterRun) -> dg.EventLogEntry:
    event = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name)
    return dg.EventLogEntry(
        error_info=None, level="debug", user_message="", run_id=run.run_id, timestamp=time.time(),
        job_name=run.job_name, dagster_event=event,
    )  # fmt: skip


@pytest.mark.parametrize("begins", [True, False])
def test_a_run_that_begins_while_it_is_terminated_is_not_called_canceled(
    launcher: CeleryRunLauncher,
    deployment: Deployment,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    begins: bool,
) -> None:
    """Its heartbeat ends it, and only then it is canceled."""
    run = deployment.instance.create_run_for_job(job, status=_STARTING)

    def revoke(_: Any, run_id: str) -> bool:
        if begins:
            ledger.expect_lease(run_id)
        return True

    monkeypatch.setattr(of_dagster.CeleryRunLauncher, "terminate", revoke)
    assert launcher.terminate(run.run_id)
    stored = deployment.instance.get_run_by_id(run.run_id)
    assert stored is not None
    canceled = dg.DagsterRunStatus.CANCELING if begins else dg.DagsterRunStatus.CANCELED
    assert stored.status is canceled


_OTHERS = [[{"name": "dagster-ffffffffffff"}, {"name": "dagster"}]]
_ITS_OWN = [*_OTHERS, [{"name": f"dagster-{_OLD}"}]]


@pytest.mark.parametrize(
    ("answers", "is_given_up"),
    [
        ([(0, _OTHERS), (61, _OTHERS)], True),
        ([(0, _OTHERS), (30, _OTHERS), (61, _OTHERS)], True),
        ([(0, _OTHERS), (30, []), (61, _OTHERS)], True),
        ([(0, _OTHERS)], False),
        ([(0, _OTHERS), (30, _OTHERS)], False),
        ([(0, []), (61, []), (122, [])], False),
        ([(0, []), (61, _OTHERS)], False),
        ([(0, _OTHERS), (61, [])], False),
        ([(0, _OTHERS), (61, _ITS_OWN)], False),
        ([(0, _OTHERS), (30, _ITS_OWN), (61, _OTHERS)], False),
        ([(0, _OTHERS), (9_000, _OTHERS)], False),
    ],
)
def test_a_run_of_older_code_is_given_up_after_two_answers_of_others(
    deployment: Deployment,
    launcher: CeleryRunLauncher,
    monkeypatch: pytest.MonkeyPatch,
    answers: list[tuple[float, list[list[dict[str, str]]]]],
    is_given_up: bool,
) -> None:
    """One broadcast that its workers do not answer in time, loaded or restarting, proves nothing."""
    run = old_run(deployment, launcher, monkeypatch)
    seen: list[WorkerStatus] = []
    for now, queues in answers:
        seen.append(health(launcher, run, monkeypatch, now, queues))
    assert set(seen[:-1]) <= {WorkerStatus.RUNNING}
    assert seen[-1] is (WorkerStatus.NOT_FOUND if is_given_up else WorkerStatus.RUNNING)


@pytest.mark.parametrize("of", ["loaded_version", "code_version"])
def test_a_run_of_the_code_that_is_loaded_or_on_disk_waits_for_a_worker(
    deployment: Deployment, launcher: CeleryRunLauncher, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    monkeypatch.setattr(celery_launcher, of, lambda: _OLD)
    run = old_run(deployment, launcher, monkeypatch)
    for now in (0, 61, 122):
        assert health(launcher, run, monkeypatch, now, _OTHERS) is WorkerStatus.RUNNING


def old_run(
    deployment: Deployment, launcher: CeleryRunLauncher, monkeypatch: pytest.MonkeyPatch
) -> dg.DagsterRun:
    """Return a run that waits in the queue of older code for more than a minute."""
    monkeypatch.setattr(celery_launcher, "_unserved", {})
    monkeypatch.setattr(celery_launcher, "START_TIMEOUT", timedelta(0))
    monkeypatch.setattr(CeleryRunLauncher, "_waiting", lambda *_: 1)
    tags = {CODE_TAG: _OLD, DAGSTER_CELERY_QUEUE_TAG: f"dagster-{_OLD}"}
    return deployment.instance.create_run_for_job(job, tags=tags, status=_STARTING)


def health(
    launcher: CeleryRunLauncher,
    run: dg.DagsterRun,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    queues: list[list[dict[str, str]]],
) -> WorkerStatus:
    """Return what a new launcher says at a time, if workers answer that they serve these queues."""
    made = CeleryRunLauncher("dagster", broker="memory://", backend="cache+memory://")
    made.register_instance(launcher._instance)
    with monkeypatch.context() as patch:
        answers = [{f"worker {number}": one} for number, one in enumerate(queues)]
        patch.setattr(made.celery.control, "broadcast", lambda *_, **__: answers)
        patch.setattr(time, "monotonic", lambda: 1_000.0 + seconds)
        return made.check_run_worker_health(run).status


@pytest.mark.slow
def test_a_broker_that_hangs_is_asked_once(ledger: Ledger) -> None:
    """It takes connections and says nothing. So does the backend."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        launcher = CeleryRunLauncher("dagster", broker=address, backend=address)
        run = dg.DagsterRun(job_name="job", tags={DAGSTER_CELERY_TASK_ID_TAG: "task"})
        began = time.monotonic()
        assert launcher._waiting(run) is None
        assert not launcher._has_failed(run)
        took = time.monotonic() - began
        assert 0 < took < 25
        began = time.monotonic()
        for _ in range(1_000):
            assert launcher._waiting(run) is None
            assert not launcher._has_failed(run)
        assert time.monotonic() - began < 1


def test_dead_runs_are_ended_before_launchers_are_asked(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Launchers may answer too slowly for one tick."""
    monkeypatch.setattr(reconciler, "START_TIMEOUT", timedelta(0))
    instance = deployment.instance
    dead = instance.create_run_for_job(job, status=_STARTED)
    waiting = [instance.create_run_for_job(job, status=_STARTING) for _ in range(3)]
    ledger.hold_lease(dead.run_id, "a process that died")
    for _ in range(2):
        pass_time(deployment.source.url, timedelta(minutes=2))
        ledger.check_leases([dead.run_id])
    assert ledger.leases([dead.run_id])[dead.run_id].is_lost
    seen: list[Any] = []

    def ask(_: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
        stored = instance.get_run_by_id(dead.run_id)
        seen.append((run.run_id, stored and stored.status))
        time.sleep(SECOND.total_seconds())
        return False

    monkeypatch.setattr(reconciler, "has_lost_worker", ask)
    reconcile(ledger, instance, until=time.monotonic() + 0.9)
    assert len(seen) == 1
    assert seen[0][0] in {run.run_id for run in waiting}
    assert seen[0][1] is dg.DagsterRunStatus.FAILURE
