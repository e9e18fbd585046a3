"""Requests that a run takes on, when others meddle: nobody gets the file of another request, none is lost."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from export_pipeline.delivery.send import deliver_due
from export_pipeline.demo import bookkeeping
from export_pipeline.jobs import Attempt, Job, Ledger, LedgerUnavailableError, Status
from export_pipeline.jobs import materializations as outbox
from export_pipeline.jobs.database import open_engine
from export_pipeline.jobs.tables import jobs
from export_pipeline.orchestration import store_io_manager
from export_pipeline.orchestration.dagster_compat.runs import materializations
from export_pipeline.orchestration.runs import extra_requests, heartbeat, reconciler
from export_pipeline.orchestration.runs.attempts import CODE_TAG
from export_pipeline.orchestration.runs.reconciler import reconcile
from export_pipeline.orchestration.runs.staging_cleanup import clean_staging
from export_pipeline.orchestration.sensors.erasure import erase_removed_files
from export_pipeline.orchestration.sensors.materializations import report_materializations
from export_pipeline.settings import load_settings
from export_pipeline_tests.delivery.mail_server import MailServer
from export_pipeline_tests.orchestration.deployment import Deployment
from export_pipeline_tests.orchestration.requesting import insert, launch, tick
from export_pipeline_tests.orchestration.runs.test_extra_requests import _OWN as OWN
from export_pipeline_tests.orchestration.runs.test_extra_requests import at, books, made, run_first

__all__ = ["books"]

_JSON = dg.AssetKey(["records", "on_demand", "json"])
_ODD = {"scope": bookkeeping.ODD}


def age(books: Deployment, id: str) -> None:
    """Let a request be claimed long ago."""
    engine = sa.create_engine(books.source.url)
    with engine.begin() as connection:
        mine = jobs.c.id == id
        claimed = connection.execute(sa.select(jobs.c.claimed_at).where(mine)).scalar_one()
        earlier = claimed - timedelta(minutes=10)
        connection.execute(sa.update(jobs).where(mine).values(claimed_at=earlier))
    engine.dispose()


def test_a_slow_one_stays_that_of_its_run(
    books: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = []

    def wait(job: Job) -> None:
        claimed.append(job.claimed_at)
        age(books, job.id)
        assert tick(books) == []

    at(monkeypatch, "_publish", wait)
    run, (_, id) = run_first(books, _ODD)
    job = ledger.get(id)
    assert (job.status, job.run_id, job.attempt, job.is_extra) == (Status.COMPLETED, run.run_id, 1, True)
    assert [job.started_at] == claimed
    assert job.file_key == f"exports/{bookkeeping.ODD}/{id}.csv"


def test_one_that_another_has_claimed_is_left_to_it(
    books: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = []

    def take(job: Job) -> None:
        ledger.requeue(job.current)
        requests.extend(tick(books))

    at(monkeypatch, "_publish", take)
    run, (first, id) = run_first(books, _ODD)
    assert run.success
    job = ledger.get(id)
    assert (job.status, job.claimed_by, job.run_id) == (Status.PENDING, "requests_sensor", None)
    assert job.claimed_at is not None
    assert all(first in key for key in books.stored())
    monkeypatch.undo()
    (request,) = requests
    assert launch(books, request).success
    assert ledger.get(id).file_key == f"exports/{bookkeeping.ODD}/{id}.csv"


@pytest.mark.parametrize(
    ("values", "gets_file"),
    [({}, True), (_ODD, False), ({"columns": '["id"]'}, False), ({"requested_by": "another"}, False)],
)
def test_nobody_gets_the_file_of_another_request(
    books: Deployment, ledger: Ledger, values: dict[str, str], gets_file: bool
) -> None:
    """Only an equal request can have joined a run that was not started for it."""
    others = [_ODD, {"columns": '["id"]'}]
    run, (first, *_) = run_first(books, *others)
    id = insert(books, **{**OWN, **values})
    ledger.started(Attempt(id, 1, run.run_id))
    reconcile(ledger, books.instance)
    job = ledger.get(id)
    if gets_file:
        assert (job.status, job.file_key) == (Status.COMPLETED, ledger.get(first).file_key)
    else:
        assert (job.status, job.attempt, job.file_key) == (Status.PENDING, 2, None)


def test_old_code_takes_on_nothing_after_an_upgrade(books: Deployment, ledger: Ledger) -> None:
    first = insert(books, **OWN)
    (request,) = tick(books)
    id = insert(books, **OWN, format="json")
    launch(books, request.with_replaced_attrs(tags=dict(request.tags) | {CODE_TAG: "older"}))
    assert (ledger.get(first).status, ledger.get(id).status) == (Status.COMPLETED, Status.PENDING)
    assert ledger.get(id).dispatches == 0


@pytest.mark.parametrize("place", [extra_requests, store_io_manager])
def test_one_that_is_canceled_and_deleted_when_its_file_has_appeared_loses_it(
    books: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, place: Any
) -> None:
    real = place.publish

    def publish(*args: Any, **more: Any) -> Any:
        result = real(*args, **more)
        id = result[0].key.rpartition("/")[2].partition(".")[0]
        ledger.canceled(id)
        ledger.delete(id, books.store.delete)
        return result

    monkeypatch.setattr(place, "publish", publish)
    run, (first, _) = run_first(books, {"format": "json"})
    assert run.success is (place is extra_requests)
    assert [key for key in books.stored() if place is store_io_manager or first not in key] == []


def test_who_deletes_the_own_export_of_a_run_does_not_cancel_it(
    books: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "_LOOK_SECONDS", 0.05)

    def delete(_: Job) -> None:
        for job in ledger.find():
            if job.status is Status.COMPLETED:
                ledger.delete(job.id, books.store.delete)
        time.sleep(0.5)

    at(monkeypatch, "_make", delete)
    run, (_, id) = run_first(books, {"format": "json"})
    assert run.success
    assert ledger.get(id).status is Status.COMPLETED


def report(books: Deployment, ledger: Ledger) -> int:
    return report_materializations(ledger, books.source.url, None, books.instance)


def known_json(books: Deployment) -> list[dg.AssetMaterialization]:
    records = books.instance.fetch_materializations(_JSON, limit=10).records
    return [one.asset_materialization for one in records if one.asset_materialization]


@pytest.mark.parametrize("fault", [ZeroDivisionError, dg.DagsterExecutionInterruptedError])
def test_dagster_is_told_later_of_a_file_that_the_run_could_not_tell(
    books: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, fault: type[BaseException]
) -> None:
    """And forgets what the file holds when it is removed. An error does not fail the run."""

    def fail(*_: Any) -> None:
        raise fault

    monkeypatch.setattr(extra_requests, "add_scope", fail)
    run, (_, id) = run_first(books, {"format": "json"})
    monkeypatch.undo()
    assert run.success is (fault is ZeroDivisionError)
    assert (ledger.get(id).status, report(books, ledger), known_json(books)) == (Status.COMPLETED, 0, [])
    monkeypatch.setattr(outbox, "REPORT_DELAY", timedelta(0))
    assert (report(books, ledger), report(books, ledger)) == (1, 0)
    (one,) = known_json(books)
    assert one.metadata["key"].value == ledger.get(id).file_key
    assert "preview" in one.metadata
    ledger.delete(id, books.store.delete)
    assert erase_removed_files(ledger, books.store, books.instance) == 1
    assert "preview" not in known_json(books)[0].metadata


def test_dagster_is_told_once(books: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the run could not note that it has told it."""

    def fail(*_: Any) -> None:
        raise LedgerUnavailableError("It is away.")

    monkeypatch.setattr(outbox, "REPORT_DELAY", timedelta(0))
    run_first(books, {"format": "json"})
    assert (report(books, ledger), len(known_json(books))) == (0, 1)
    with monkeypatch.context() as away:
        away.setattr(outbox.Materializations, "forget", fail)
        run_first(books, {"format": "json"})
    assert (report(books, ledger), len(known_json(books))) == (0, 2)
    assert outbox.Materializations.sharing(ledger).claim() is None


