"""Runs renew their leases: the dead are found by them alone, and one that was taken for dead ends itself."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pytest

from export_pipeline.definitions import defs
from export_pipeline.formats.csv import write as csv
from export_pipeline.jobs import Attempt, Job, Ledger, Status
from export_pipeline.jobs.leases import LAST_CALL, LEASE
from export_pipeline.jobs.stats import Statistics
from export_pipeline.orchestration import store_io_manager
from export_pipeline.orchestration.runs import heartbeat
from export_pipeline.orchestration.runs.attempts import job_tags
from export_pipeline.orchestration.runs.reconciler import reconcile
from export_pipeline.store.publish import publish
from export_pipeline_tests.orchestration.deployment import Deployment, failures
from export_pipeline_tests.orchestration.requesting import insert, launch, tick
from export_pipeline_tests.orchestration.runs.leases import (
    SECOND,
    pass_time,
    reconcile_after_silence,
    wait_for_heartbeat,
)


@pytest.fixture
def request_(deployment: Deployment, ledger: Ledger) -> Job:
    """A request that waits."""
    return ledger.get(insert(deployment, scope=deployment.scope))


@pytest.fixture
def elsewhere() -> Iterator[dg.DagsterInstance]:
    """The instance of a second deployment on the same ledger; or of the first one, emptied."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def while_rendering(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """Do something when the first run has come to rendering; later ones render only."""
    render, once = csv.render, iter([act])

    def acting(*arguments: Any) -> Any:
        next(once, lambda: None)()
        return render(*arguments)

    monkeypatch.setattr(csv, "render", acting)


def lease_is_taken(ledger: Ledger, job: Job) -> bool:
    run_id = ledger.get(job.id).run_id or ""
    lease = ledger.leases([run_id]).get(run_id)
    return lease is not None and lease.worker_id is not None


def wait(done: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_living_run_is_left_alone_by_everybody(
    deployment: Deployment,
    ledger: Ledger,
    request_: Job,
    elsewhere: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its own deployment, by another one, and by its own whose database was emptied."""
    seen: list[Any] = []

    def look() -> None:
        wait(lambda: lease_is_taken(ledger, request_))
        pass_time(deployment.source.url, LEASE - 10 * SECOND)
        for instance in (deployment.instance, elsewhere):
            seen.append(reconcile(ledger, instance))
            seen.append(ledger.get(request_.id).status)

    while_rendering(monkeypatch, look)
    (request,) = tick(deployment)
    result = launch(deployment, request)
    assert result.success
    assert seen == [0, Status.PROCESSING] * 2
    assert ledger.get(request_.id).status is Status.COMPLETED
    (lease,) = ledger.leases([result.run_id]).values()
    assert lease.host == socket.gethostname()
    assert uuid.UUID(str(lease.worker_id)).version == 4
    assert lease.worker_id != result.run_id
    with Statistics(deployment.source.url) as statistics:
        ((host, size), (disk, _)) = next(iter(statistics.staging_disks(LEASE).items()))
    assert (host, size) == (socket.gethostname(), shutil.disk_usage(deployment.staging).total)
    assert 0 < disk.free <= size


