"""Requests whose run died, never began or belongs to somebody else: each ends, and none is judged too early."""

from __future__ import annotations

import logging
import os
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg2
import pytest
import sqlalchemy as sa
import yaml
from dagster._daemon.monitoring import run_monitoring

from export_pipeline.formats.csv import write as csv
from export_pipeline.jobs import Attempt, Job, Ledger, Status
from export_pipeline.orchestration.runs.reconciler import MAX_ATTEMPTS, end_local_jobs, reconcile
from export_pipeline.orchestration.sensors.queue import HELD_SECONDS, MAX_DISPATCHES
from export_pipeline_tests.orchestration.deployment import Deployment
from export_pipeline_tests.orchestration.jobs import exports
from export_pipeline_tests.orchestration.requesting import insert, launch, tick
from export_pipeline_tests.orchestration.runs.leases import reconcile_after_silence
from export_pipeline_tests.paths import ROOT

_LONG_AGO = "claimed_at = '2026-01-01 00:00:00.000'"


def test_a_run_of_another_instance_is_not_judged(deployment: Deployment, ledger: Ledger) -> None:
    """A command line with another DAGSTER_HOME works on a job: Dagster here knows nothing of its run."""
    job = ledger.request("takeoff", "csv", scope=deployment.scope)
    ledger.started(Attempt(job.id, 1, "elsewhere"))
    assert reconcile(ledger, deployment.instance) == 0
    assert ledger.get(job.id).status is Status.PROCESSING
    mine = ledger.request("takeoff", "pdf", scope=deployment.scope)
    end_local_jobs(ledger, deployment.instance, [mine], ["it broke"])
    assert ledger.get(mine.id).error_message == "it broke"
    assert ledger.get(job.id).status is Status.PROCESSING


@pytest.mark.slow
def test_a_second_run_of_an_attempt_does_not_fail_the_one_that_works(
    deployment: Deployment, ledger: Ledger
) -> None:
    """Two deployments on one ledger dispatched the same attempt: the run that came too late has failed."""
    job = ledger.request("takeoff", "csv", scope=deployment.scope)
    (request,) = tick(deployment)
    ledger.started(Attempt(job.id, 1, "of another deployment"))
    assert not launch(deployment, request).success
    deployment.source.rows("UPDATE export_jobs SET started_at = '2026-01-01 00:00:00.000'")
    reconcile(ledger, deployment.instance)
    job = ledger.get(job.id)
    assert (job.status, job.run_id) == (Status.PROCESSING, "of another deployment")