def test_the_log_says_why_one_gets_a_run_of_its_own(
    books: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extra_requests, "MAX_TABLE_BYTES", 100)
    run, (_, id) = run_first(books, {"format": "json"})
    lines = [entry.user_message for entry in books.instance.all_logs(run.run_id)]
    reason = "TooLargeError: It takes more than 100 bytes of memory."
    assert f"Export job {id} gets a run of its own. {reason}" in lines
    assert len(made(books, run.run_id)) == 1


def test_assets_of_somebody_else_in_the_run_are_no_files_of_a_job(
    books: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment may materialize assets of its own in the same run."""
    run, (first,) = run_first(books)
    id = insert(books, **OWN)
    ledger.started(Attempt(id, 1, run.run_id))

    def with_others(*of: Any) -> list[dg.AssetMaterialization]:
        foreign = dg.AssetMaterialization("summary", metadata={"key": "exports/foreign.csv"})
        return [foreign, dg.AssetMaterialization(["a", "b", "c", "csv"]), *materializations(*of)]

    monkeypatch.setattr(reconciler, "materializations", with_others)
    reconcile(ledger, books.instance)
    assert ledger.get(id).file_key == ledger.get(first).file_key


def test_extra_requests_leave_nothing_in_staging_and_mail_each_recipient_once(
    books: Deployment, ledger: Ledger, mails: MailServer
) -> None:
    asked = [{"format": "json", "recipients": '["a@example.org", "b@example.org"]'}, {"format": "excel"}]
    run, ids = run_first(books, *asked, {"format": "csv", "columns": '["nothing"]'})
    assert [ledger.get(id).status for id in ids[:3]] == [Status.COMPLETED] * 3
    assert list(books.staging.glob(f"{run.run_id}/extra/*")) == []
    assert clean_staging(books.instance, books.staging)
    assert not (books.staging / run.run_id).exists()
    engine = open_engine(books.source.url)
    for _ in range(2):
        deliver_due(engine, books.store, load_settings())
    engine.dispose()
    assert mails.received == {"a@example.org": 1, "b@example.org": 1}
