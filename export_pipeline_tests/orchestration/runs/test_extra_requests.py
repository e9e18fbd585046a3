"""Requests that a run takes on after its own: each ends as in a run of its own, and stops no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from export_pipeline.demo import bookkeeping
from export_pipeline.jobs import Attempt, Job, Ledger, LedgerUnavailableError, Status
from export_pipeline.orchestration.dagster_compat.runs import materializations
from export_pipeline.orchestration.runs import extra_requests
from export_pipeline.orchestration.runs.attempts import CODE_TAG
from export_pipeline.orchestration.runs.reconciler import reconcile
from export_pipeline.orchestration.sensors.erasure import erase_removed_files
from export_pipeline.sources.snapshot import SourceUnavailableError
from export_pipeline.store import StoreUnavailableError
from export_pipeline.store.publish import publish as publish_file
from export_pipeline.store.publish import verify_file
from export_pipeline_tests.hostile.strings import HOSTILE_TEXTS
from export_pipeline_tests.orchestration.deployment import Deployment
from export_pipeline_tests.orchestration.requesting import insert, launch, tick

_OWN = {"dataset": "records", "scope": bookkeeping.SHOP}


@pytest.fixture
def books(deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """The deployment with a dataset of several scopes that is a table; its runs take their time."""
    monkeypatch.setenv("EXPORT_EXTRA_SECONDS", "600")
    engine = sa.create_engine(deployment.source.url)
    bookkeeping.fill(engine, HOSTILE_TEXTS)
    engine.dispose()
    return deployment


def run_first(books: Deployment, *more: dict[str, Any]) -> tuple[dg.ExecuteInProcessResult, list[str]]:
    """Run a request, with others that came after the tick; return the run, and the ids of all."""
    ids = [insert(books, **_OWN)]
    (request,) = tick(books)
    ids += [insert(books, **{**_OWN, **values}) for values in more]
    return launch(books, request), ids


def made(books: Deployment, run_id: str) -> dict[str, dg.AssetMaterialization]:
    return {str(one.metadata["key"].value): one for one in materializations(books.instance, run_id)}


def test_requests_that_wait_are_exported_by_a_run_that_is_there(books: Deployment, ledger: Ledger) -> None:
    scope = bookkeeping.ODD
    asked = [{"format": "json", "scope": scope, "columns": '["id"]'}, {"format": "excel"}, {"scope": scope}]
    run, ids = run_first(books, *asked)
    jobs = [ledger.get(id) for id in ids]
    assert run.success
    assert {(job.status, job.run_id, job.attempt) for job in jobs} == {(Status.COMPLETED, run.run_id, 1)}
    assert [job.file_key for job in jobs] == [
        f"exports/{job.scope}/{job.id}.{'xlsx' if job.format == 'excel' else job.format}" for job in jobs
    ]
    for job in jobs:
        verify_file(books.store, str(job.file_key))
        assert [event.kind for event in ledger.events(job.id)][-1] == "completed"
    assert {tuple(row) for row in json.loads(books.read(str(jobs[1].file_key)))["records"]} == {("id",)}
    files = made(books, run.run_id)
    assert set(files) == {job.file_key for job in jobs}
    own, extra = (files[str(job.file_key)] for job in (jobs[0], jobs[3]))
    assert extra.asset_key == own.asset_key
    assert extra.partition != own.partition
    assert list(extra.metadata) == list(own.metadata)
    assert extra.metadata["scope"].value == scope
    assert tick(books) == []


def test_rows_were_read_after_the_time_at_which_it_started(books: Deployment, ledger: Ledger) -> None:
    """`reuse_seconds` counts the age of a file's rows from there."""
    _, (_, id) = run_first(books, {"format": "json"})
    job = ledger.get(id)
    snapshot = books.manifest(str(job.file_key))["snapshot_at"]
    assert job.created_at <= job.started_at <= datetime.fromisoformat(snapshot)  # type: ignore


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"scope": "nobody"}, "unknown_scope"),
        ({"columns": '["nothing"]'}, "invalid_options"),
        ({"format": "doc"}, "unknown_format"),
        ({"recipients": '["no mail"]'}, "invalid_recipients"),
    ],
)
def test_an_invalid_one_is_refused_as_ever_and_stops_no_other(
    books: Deployment, ledger: Ledger, values: dict[str, str], code: str
) -> None:
    _, (_, bad, good) = run_first(books, values, {"format": "json"})
    assert ledger.get(good).status is Status.COMPLETED
    assert ledger.get(bad).status is Status.PENDING
    assert tick(books) == []
    job = ledger.get(bad)
    assert (job.status, job.error_code, job.attempt) == (Status.FAILED, code, 1)