@pytest.mark.slow
@pytest.mark.parametrize("error", [psycopg2.OperationalError, psycopg2.InterfaceError])
def test_an_outage_of_dagster_s_own_database_is_no_fault_of_the_request(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def lost(*_: Any) -> None:
        raise sa.exc.OperationalError("INSERT", {}, error("the server closed the connection"))

    id = insert(deployment, scope=deployment.scope)
    (request,) = tick(deployment)
    with monkeypatch.context() as patch:
        patch.setattr(csv, "render", lost)
        assert not launch(deployment, request).success
    reconcile_after_silence(ledger, deployment.instance, deployment.source.url)
    assert (ledger.get(id).status, ledger.get(id).attempt) == (Status.PENDING, 2)
    (request,) = tick(deployment)
    assert launch(deployment, request).success
    assert ledger.get(id).status is Status.COMPLETED


@pytest.mark.slow
def test_a_failing_run_fails_its_job(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export_pipeline.formats.base import RenderError

    def breaks(*_: Any) -> Any:
        raise RenderError("The cell cannot be written; shorten it.")

    monkeypatch.setattr(csv, "render", breaks)
    id = insert(deployment, scope=deployment.scope)
    (request,) = tick(deployment)
    assert not launch(deployment, request).success
    reconcile(ledger, deployment.instance)
    job = ledger.get(id)
    assert (job.status, job.error_code) == (Status.FAILED, "export_failed")
    assert job.error_message == "The cell cannot be written; shorten it."
    assert deployment.stored() == set()
    again = ledger.retry(id)
    monkeypatch.undo()
    (request,) = tick(deployment)
    assert request.run_key == f"{id}:{again.attempt}" == f"{id}:2"
    assert launch(deployment, request).success
    assert ledger.get(id).status is Status.COMPLETED


@pytest.mark.slow
def test_a_lost_worker_is_replaced_a_few_times(deployment: Deployment, ledger: Ledger) -> None:
    """As run monitoring does it: the run fails, and no step said why."""
    id = insert(deployment, scope=deployment.scope)
    for number in range(1, MAX_ATTEMPTS + 1):
        (request,) = tick(deployment)
        run = _begun(deployment, request, ledger.get(id))
        deployment.instance.report_run_failed(run, "The worker was lost.")
        reconcile_after_silence(ledger, deployment.instance, deployment.source.url)
        assert ledger.get(id).attempt == min(number + 1, MAX_ATTEMPTS)
    job = ledger.get(id)
    assert (job.status, job.error_code) == (Status.FAILED, "worker_lost")
    assert "export-pipeline retry" in str(job.error_message)
    assert tick(deployment) == []


@pytest.mark.slow
def test_runs_that_never_began_use_no_attempt_but_end_some_time(
    deployment: Deployment, ledger: Ledger
) -> None:
    """As when the code server or the worker dies before the first step; also for those who share the run."""
    ids = [insert(deployment, scope=deployment.scope) for _ in range(2)]
    keys = []
    for _ in range(MAX_DISPATCHES):
        (request,) = tick(deployment)
        keys.append(request.run_key)
        _lost(deployment, request)
    assert len(set(keys)) == MAX_DISPATCHES  # Dagster drops one that it knows
    assert {ledger.get(id).attempt for id in ids} == {1}
    assert tick(deployment) == []
    assert {ledger.get(id).error_code for id in ids} == {"not_started"}


@pytest.mark.slow
def test_after_a_run_that_never_began_the_next_one_exports(deployment: Deployment, ledger: Ledger) -> None:
    ids = [insert(deployment, scope=deployment.scope) for _ in range(2)]
    (request,) = tick(deployment)
    _lost(deployment, request)
    (request,) = tick(deployment)
    assert launch(deployment, request).success
    assert {ledger.get(id).status for id in ids} == {Status.COMPLETED}
    assert {ledger.get(id).attempt for id in ids} == {1}


def test_a_run_that_waits_long_is_not_asked_for_twice(deployment: Deployment, ledger: Ledger) -> None:
    """Nor is its request refused, however often it was offered."""
    id = insert(deployment, scope=deployment.scope)
    (request,) = tick(deployment)
    _created(deployment, request, dg.DagsterRunStatus.STARTING)
    deployment.source.rows(f"UPDATE export_jobs SET {_LONG_AGO}, offers = {MAX_DISPATCHES} WHERE id = '{id}'")
    assert tick(deployment) == []
    assert ledger.get(id).status is Status.PENDING


def test_a_claim_that_came_to_nothing_is_made_again_after_a_minute(
    deployment: Deployment, ledger: Ledger
) -> None:
    """As when the daemon dies while its sensor claims."""
    insert(deployment, scope=deployment.scope)
    (lost,) = tick(deployment)
    for seconds, keys in ((50, []), (70, [lost.run_key])):
        claimed = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="microseconds")
        deployment.source.rows(f"UPDATE export_jobs SET claimed_at = '{claimed}'")
        assert [again.run_key for again in tick(deployment)] == keys


def test_a_run_that_was_only_written_down_is_asked_for_again(deployment: Deployment, ledger: Ledger) -> None:
    """Dagster starts it when it meets its key."""
    insert(deployment, scope=deployment.scope)
    (request,) = tick(deployment)
    _created(deployment, request, dg.DagsterRunStatus.NOT_STARTED)
    deployment.source.rows(f"UPDATE export_jobs SET {_LONG_AGO}")
    assert [again.run_key for again in tick(deployment)] == [request.run_key]


def test_a_run_that_stays_in_starting_is_replaced_within_two_minutes(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the daemon dies between Dagster's note that it launches a run, and the launch."""
    monitoring = yaml.safe_load((ROOT / "dagster.yaml").read_text())["run_monitoring"]
    with dg.instance_for_test(overrides={"run_monitoring": monitoring}) as instance:
        here = replace(deployment, instance=instance)
        instance.add_dynamic_partitions("takeoff_scopes", [deployment.scope])
        insert(here, scope=deployment.scope)
        (request,) = tick(here)
        run = _created(here, request, dg.DagsterRunStatus.NOT_STARTED)
        instance.report_dagster_event(
            dg.DagsterEvent("PIPELINE_STARTING", request.job_name or ""), run.run_id
        )
        for seconds, is_replaced in (
            (60, False),
            (120 - monitoring["poll_interval_seconds"] - 2 * HELD_SECONDS, True),
        ):
            now = time.time() + seconds
            claimed = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="microseconds")
            deployment.source.rows(f"UPDATE export_jobs SET claimed_at = '{claimed}'")
            monkeypatch.setattr(run_monitoring, "get_current_timestamp", lambda now=now: now)
            (record,) = instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
            run_monitoring.monitor_starting_run(instance, record, logging.getLogger())
            assert bool(tick(here)) == is_replaced


def _created(deployment: Deployment, request: dg.RunRequest, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    job = deployment.definitions.resolve_job_def(str(request.job_name))
    return deployment.instance.create_run_for_job(job, tags=dict(request.tags), status=status)


def _lost(deployment: Deployment, request: dg.RunRequest) -> None:
    """A run of a request ends before any step, some time ago."""
    run = _created(deployment, request, dg.DagsterRunStatus.STARTING)
    deployment.instance.report_run_failed(run, "The worker was lost.")
    deployment.source.rows(f"UPDATE export_jobs SET {_LONG_AGO}")


def _begun(deployment: Deployment, request: dg.RunRequest, job: Job) -> dg.DagsterRun:
    """A run of a request that has said in the ledger that it works on it, and then no more."""
    from export_pipeline.orchestration.runs.attempts import start_jobs

    run = deployment.instance.create_run_for_job(
        deployment.definitions.resolve_job_def(str(request.job_name)), tags=dict(request.tags)
    )
    with Ledger(deployment.source.url) as ledger:
        start_jobs(lambda: ledger, run)
    assert job.id in str(request.run_key)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("repaired", [True, False])
def test_a_request_whose_run_dagster_retries_does_not_fail_before(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, repaired: bool
) -> None:
    """With `run_retries` of dagster.yaml: a poller sees it fail only after the last one."""
    retries = {"run_retries": {"enabled": True, "max_retries": 1}}
    with dg.instance_for_test(overrides=retries) as instance:
        here = replace(deployment, instance=instance)
        instance.add_dynamic_partitions("takeoff_scopes", [deployment.scope])
        id = insert(here, scope=deployment.scope)
        (request,) = tick(here)
        key = dg.AssetKey(["takeoff", "on_demand", "csv"])

        def execute(**more: Any) -> dg.DagsterRun:
            tags = dict(request.tags) | {"dagster/partition": deployment.scope} | more.pop("tags", {})
            job = dg.reconstructable(exports)
            with dg.execute_job(job, instance, asset_selection=[key], tags=tags, **more) as result:
                return result.dagster_run

        with monkeypatch.context() as patch:
            patch.setattr(csv, "render", lambda *_: 1 / 0)
            first = execute()
        for _ in range(2):
            reconcile_after_silence(ledger, instance, deployment.source.url)
            assert (ledger.get(id).status, ledger.get(id).attempt) == (Status.PROCESSING, 1)
        again = dg.ReexecutionOptions.from_failure(first.run_id, instance)
        if not repaired:
            monkeypatch.setattr(csv, "render", lambda *_: 1 / 0)
        group = {"dagster/parent_run_id": first.run_id, "dagster/root_run_id": first.run_id}
        second = execute(reexecution_options=again, tags=group)
        instance.add_run_tags(first.run_id, {"dagster/auto_retry_run_id": second.run_id})
        reconcile(ledger, instance)
        job = ledger.get(id)
        expected = (Status.COMPLETED, None) if repaired else (Status.FAILED, "export_failed")
        assert (job.status, job.error_code, job.attempt, job.run_id) == (*expected, 1, second.run_id)


@pytest.mark.slow
def test_a_run_that_is_told_to_end_with_its_machine_is_tried_again(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asked for its end: a container was stopped, or a machine shut down."""

    def ended(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)

    id = insert(deployment, scope=deployment.scope)
    (request,) = tick(deployment)
    with monkeypatch.context() as patch:
        patch.setattr(csv, "render", ended)
        assert not launch(deployment, request).success
    reconcile_after_silence(ledger, deployment.instance, deployment.source.url)
    assert (ledger.get(id).status, ledger.get(id).attempt) == (Status.PENDING, 2)
