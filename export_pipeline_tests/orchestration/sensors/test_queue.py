"""Requests in the ledger: each becomes one run, and ends in the right state whatever happens."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from export_pipeline.datasets import requests as datasets_requests
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.partition_keys import scope_of_key
from export_pipeline.jobs import Attempt, Job, Ledger, Status, migrate
from export_pipeline.orchestration.runs.reconciler import reconcile
from export_pipeline.orchestration.sensors import queue as requests
from export_pipeline.orchestration.sensors.queue import MAX_DISPATCHES
from export_pipeline.sources.snapshot import SourceUnavailableError
from export_pipeline_tests.orchestration.deployment import Deployment
from export_pipeline_tests.orchestration.requesting import fill_odd_scopes, insert, launch, tick

_LONG_AGO = "claimed_at = '2026-01-01 00:00:00.000'"


def _window(**other: Any) -> str:
    return json.dumps({"window": {"name": "w", "start": "2026-01-01", "end": "2026-02-01"} | other})


@pytest.mark.slow
def test_a_row_with_the_least_becomes_a_file(deployment: Deployment, ledger: Ledger) -> None:
    id = insert(deployment, scope=deployment.scope)
    (request,) = tick(deployment)
    assert request.run_key == f"{id}:1"
    result = launch(deployment, request)
    assert result.success
    job = ledger.get(id)
    content = deployment.read(str(job.file_key))
    assert job.status is Status.COMPLETED
    assert job.run_id == result.run_id
    assert job.file_key == f"exports/{deployment.scope}/{id}.csv"
    assert (job.file_size, job.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert job.row_count == deployment.source.exported(deployment.scope)
    assert job.progress_percent == 100
    assert job.expires_at is not None
    assert (job.expires_at - job.completed_at).days in (6, 7)  # type: ignore[operator]
    assert [event.kind for event in ledger.events(id)][:2] == ["requested", "started"]
    assert tick(deployment) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "code", "message"),
    [
        ({"dataset": "nothing"}, "unknown_dataset", "there are archive"),
        ({"format": "doc"}, "unknown_format", "it has csv, excel"),
        ({"scope": "nobody"}, "unknown_scope", "no scope 'nobody'"),
        ({"scope": None}, "no_scope", "needs a scope"),
        (
            {"recipients": '["ann@example.org", "not a mail"]'},
            "invalid_recipients",
            "recipients: 'not a mail' is not a mail",
        ),
        ({"recipients": "[1]"}, "invalid_recipients", "recipients: 1 is not a text."),
        ({"options": '{"group_by": "x"}'}, "invalid_options", "option group_by"),
        ({"options": '{"window": "yesterday"}'}, "invalid_options", "options.window must be"),
        ({"options": '{"window": {"start": "2026-01-01"}}'}, "invalid_options", "options.window must be"),
        ({"options": _window(name=["w"])}, "invalid_options", "options.window must be"),
        ({"options": _window(name="w" * 101)}, "invalid_options", "options.window must be"),
        ({"options": _window(name="a\nb")}, "invalid_options", "options.window must be"),
        ({"options": _window(end="2025-01-01")}, "invalid_options", "the start before the end"),
        ({"options": _window(end="2027-01-01T00:00:00+00:00")}, "invalid_options", "options.window must be"),
        ({"options": _window(start="0001-01-01")}, "invalid_options", "options.window must be"),
        (
            {"options": '{"a": ' * 600 + "1" + "}" * 600},
            "invalid_options",
            "JSON that nests more than 50 deep",
        ),
        ({"options": '{"a": ' + "9" * 5000 + "}"}, "invalid_options", "JSON that cannot be read"),
        ({"scope": "s" * 2_000}, "unknown_scope", "sss … sss"),
        ({"dataset": "sellers"}, "unknown_scope", "has no scopes"),
        ({"dataset": "records", "columns": '["profits_cents"]'}, "unknown_scope", "no scope"),
    ],
)
def test_an_impossible_request_fails_at_once(
    deployment: Deployment, ledger: Ledger, row: dict[str, Any], code: str, message: str
) -> None:

    from export_pipeline.demo import bookkeeping

    engine = sa.create_engine(deployment.source.url)
    bookkeeping.fill(engine)
    engine.dispose()
    values = {name: value for name, value in ({"scope": deployment.scope} | row).items() if value is not None}
    id = insert(deployment, **values)
    assert tick(deployment) == []
    job = ledger.get(id)
    assert (job.status, job.error_code) == (Status.FAILED, code)
    assert message in str(job.error_message)
    assert len(str(job.error_message)) < 5_000


@pytest.mark.parametrize("wrong", ["config", "fault"])
def test_a_request_that_nobody_thought_of_stops_no_other(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    odd = insert(deployment, scope=deployment.scope, requested_by="odd")
    good = insert(deployment, scope=deployment.scope, requested_by="good")
    real = requests._run_on_demand

    def run_on_demand(job: Job, partition: str | None) -> dict[str, Any]:
        if job.id != odd:
            return real(job, partition)
        if wrong == "fault":
            raise ZeroDivisionError("nobody thought of it")
        return real(job, partition) | {"run_config": {"nobody": "thought of it"}}

    monkeypatch.setattr(requests, "_run_on_demand", run_on_demand)
    (request,) = tick(deployment)
    assert request.run_key == f"{good}:1"
    if wrong == "fault":
        assert ledger.get(odd).status is Status.PENDING
        for _ in range(MAX_DISPATCHES):
            deployment.source.rows(f"UPDATE export_jobs SET {_LONG_AGO} WHERE id = '{odd}'")
            assert odd not in str(tick(deployment))
    job = ledger.get(odd)
    assert job.status is Status.FAILED
    assert "nobody" in str(job.error_message)


@pytest.mark.slow
def test_scopes_of_any_characters_are_exported_and_harm_no_other(
    deployment: Deployment, ledger: Ledger
) -> None:
    asked = {
        insert(deployment, scope=scope): scope for scope in (*fill_odd_scopes(deployment), deployment.scope)
    }
    for request in tick(deployment):
        assert not any("\0" in tag for tag in request.tags.values())  # PostgreSQL stores none
        assert launch(deployment, request).success
    keys = {asked[job.id]: (job.status, job.file_key) for job in ledger.find()}
    assert {status for status, _ in keys.values()} == {Status.COMPLETED}
    assert len({key for _, key in keys.values()}) == len(asked)
    for scope, (_, key) in keys.items():
        assert deployment.manifest(str(key))["scope"] == scope


@pytest.mark.parametrize(
    "error", [dg.DagsterUnknownPartitionError("no such partition"), ZeroDivisionError("x")]
)
def test_a_run_that_dagster_refuses_fails_its_own_request_alone(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    good, odd = deployment.source.scopes
    odd_id, good_id = insert(deployment, scope=odd), insert(deployment, scope=good)
    real = dg.JobDefinition.validate_partition_key

    def validate(self: dg.JobDefinition, partition_key: str, *rest: Any, **more: Any) -> None:
        if scope_of_key(partition_key) == odd:
            raise error
        real(self, partition_key, *rest, **more)

    monkeypatch.setattr(dg.JobDefinition, "validate_partition_key", validate)
    (request,) = tick(deployment)
    assert request.run_key == f"{good_id}:1"
    job = ledger.get(odd_id)
    if isinstance(error, dg.DagsterError):
        assert (job.status, job.error_code) == (Status.FAILED, "refused")
        assert "no such partition" in str(job.error_message)
    else:
        assert job.status is Status.PENDING  # offered again, and given up at last


@pytest.mark.parametrize("computes", [True, False])
def test_a_request_that_takes_for_ever_to_check_fails_alone(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, computes: bool
) -> None:
    monkeypatch.setattr(datasets_requests, "CHECK_SECONDS", 0.3)
    slow = insert(deployment, scope=deployment.scope, requested_by="slow")
    good = insert(deployment, scope=deployment.scope, requested_by="good")
    ended = threading.Event()

    def config_of(dataset: Any, job: Job) -> dict[str, Any]:
        try:
            while job.id == slow:
                time.sleep(0 if computes else 0.05)
        finally:
            ended.set()
        return datasets_requests.config_of(dataset, job)

    monkeypatch.setattr(requests, "config_of", config_of)
    (request,) = tick(deployment)
    assert request.run_key == f"{good}:1"
    assert ledger.get(slow).error_code == "check_too_long"
    assert ended.wait(240)  # it does not compute on


@pytest.mark.slow
def test_requests_that_a_tick_has_no_time_for_are_left_to_the_next(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [insert(deployment, scope=deployment.scope, requested_by=str(number)) for number in range(3)]
    with monkeypatch.context() as patched:
        patched.setattr(requests, "CHECKING_SECONDS", -1.0)
        for _ in range(2 * MAX_DISPATCHES):
            assert tick(deployment) == []
    assert {request.run_key for request in tick(deployment)} == {f"{id}:1" for id in ids}


def test_requests_that_are_offered_again_stand_behind_others_and_change_places() -> None:
    def job(id: str, dispatches: int) -> Any:
        return SimpleNamespace(
            id=id,
            dispatches=dispatches,
            window_key=None,
            schedule_id=None,
            identity=id,
            scope=None,
            dataset="d",
        )

    jobs = [job("poison", 2), job("mate", 2), job("new", 1), job("newer", 1)]
    orders = {tuple(same[0].id for same in requests._together(jobs)) for _ in range(200)}
    assert orders == {("new", "newer", "poison", "mate"), ("new", "newer", "mate", "poison")}


@pytest.mark.slow
def test_identical_requests_share_a_run(deployment: Deployment, ledger: Ledger) -> None:
    ids = [insert(deployment, scope=deployment.scope, options='{"group_by": "page"}') for _ in range(3)]
    (request,) = tick(deployment)

    result = launch(deployment, request)
    assert result.success
    jobs = [ledger.get(id) for id in ids]
    assert {job.status for job in jobs} == {Status.COMPLETED}
    assert len({job.file_key for job in jobs}) == 1
    assert {job.run_id for job in jobs} == {result.run_id}


@pytest.mark.slow
def test_a_finished_file_serves_the_same_request_where_the_dataset_allows_it(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = insert(deployment, scope=deployment.scope, requested_by="ann")
    assert launch(deployment, tick(deployment)[0]).success
    insert(deployment, scope=deployment.scope, requested_by="ann")
    assert len(tick(deployment)) == 1  # it does not by itself
    monkeypatch.setattr(Dataset, "reuse_within", timedelta(hours=1))
    again, other = (insert(deployment, scope=deployment.scope, requested_by=name) for name in ("ann", "bob"))
    (request,) = tick(deployment)
    assert request.run_key == f"{other}:1"
    assert ledger.get(again).status is Status.COMPLETED
    assert ledger.get(again).file_key == ledger.get(first).file_key


@pytest.mark.slow
def test_a_job_that_joined_a_run_at_its_last_moment_ends_and_expires_with_it(
    deployment: Deployment, ledger: Ledger
) -> None:
    first = insert(deployment, scope=deployment.scope)
    (request,) = tick(deployment)
    result = launch(deployment, request)
    late = insert(deployment, scope=deployment.scope)
    ledger.claim(1)
    ledger.started(Attempt(late, 1, result.run_id))  # after the run had told those whose file it is
    assert reconcile(ledger, deployment.instance, until=0) == 0  # its time is over; the next call goes on
    assert reconcile(ledger, deployment.instance) == 1
    done, joined = ledger.get(first), ledger.get(late)
    assert (joined.status, joined.file_key) == (Status.COMPLETED, done.file_key)
    assert joined.expires_at is not None
    assert done.expires_at is not None
    assert abs((joined.expires_at - done.expires_at).total_seconds()) < 1


def test_a_source_that_is_down_loses_nothing(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request waits, and is offered again under the same key; but not for ever."""
    first, second = (insert(deployment, scope=scope) for scope in deployment.source.scopes[:2])

    def down(*_: Any) -> Any:
        raise SourceUnavailableError("The source database cannot be reached.")

    with monkeypatch.context() as patched:
        patched.setattr("export_pipeline.takeoff.source.scopes", down)
        assert tick(deployment) == []
        assert {ledger.get(id).status for id in (first, second)} == {Status.PENDING}
        tried = f"UPDATE export_jobs SET {_LONG_AGO}, offers = {MAX_DISPATCHES} WHERE id = '{second}'"
        deployment.source.rows(tried)
        assert tick(deployment) == []
    assert ledger.get(second).error_code == "source_unavailable"
    deployment.source.rows(f"UPDATE export_jobs SET {_LONG_AGO} WHERE id = '{first}'")
    (request,) = tick(deployment)
    assert request.run_key == f"{first}:1"
    assert launch(deployment, request).success