@pytest.mark.parametrize("reason", ["rows", "bytes", "parts", "window", "not proven", "fault"])
def test_one_that_needs_a_run_of_its_own_gets_it(
    books: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    from export_pipeline.datasets import small_export

    values: dict[str, Any] = {"format": "json"}
    window = {"name": "w", "start": "2020-01-01", "end": "2030-01-01"}
    match reason:
        case "rows":
            monkeypatch.setattr(small_export, "MAX_ROWS", 0)
        case "bytes":
            monkeypatch.setattr(extra_requests, "MAX_TABLE_BYTES", 100)
        case "parts":
            values = {"options": '{"parts": {"max_rows": 100000}}'}
        case "window":
            values["options"] = json.dumps({"window": window})
        case "not proven":
            monkeypatch.setattr(small_export, "rows_agree", lambda *_: False)
        case "fault":
            monkeypatch.setattr(small_export, "lay_out", lambda _: 1 / 0)
    run, (_, id) = run_first(books, values)
    assert run.success
    assert len(made(books, run.run_id)) == 1
    assert len(books.stored()) == 2
    monkeypatch.undo()
    (request,) = tick(books)
    assert request.run_key == f"{id}:1"
    again = launch(books, request)
    job = ledger.get(id)
    assert (job.status, job.run_id, job.attempt) == (Status.COMPLETED, again.run_id, 1)


def test_guarded_columns_are_for_whom_each_request_names(books: Deployment, ledger: Ledger) -> None:
    asked = {"format": "json", "columns": '["id", "order_remark"]'}
    people = ("owner", "stranger", "owner")
    _, (_, *ids) = run_first(books, *({**asked, "requested_by": who} for who in people))
    for id, who in zip(ids, people, strict=True):
        rows = json.loads(books.read(str(ledger.get(id).file_key)))["records"]
        assert (len({row["order_remark"] for row in rows}) > 1) is (who == "owner")


@pytest.mark.parametrize(
    "values",
    [
        {"dataset": "sellers"},
        {"window_key": "daily/2026-01-01"},
        {"dispatches": 1},
        {"priority": -1},
    ],
)
def test_what_is_not_for_it_is_left(books: Deployment, ledger: Ledger, values: dict[str, Any]) -> None:
    """The last case: another request of higher priority waits, for which the run makes room."""
    first = insert(books, **_OWN)
    (request,) = tick(books)
    id = insert(books, **_OWN, format="json")
    if "priority" in values:
        insert(books, dataset="sellers", format="json")
    changed = ", ".join(f"{'offers' if name == 'dispatches' else name} = '{values[name]}'" for name in values)
    books.source.rows(f"UPDATE export_jobs SET {changed} WHERE id = '{id}'")
    run = launch(books, request)
    assert ledger.get(first).status is Status.COMPLETED
    assert (ledger.get(id).status, ledger.get(id).claimed_by) == (Status.PENDING, None)
    assert len(made(books, run.run_id)) == 1


def test_the_order_is_that_of_the_queue(books: Deployment, ledger: Ledger) -> None:
    """Scopes take turns, and a higher priority goes first."""
    odd = {"scope": bookkeeping.ODD}
    shop = [{"filters": json.dumps({"status": {"equals": status}})} for status in bookkeeping.STATUSES]
    _, (_, *ids) = run_first(books, *shop, odd, {**odd, "format": "json", "priority": 1})
    done = sorted((ledger.get(id) for id in ids), key=lambda job: job.claimed_at or job.created_at)
    assert [ids.index(job.id) for job in done] == [5, 0, 4, 1, 2, 3]


def test_a_setting_gives_each_request_a_run(
    books: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPORT_EXTRA_SECONDS", "0")
    _, (_, id) = run_first(books, {})
    assert ledger.get(id).status is Status.PENDING


def test_a_run_that_a_person_started_takes_on_nothing(books: Deployment, ledger: Ledger) -> None:
    first = insert(books, **_OWN)
    (request,) = tick(books)
    id = insert(books, **_OWN, format="json")
    tags = {name: value for name, value in request.tags.items() if name != CODE_TAG}
    launch(books, request.with_replaced_attrs(tags=tags))
    assert (ledger.get(first).status, ledger.get(id).status) == (Status.COMPLETED, Status.PENDING)


def at(monkeypatch: pytest.MonkeyPatch, place: str, do: Callable[[Job], Any]) -> None:
    """Do something each time that a run has come to a place in the export of a request that it took on."""
    exports = extra_requests._ExtraExports
    real = getattr(exports, place)

    def changed(self: Any, job: Job, *rest: Any) -> Any:
        do(job)
        return real(self, job, *rest)

    monkeypatch.setattr(exports, place, changed)


@pytest.mark.parametrize("place", ["_make", "_publish"])
def test_a_canceled_one_leaves_no_file_and_stops_no_other(
    books: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    at(monkeypatch, place, lambda job: ledger.canceled(job.id) if job.format == "json" else None)
    run, (_, canceled, other) = run_first(books, {"format": "json"}, {"format": "excel"})
    assert run.success
    assert (ledger.get(canceled).status, ledger.get(other).status) == (Status.CANCELED, Status.COMPLETED)
    assert set(made(books, run.run_id)) == {key for key in books.stored() if "manifest" not in key}
    assert not any(canceled in key for key in books.stored())


def test_one_that_is_canceled_when_its_file_has_appeared_loses_it(
    books: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def publish(*args: Any, **more: Any) -> Any:
        result = publish_file(*args, **more)
        ledger.canceled(result[0].key.rpartition("/")[2].partition(".")[0])
        return result

    monkeypatch.setattr(extra_requests, "publish", publish)
    _, (first, id) = run_first(books, {"format": "json"})
    assert ledger.get(id).status is Status.CANCELED
    assert all(first in key for key in books.stored())


@pytest.mark.parametrize("lost", ["ledger", "source", "store"])
def test_in_an_outage_it_is_put_back(
    books: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    errors: dict[str, Exception] = {
        "ledger": LedgerUnavailableError("It is away."),
        "source": SourceUnavailableError("It is away."),
        "store": StoreUnavailableError("It is away."),
    }

    def fail(_: Job) -> None:
        raise errors[lost]

    at(monkeypatch, "_publish" if lost == "store" else "_make", fail)
    run, (_, id, later) = run_first(books, {"format": "json"}, {"format": "excel"})
    assert run.success
    jobs = [ledger.get(id) for id in (id, later)]
    assert [(job.status, job.attempt, job.dispatches) for job in jobs] == [
        (Status.PENDING, 1, 1),
        (Status.PENDING, 1, 0),
    ]
    monkeypatch.undo()
    requests = tick(books)
    for request in requests:
        assert launch(books, request).success
    assert {ledger.get(id).status for id in (id, later)} == {Status.COMPLETED}


def test_if_the_store_fails_at_the_last_moment_another_attempt_begins(
    books: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def publish(*args: Any, before_visible: Callable[[], None], **more: Any) -> Any:
        before_visible()
        raise StoreUnavailableError("It is away.")

    monkeypatch.setattr(extra_requests, "publish", publish)
    run, (_, id) = run_first(books, {"format": "json"})
    assert run.success
    assert (ledger.get(id).status, ledger.get(id).attempt) == (Status.PENDING, 2)
    monkeypatch.setattr(extra_requests, "publish", publish_file)
    (request,) = tick(books)
    assert request.run_key == f"{id}:2"
    assert launch(books, request).success
    assert ledger.get(id).status is Status.COMPLETED


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("place", ["_make", "completed"])
def test_one_of_a_run_that_dies_gets_another_run(
    books: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A killed process puts nothing back."""

    def die(*_: Any) -> None:
        raise _Killed

    monkeypatch.setattr(extra_requests._ExtraExports, "_put_back", lambda *_: None)
    if place == "_make":
        at(monkeypatch, place, die)
    else:
        real = Ledger.completed
        monkeypatch.setattr(
            Ledger,
            "completed",
            lambda self, *args: die() if self.get(args[0].job_id).is_extra else real(self, *args),
        )
    run, (first, id) = run_first(books, {"format": "json"})
    assert not run.success
    assert (ledger.get(first).status, ledger.get(id).claimed_by) == (Status.COMPLETED, run.run_id)
    monkeypatch.undo()
    reconcile(ledger, books.instance)
    assert ledger.get(id).attempt == (1 if place == "_make" else 2)
    (request,) = tick(books)
    result = launch(books, request)
    job = ledger.get(id)
    assert (job.status, job.run_id) == (Status.COMPLETED, result.run_id)
    verify_file(books.store, str(job.file_key))


def test_if_its_run_is_terminated_before_it_gets_another(
    books: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: Job) -> None:
        raise dg.DagsterExecutionInterruptedError

    at(monkeypatch, "_make", interrupt)
    run, (first, id) = run_first(books, {"format": "json"})
    assert (run.success, ledger.get(first).status) == (False, Status.COMPLETED)
    assert (ledger.get(id).status, ledger.get(id).claimed_at) == (Status.PENDING, None)
    monkeypatch.undo()
    (request,) = tick(books)
    assert launch(books, request).success
    assert ledger.get(id).status is Status.COMPLETED


def test_if_its_run_is_canceled_it_is_canceled_too(
    books: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one whose file is about to appear names its run."""
    id = insert(books, **_OWN)
    run = books.instance.create_run_for_job(books.definitions.resolve_job_def("records_on_demand_job"))
    ledger.record_code_version("code")
    job = ledger.claim_extra("records", run.run_id, "code")
    assert job is not None
    assert job.claimed_at is not None
    ledger.started_extra(Attempt(id, 1, run.run_id), job.claimed_at, {})
    books.instance.report_run_canceled(run)
    reconcile(ledger, books.instance)
    assert ledger.get(id).status is Status.CANCELED


@pytest.mark.parametrize("gone", [(0, 1), (0,), (1,)])
@pytest.mark.parametrize("format", ["csv", "json"])
def test_the_removal_of_a_file_leaves_what_dagster_knows_of_the_others(
    books: Deployment, ledger: Ledger, format: str, gone: tuple[int, ...]
) -> None:
    odd = {"scope": bookkeeping.ODD}
    run, ids = run_first(
        books, {"format": format, **odd}, {"format": "excel" if format == "json" else "csv", **odd}
    )
    for place in gone:
        ledger.delete(ids[place], books.store.delete)
    assert erase_removed_files(ledger, books.store, books.instance) == len(gone)
    kept = [id for place, id in enumerate(ids) if place not in gone]
    files = made(books, run.run_id)
    shown = {key: "preview" in one.metadata for key, one in files.items()}
    assert shown == {key: any(id in key for id in kept) for key in files}
    checked = [
        record.event_log_entry.dagster_event.asset_check_evaluation_data
        for record in books.instance.get_records_for_run(
            run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ).records
        if record.event_log_entry.dagster_event
    ]
    assert len(checked) == 6
    assert {str(one.metadata["key"].value): one.description is not None for one in checked} == shown
    for one in files.values():
        newest = books.instance.get_latest_materialization_event(one.asset_key)
        assert newest is not None
        assert newest.asset_materialization is not None
        metadata = newest.asset_materialization.metadata
        assert ("preview" in metadata) is shown[str(metadata["key"].value)]


def test_the_same_request_of_a_run_that_works_is_left_to_join_it(books: Deployment, ledger: Ledger) -> None:
    same = {**_OWN, "format": "json"}
    working = insert(books, **same)
    ledger.claim(1)
    ledger.started(Attempt(working, 1, "a run"))
    _, (_, id) = run_first(books, same)
    assert (ledger.get(id).status, ledger.get(id).dispatches) == (Status.PENDING, 1)