@pytest.mark.slow
def test_a_terminated_run_ends_even_if_the_signal_got_lost(
    deployment: Deployment, ledger: Ledger, request_: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the launcher is on another machine, and what it tells the worker does not arrive."""
    monkeypatch.setattr(heartbeat, "RENEW_SECONDS", 1.0)

    def terminate() -> None:
        run = deployment.instance.get_run_by_id(ledger.get(request_.id).run_id or "")
        assert run is not None
        deployment.instance.report_run_canceling(run)
        for _ in range(200):
            time.sleep(0.1)

    while_rendering(monkeypatch, terminate)
    (request,) = tick(deployment)
    result = launch(deployment, request)
    run = deployment.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.CANCELED
    reconcile(ledger, deployment.instance)
    assert ledger.get(request_.id).status is Status.CANCELED
    assert deployment.stored() == set()


@pytest.mark.parametrize("who", ["its own deployment", "another deployment"])
def test_a_dead_run_is_found_by_whoever_looks(
    deployment: Deployment, ledger: Ledger, request_: Job, elsewhere: dg.DagsterInstance, who: str
) -> None:
    """Also by one whose Dagster knows nothing of it; a poller never sees it fail."""
    run = _begun(deployment, ledger, request_)
    ledger.hold_lease(run.run_id, "a process that died")
    instance = deployment.instance if who == "its own deployment" else elsewhere
    assert reconcile_after_silence(ledger, instance, deployment.source.url) == 1
    job = ledger.get(request_.id)
    assert (job.status, job.attempt, job.error_code) == (Status.PENDING, 2, None)
    reconcile(ledger, deployment.instance)
    ended = deployment.instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE
    kinds = [event.kind for event in ledger.events(job.id)]
    assert kinds == ["requested", "started", "requested"]
    assert "Its worker was lost. It is tried again." in str(ledger.events(job.id)[-1].details)


def test_runs_that_nobody_asked_for_in_the_ledger_are_ended_too(
    deployment: Deployment, ledger: Ledger
) -> None:
    """As those of the UI; those of other code locations are not ours to judge."""
    job = deployment.definitions.resolve_job_def("takeoff_on_demand_job")
    instance = deployment.instance

    def started(module: str) -> dg.DagsterRun:
        from dagster._core.code_pointer import ModuleCodePointer
        from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin

        origin = JobPythonOrigin(job.name, RepositoryPythonOrigin("python", ModuleCodePointer(module, "d")))
        status = dg.DagsterRunStatus.STARTED
        return instance.create_run_for_job(job, status=status, job_code_origin=origin)

    ours, foreign = started("export_pipeline.definitions"), started("somebody.else")
    reconcile_after_silence(ledger, instance, deployment.source.url)
    left = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    assert [run.run_id for run in left] == [foreign.run_id]
    assert ledger.leases([ours.run_id])[ours.run_id].is_lost


@pytest.mark.slow
def test_a_stopped_run_that_goes_on_ends_and_replaces_nothing(
    deployment: Deployment, ledger: Ledger, request_: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped while it rendered."""

    def stopped() -> None:
        wait(lambda: lease_is_taken(ledger, request_))
        monkeypatch.setattr(heartbeat, "RENEW_SECONDS", 600)
        reconcile_after_silence(ledger, deployment.instance, deployment.source.url)
        monkeypatch.setattr(heartbeat, "RENEW_SECONDS", 5)
        time.sleep(120)  # the heartbeat notices long before

    while_rendering(monkeypatch, stopped)
    (request,) = tick(deployment)
    begun = time.monotonic()
    assert not launch(deployment, request).success
    assert time.monotonic() - begun < 119
    assert deployment.stored() == set()
    assert (ledger.get(request_.id).status, ledger.get(request_.id).attempt) == (Status.PENDING, 2)
    reconcile(ledger, deployment.instance)
    (request,) = tick(deployment)
    assert launch(deployment, request).success
    job = ledger.get(request_.id)
    assert (job.status, job.attempt) == (Status.COMPLETED, 2)
    assert deployment.manifest(str(job.file_key))["hash"] == f"sha256:{job.sha256}"


@pytest.mark.slow
@pytest.mark.parametrize("asked", [True, False])
def test_a_run_that_was_taken_for_dead_does_not_publish(
    deployment: Deployment,
    ledger: Ledger,
    request_: Job,
    monkeypatch: pytest.MonkeyPatch,
    asked: bool,
) -> None:
    """The last question comes before its heartbeat has looked again; also for a run without a job."""

    def late(*arguments: Any, **options: Any) -> Any:
        (run,) = deployment.instance.get_runs()
        wait(lambda: run.run_id in ledger.leases([run.run_id]))
        monkeypatch.setattr(heartbeat, "RENEW_SECONDS", 600)
        ledger.check_leases([run.run_id], doubted=[run.run_id])
        pass_time(deployment.source.url, LAST_CALL + SECOND)
        assert ledger.check_leases([run.run_id], doubted=[run.run_id])[run.run_id].is_lost
        return publish(*arguments, **options)

    monkeypatch.setattr(store_io_manager, "publish", late)
    if asked:
        (request,) = tick(deployment)
        result = launch(deployment, request)
    else:
        result = deployment.run()
    assert "was declared dead" in failures(result)["render_csv"]
    assert deployment.stored() == set()


@pytest.mark.slow
def test_an_outage_of_the_ledger_costs_no_lease(
    deployment: Deployment, ledger: Ledger, request_: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All leases have expired when it is back, and the daemon looks first."""

    def outage() -> None:
        wait(lambda: lease_is_taken(ledger, request_))
        pass_time(deployment.source.url, 600 * SECOND)
        monkeypatch.setattr(heartbeat, "RENEW_SECONDS", 0)
        reconcile(ledger, deployment.instance)
        wait_for_heartbeat("hold_lease", 2)
        pass_time(deployment.source.url, LAST_CALL + SECOND)
        reconcile(ledger, deployment.instance)

    while_rendering(monkeypatch, outage)
    (request,) = tick(deployment)
    assert launch(deployment, request).success
    assert (ledger.get(request_.id).status, ledger.get(request_.id).attempt) == (Status.COMPLETED, 1)


def test_an_identical_request_does_not_join_a_dead_run(
    deployment: Deployment, ledger: Ledger, request_: Job
) -> None:
    run = _begun(deployment, ledger, request_)
    ledger.hold_lease(run.run_id, "a process")
    joins = insert(deployment, scope=deployment.scope)
    assert tick(deployment) == []
    assert ledger.get(joins).run_id == run.run_id
    pass_time(deployment.source.url, LEASE + SECOND)
    late = insert(deployment, scope=deployment.scope)
    (request,) = tick(deployment)
    assert request.run_key == f"{late}:1"


def test_a_claim_whose_run_waits_is_not_given_to_another_deployment(
    deployment: Deployment, ledger: Ledger, request_: Job, elsewhere: dg.DagsterInstance
) -> None:
    (request,) = tick(deployment)
    job = deployment.definitions.resolve_job_def(str(request.job_name))
    waiting = dg.DagsterRunStatus.STARTING
    deployment.instance.create_run_for_job(job, tags=dict(request.tags), status=waiting)
    for _ in range(3):
        earlier = "strftime('%Y-%m-%dT%H:%M:%f', claimed_at, '-50 seconds') || '000+00:00'"
        deployment.source.rows(f"UPDATE export_jobs SET claimed_at = {earlier}")
        reconcile(ledger, elsewhere)
        assert ledger.claim(1) == []
        reconcile(ledger, deployment.instance)


@pytest.mark.slow
def test_a_run_that_dagster_calls_failed_goes_on_while_it_lives(
    deployment: Deployment, ledger: Ledger, request_: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As launchers do that cannot see their workers."""

    def called_dead() -> None:
        wait(lambda: lease_is_taken(ledger, request_))
        monkeypatch.setattr(heartbeat, "RENEW_SECONDS", 0)
        run = deployment.instance.get_run_by_id(str(ledger.get(request_.id).run_id))
        assert run is not None
        deployment.instance.report_run_failed(run, "Its worker is unknown.")
        assert reconcile(ledger, deployment.instance) == 0
        wait_for_heartbeat("hold_lease", 2)
        pass_time(deployment.source.url, LAST_CALL + SECOND)
        assert reconcile(ledger, deployment.instance) == 0

    while_rendering(monkeypatch, called_dead)
    (request,) = tick(deployment)
    launch(deployment, request)
    assert (ledger.get(request_.id).status, ledger.get(request_.id).attempt) == (Status.COMPLETED, 1)


def takeoff_job() -> dg.JobDefinition:
    """With the deployment's own executor, as workers have it."""
    return defs().resolve_job_def("takeoff_on_demand_job")


@pytest.mark.slow
@pytest.mark.parametrize("by", ["kill", "stop"])
def test_a_process_that_is_killed_or_stopped(deployment: Deployment, ledger: Ledger, by: str) -> None:
    """A run process of any launcher; the stopped one goes on later, notices, and ends."""
    job = ledger.request("takeoff", "csv", scope=deployment.scope)
    deployment.instance.add_dynamic_partitions("takeoff_scopes", [deployment.scope])
    pid = os.fork()
    if not pid:
        try:
            csv.render = lambda *_: time.sleep(60)
            tags = {"dagster/partition": deployment.scope} | job_tags([job])
            key = dg.AssetKey(["takeoff", "on_demand", "csv"])
            with dg.execute_job(
                dg.reconstructable(takeoff_job), deployment.instance, asset_selection=[key], tags=tags
            ):
                pass
        finally:
            os._exit(1)
    try:
        wait(lambda: ledger.get(job.id).status is Status.PROCESSING)
        wait(lambda: lease_is_taken(ledger, job))
        if by == "kill":
            os.kill(pid, signal.SIGKILL)
        else:
            stop_outside_of_writing(pid, deployment)
        reconcile_after_silence(ledger, deployment.instance, deployment.source.url)
        assert (ledger.get(job.id).status, ledger.get(job.id).attempt) == (Status.PENDING, 2)
        if by == "stop":
            os.kill(pid, signal.SIGCONT)
            wait(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None)
        (request,) = tick(deployment)
        assert launch(deployment, request).success
        assert (ledger.get(job.id).status, ledger.get(job.id).attempt) == (Status.COMPLETED, 2)
    finally:
        # A child that stays would hold the pipes of this process's servers open.
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def stop_outside_of_writing(pid: int, deployment: Deployment) -> None:
    """Stop a process that holds no lock of the database: one that holds it would stop every writer of SQLite."""

    def stopped() -> bool:
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        connection = sqlite3.connect(deployment.source.path, timeout=0)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            os.kill(pid, signal.SIGCONT)
            return False
        finally:
            connection.close()
        return True

    wait(stopped)


def test_without_a_ledger_there_is_no_lease(deployment: Deployment) -> None:
    assert deployment.run().success
    assert deployment.source.rows("SELECT name FROM sqlite_master WHERE name LIKE 'export%'") == []


def _begun(deployment: Deployment, ledger: Ledger, job: Job) -> dg.DagsterRun:
    """A run that has said in the ledger that it works on a job, and then no more."""
    definition = deployment.definitions.resolve_job_def("takeoff_on_demand_job")
    run = deployment.instance.create_run_for_job(
        definition, tags=job_tags([job]), status=dg.DagsterRunStatus.STARTED
    )
    ledger.claim(1)
    ledger.started(Attempt(job.id, job.attempt, run.run_id))
    return run