def test_a_source_without_its_tables_fails_the_request(deployment: Deployment, ledger: Ledger) -> None:
    id = insert(deployment, scope=deployment.scope)
    deployment.source.rows("ALTER TABLE projects RENAME TO away")
    assert tick(deployment) == []
    job = ledger.get(id)
    assert job.error_code == "source_error"
    assert "lacks a table or column" in str(job.error_message)


def test_no_more_are_begun_than_may_be_in_flight(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(30):
        insert(deployment, scope=deployment.scope, options=f'{{"condition_ids": ["{uuid.uuid4()}"]}}')
    assert len(tick(deployment)) == 10  # EXPORT_MAX_IN_FLIGHT
    assert tick(deployment) == []


def test_a_tick_waits_a_moment_for_a_request(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "HELD_SECONDS", 30.0)
    comes = threading.Timer(0.5, insert, [deployment], {"scope": deployment.scope})
    comes.start()
    begun = time.monotonic()
    assert len(tick(deployment)) == 1
    assert 0.5 <= time.monotonic() - begun < 29
    comes.join()

    monkeypatch.setattr(requests, "HELD_SECONDS", 0.5)
    begun = time.monotonic()
    assert tick(deployment) == []
    assert time.monotonic() - begun >= 0.5


@pytest.mark.slow
def test_a_change_of_the_ledger_is_one_line_of_the_log(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        tick(deployment)
    migrate(deployment.source.url)
    for _ in range(2):
        tick(deployment)
    messages = [record.message for record in caplog.records if record.name == requests.__name__]
    assert len(messages) == 2
    assert "run `export-pipeline migrate`" in messages[0]
    assert messages[1] == "The ledger of requests can be used again."


def test_without_its_tables_the_sensor_says_what_to_do(deployment: Deployment) -> None:
    sensor = deployment.definitions.resolve_sensor_def("requests_sensor")
    with dg.build_sensor_context(
        instance=deployment.instance,
        repository_def=deployment.definitions.get_repository_def(),
        resources={name: deployment.definitions.resources[name] for name in ("ledger", "source")},
    ) as context:
        assert "export-pipeline migrate" in str(sensor.evaluate_tick(context).skip_message)
