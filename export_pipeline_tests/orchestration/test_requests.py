"""Requests in the ledger: each becomes one run, and ends in the right state whatever happens."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.partitions.context import partition_loading_context

from export_pipeline.jobs import Attempt, Job, Ledger, Status, migrate
from export_pipeline.model.columns import Column, Kind
from export_pipeline.orchestration import requests
from export_pipeline.orchestration.requesting import end_here
from export_pipeline.orchestration.requests import MOST_OFFERS, PATIENCE
from export_pipeline.orchestration.settling import MOST_ATTEMPTS, settle
from export_pipeline.sources.snapshot import Snapshot, SourceUnavailableError
from export_pipeline_tests.orchestration.deployment import QUIET, Deployment

_LONG_AGO = "claimed_at = '2026-01-01 00:00:00.000'"


def _window(**other: Any) -> str:
    return json.dumps({"window": {"name": "w", "start": "2026-01-01", "end": "2026-02-01"} | other})


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes while a tick waits for it, unless a test says so."""
    monkeypatch.setattr(requests, "HELD_SECONDS", 0.0)


@pytest.fixture
def ledger(deployment: Deployment) -> Iterator[Ledger]:
    migrate(deployment.source.url)
    with Ledger(deployment.source.url) as opened:
        yield opened


def insert(deployment: Deployment, **values: Any) -> str:
    """A row by plain SQL, as an application would write it."""
    id = str(uuid.uuid4())
    row = {"id": id, "dataset": "takeoff", "format": "csv"} | values
    names, texts = (
        ", ".join(row),
        ", ".join("'" + str(value).replace("'", "''") + "'" for value in row.values()),
    )
    deployment.source.rows(f"INSERT INTO export_jobs ({names}) VALUES ({texts})")
    return id


def tick(deployment: Deployment) -> list[dg.RunRequest]:
    """What the sensor asks Dagster for."""
    sensor = deployment.definitions.resolve_sensor_def("requests_sensor")
    with (
        dg.build_sensor_context(
            instance=deployment.instance,
            repository_def=deployment.definitions.get_repository_def(),
            resources={name: deployment.definitions.resources[name] for name in ("ledger", "source")},
        ) as context,
        partition_loading_context(dynamic_partitions_store=deployment.instance),
    ):  # as Dagster does
        return list(sensor.evaluate_tick(context).run_requests or [])


def launch(deployment: Deployment, request: dg.RunRequest, **more: Any) -> dg.ExecuteInProcessResult:
    job = deployment.definitions.resolve_job_def(str(request.job_name))
    return job.execute_in_process(
        instance=deployment.instance,
        asset_selection=request.asset_selection,
        partition_key=request.partition_key,
        run_config=QUIET | dict(request.run_config),
        tags=dict(request.tags),
        raise_on_error=False,
        **more,
    )


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


@pytest.mark.parametrize(
    ("row", "code", "said"),
    [
        ({"dataset": "nothing"}, "unknown_dataset", "there are archive"),
        ({"format": "doc"}, "unknown_format", "it has csv, excel"),
        ({"scope": "nobody"}, "unknown_scope", "no scope 'nobody'"),
        ({"scope": None}, "no_scope", "needs a scope"),
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
        ({"scope": "s" * 1_000_000}, "unknown_scope", "sss … sss"),
        ({"dataset": "sellers"}, "unknown_scope", "has no scopes"),
        ({"dataset": "records", "columns": '["profits_cents"]'}, "unknown_scope", "no scope"),
    ],
)
def test_what_cannot_be_met_fails_at_once(
    deployment: Deployment, ledger: Ledger, row: dict[str, Any], code: str, said: str
) -> None:
    import sqlalchemy as sa

    from export_pipeline.demo import bookkeeping

    engine = sa.create_engine(deployment.source.url)
    bookkeeping.fill(engine)
    engine.dispose()
    values = {name: value for name, value in ({"scope": deployment.scope} | row).items() if value is not None}
    id = insert(deployment, **values)
    assert tick(deployment) == []
    job = ledger.get(id)
    assert (job.status, job.error_code) == (Status.FAILED, code)
    assert said in str(job.error_message)
    assert len(str(job.error_message)) < 5_000


@pytest.mark.parametrize("wrong", ["config", "fault"])
def test_a_request_that_nobody_thought_of_stops_no_other(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    odd = insert(deployment, scope=deployment.scope, requested_by="odd")
    good = insert(deployment, scope=deployment.scope, requested_by="good")
    real = requests.config_of

    def config_of(dataset: Any, job: Job) -> dict[str, Any]:
        if job.id != odd:
            return real(dataset, job)
        if wrong == "fault":
            raise ZeroDivisionError("nobody thought of it")
        return {"nobody": "thought of it"}

    monkeypatch.setattr(requests, "config_of", config_of)
    (request,) = tick(deployment)
    assert request.run_key == f"{good}:1"
    if wrong == "fault":
        assert ledger.get(odd).status is Status.PENDING
        for _ in range(MOST_OFFERS):
            deployment.source.rows(f"UPDATE export_jobs SET {_LONG_AGO} WHERE id = '{odd}'")
            assert odd not in str(tick(deployment))
    job = ledger.get(odd)
    assert job.status is Status.FAILED
    assert "nobody" in str(job.error_message)


def test_identical_requests_share_a_run(deployment: Deployment, ledger: Ledger) -> None:
    ids = [insert(deployment, scope=deployment.scope, options='{"group_by": "page"}') for _ in range(3)]
    (request,) = tick(deployment)

    result = launch(deployment, request)
    assert result.success
    jobs = [ledger.get(id) for id in ids]
    assert {job.status for job in jobs} == {Status.COMPLETED}
    assert len({job.file_key for job in jobs}) == 1
    assert {job.run_id for job in jobs} == {result.run_id}


def test_a_job_that_joined_a_run_at_its_last_moment_ends_and_expires_with_it(
    deployment: Deployment, ledger: Ledger
) -> None:
    first = insert(deployment, scope=deployment.scope)
    (request,) = tick(deployment)
    result = launch(deployment, request)
    late = insert(deployment, scope=deployment.scope)
    ledger.claim(1)
    ledger.started(Attempt(late, 1, result.run_id))  # after the run had told those whose file it is
    assert settle(ledger, deployment.instance, PATIENCE) == 1
    done, joined = ledger.get(first), ledger.get(late)
    assert (joined.status, joined.file_key) == (Status.COMPLETED, done.file_key)
    assert joined.expires_at is not None
    assert done.expires_at is not None
    assert abs((joined.expires_at - done.expires_at).total_seconds()) < 1


def test_one_of_several_that_share_a_run_may_be_canceled(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one still gets its file."""
    from export_pipeline.formats import csv

    canceled, kept = (insert(deployment, scope=deployment.scope) for _ in range(2))
    (request,) = tick(deployment)
    render = csv.render

    def slow(*args: Any) -> Any:
        ledger.canceled(canceled, "somebody")
        time.sleep(2.5)  # longer than the run takes to look
        return render(*args)

    monkeypatch.setattr(csv, "render", slow)
    assert launch(deployment, request).success
    assert ledger.get(canceled).status is Status.CANCELED
    assert ledger.get(kept).status is Status.COMPLETED
    assert deployment.read(str(ledger.get(kept).file_key))


def test_a_job_that_joined_a_run_keeps_it_when_the_first_is_canceled(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export_pipeline.formats import csv

    first = insert(deployment, scope=deployment.scope)
    (request,) = tick(deployment)
    render = csv.render
    joined: list[str] = []

    def slow(*args: Any) -> Any:
        joined.append(insert(deployment, scope=deployment.scope))
        assert tick(deployment) == []
        ledger.canceled(first, "somebody")
        time.sleep(2.5)
        return render(*args)

    monkeypatch.setattr(csv, "render", slow)
    assert launch(deployment, request).success
    assert ledger.get(first).status is Status.CANCELED
    assert ledger.get(joined[0]).status is Status.COMPLETED


def test_a_run_of_another_instance_is_not_judged(deployment: Deployment, ledger: Ledger) -> None:
    """A command line with another DAGSTER_HOME works on a job: Dagster here knows nothing of its run."""
    job = ledger.request("takeoff", "csv", scope=deployment.scope)
    ledger.started(Attempt(job.id, 1, "elsewhere"))
    assert settle(ledger, deployment.instance, timedelta(0)) == 0
    assert ledger.get(job.id).status is Status.PROCESSING
    mine = ledger.request("takeoff", "pdf", scope=deployment.scope)
    end_here(ledger, deployment.instance, [mine], ["it broke"])
    assert ledger.get(mine.id).error_message == "it broke"
    assert ledger.get(job.id).status is Status.PROCESSING


def test_a_failing_run_fails_its_job(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export_pipeline.formats import csv
    from export_pipeline.formats.base import RenderError

    def breaks(*_: Any) -> Any:
        raise RenderError("The cell cannot be written; shorten it.")

    monkeypatch.setattr(csv, "render", breaks)
    id = insert(deployment, scope=deployment.scope)
    (request,) = tick(deployment)
    assert not launch(deployment, request).success
    settle(ledger, deployment.instance, PATIENCE)
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


def _endless_render(*_: Any) -> Any:
    for _ in range(600):
        time.sleep(0.1)


def _endless_query(snapshot: Snapshot, *_: Any) -> Any:
    numbers = "(WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c)"
    return snapshot.rows(sa.select(sa.literal_column(numbers)), [Column("x", "X", Kind.INTEGER)])


@pytest.mark.parametrize(
    ("stage", "endless"),
    [
        ("export_pipeline.formats.csv.render", _endless_render),
        ("export_pipeline.sources.takeoff.read", _endless_query),
    ],
)
def test_a_canceled_job_ends_its_run_soon_and_leaves_no_file(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, stage: str, endless: Any
) -> None:
    monkeypatch.setattr(stage, endless)
    id = insert(deployment, scope=deployment.scope)
    (request,) = tick(deployment)
    canceled_at: list[float] = []

    def cancel() -> None:
        while ledger.get(id).status is not Status.PROCESSING:
            time.sleep(0.1)
        time.sleep(1)
        canceled_at.append(time.monotonic())
        ledger.canceled(id, "somebody")

    person = threading.Thread(target=cancel)
    person.start()
    result = launch(deployment, request)
    person.join()
    assert time.monotonic() - canceled_at[0] < 5
    assert not result.success
    run = deployment.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.is_finished
    settle(ledger, deployment.instance, PATIENCE)
    assert ledger.get(id).status is Status.CANCELED
    assert deployment.stored() == set()


def test_a_job_canceled_while_its_file_was_stored_leaves_none(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export_pipeline.orchestration import io_managers

    id = insert(deployment, scope=deployment.scope)
    (request,) = tick(deployment)
    publish = io_managers.publish

    def published(*args: Any, **options: Any) -> Any:
        done = publish(*args, **options)
        ledger.canceled(id, "somebody")
        return done

    monkeypatch.setattr(io_managers, "publish", published)
    assert not launch(deployment, request).success
    assert ledger.get(id).status is Status.CANCELED
    assert deployment.stored() == set()


def test_a_lost_worker_is_replaced_a_few_times(deployment: Deployment, ledger: Ledger) -> None:
    """As run monitoring does it: the run fails, and no step said why."""
    id = insert(deployment, scope=deployment.scope)
    for number in range(1, MOST_ATTEMPTS + 1):
        (request,) = tick(deployment)
        run = _begun(deployment, request, ledger.get(id))
        deployment.instance.report_run_failed(run, "The worker was lost.")
        settle(ledger, deployment.instance, PATIENCE)
        assert ledger.get(id).attempt == min(number + 1, MOST_ATTEMPTS)
    job = ledger.get(id)
    assert (job.status, job.error_code) == (Status.FAILED, "worker_lost")
    assert "export-pipeline retry" in str(job.error_message)
    assert tick(deployment) == []


def test_runs_that_never_began_use_no_attempt_but_end_some_time(
    deployment: Deployment, ledger: Ledger
) -> None:
    """As when the code server or the worker dies before the first step; also for those who share the run."""
    ids = [insert(deployment, scope=deployment.scope) for _ in range(2)]
    keys = []
    for _ in range(MOST_OFFERS):
        (request,) = tick(deployment)
        keys.append(request.run_key)
        _lost(deployment, request)
    assert len(set(keys)) == MOST_OFFERS  # Dagster drops one that it knows
    assert {ledger.get(id).attempt for id in ids} == {1}
    assert tick(deployment) == []
    assert {ledger.get(id).error_code for id in ids} == {"not_started"}


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
    deployment.source.rows(f"UPDATE export_jobs SET {_LONG_AGO}, offers = {MOST_OFFERS} WHERE id = '{id}'")
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
    from export_pipeline.orchestration.working import begin

    run = deployment.instance.create_run_for_job(
        deployment.definitions.resolve_job_def(str(request.job_name)), tags=dict(request.tags)
    )
    with Ledger(deployment.source.url) as ledger:
        begin(lambda: ledger, run)
    assert job.id in str(request.run_key)
    return run


def test_a_source_that_is_down_loses_nothing(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request waits, and is offered again under the same key; but not for ever."""
    first, second = (insert(deployment, scope=scope) for scope in deployment.source.scopes[:2])

    def down(*_: Any) -> Any:
        raise SourceUnavailableError("The source database cannot be reached.")

    with monkeypatch.context() as patched:
        patched.setattr("export_pipeline.sources.takeoff.scopes", down)
        assert tick(deployment) == []
        assert {ledger.get(id).status for id in (first, second)} == {Status.PENDING}
        tried = f"UPDATE export_jobs SET {_LONG_AGO}, offers = {MOST_OFFERS} WHERE id = '{second}'"
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
    assert 0.5 <= time.monotonic() - begun < 15
    comes.join()

    monkeypatch.setattr(requests, "HELD_SECONDS", 0.5)
    begun = time.monotonic()
    assert tick(deployment) == []
    assert time.monotonic() - begun >= 0.5


def test_a_change_of_the_ledger_is_one_line_of_the_log(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        tick(deployment)
    migrate(deployment.source.url)
    for _ in range(2):
        tick(deployment)
    said = [record.message for record in caplog.records if record.name == requests.__name__]
    assert len(said) == 2
    assert "run `export-pipeline migrate`" in said[0]
    assert said[1] == "The ledger of requests can be used again."


def test_without_its_tables_the_sensor_says_what_to_do(deployment: Deployment) -> None:
    sensor = deployment.definitions.resolve_sensor_def("requests_sensor")
    with dg.build_sensor_context(
        instance=deployment.instance,
        repository_def=deployment.definitions.get_repository_def(),
        resources={name: deployment.definitions.resources[name] for name in ("ledger", "source")},
    ) as context:
        assert "export-pipeline migrate" in str(sensor.evaluate_tick(context).skip_message)
