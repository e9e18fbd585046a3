"""The same request again gets the finished file, where the dataset allows it; nobody else does."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from export_pipeline.jobs import Attempt, File, Job, Ledger
from export_pipeline_tests.jobs.database import Database

HOUR = timedelta(hours=1)
ASKED: dict[str, Any] = {
    "dataset": "records", "format": "csv", "scope": "a", "requested_by": "ann",
    "filters": {"status": {"equals": "X"}}, "columns": ["id"], "options": {"sort": ["id"]},
}  # fmt: skip


def made(ledger: Ledger, expires_at: datetime | None = None, **changed: Any) -> Job:
    job = ledger.request(**{**ASKED, **changed})
    run = Attempt(job.id, 1, f"run of {job.id}")
    ledger.started(run)
    file = File(
        f"exports/a/{job.id}.csv", "r.csv", 9, 3, "5a", 4, ["One row is missing."], {"nul": {"id": 1}}
    )
    return ledger.completed(run, file, expires_at or datetime.now(UTC) + timedelta(days=1))


def again(ledger: Ledger, **changed: Any) -> Job:
    return ledger.request(**{**ASKED, **changed})


def test_the_same_request_gets_the_file_and_all_that_is_known_of_it(ledger: Ledger) -> None:
    first, second = made(ledger), again(ledger)
    job = ledger.reuse(second, HOUR)
    assert job is not None
    assert (job.id, job.status, job.progress_percent, job.run_id) == (
        second.id,
        "completed",
        100,
        first.run_id,
    )
    for name in ("file_key", "file_name", "file_size", "sha256", "row_count", "total_rows", "warnings", "changed_cells",
                 "expires_at"):  # fmt: skip
        assert getattr(job, name) == getattr(first, name), name
    kinds = [(event.kind, event.details.get("reused")) for event in ledger.events(job.id)]
    assert kinds == [("requested", None), ("completed", first.id)]
    assert ledger.reuse(job, HOUR) is None  # has ended


@pytest.mark.parametrize(
    "changed",
    [
        {"dataset": "sellers"}, {"format": "pdf"}, {"scope": "b"}, {"scope": None}, {"requested_by": "bob"},
        {"requested_by": None}, {"filters": {}}, {"columns": None}, {"columns": ["id", "name"]}, {"options": {}},
    ],
)  # fmt: skip
def test_another_request_scope_or_person_does_not(ledger: Ledger, changed: dict[str, Any]) -> None:
    made(ledger)
    other = again(ledger, **changed)
    assert ledger.reuse(other, HOUR) is None
    assert ledger.get(other.id).status == "pending"


def test_no_file_that_is_old_gone_or_held_back(database: Database, ledger: Ledger) -> None:
    job = made(ledger)
    second = again(ledger)
    ledger.hold(job.id, True)
    assert ledger.reuse(second, HOUR) is None
    ledger.hold(job.id, False)
    database.age("started_at", 3601)
    assert ledger.reuse(second, HOUR) is None
    assert ledger.reuse(again(ledger), 2 * HOUR) is not None
    expired = made(ledger, datetime.now(UTC) - timedelta(seconds=1), filters={"n": {"equals": 1}})
    assert ledger.reuse(again(ledger, filters=expired.filters), HOUR) is None
    deleted = made(ledger, filters={"n": {"equals": 2}})
    ledger.delete(deleted.id, lambda key: None)
    assert ledger.reuse(again(ledger, filters=deleted.filters), HOUR) is None
    lost = made(ledger, filters={"n": {"equals": 3}})
    database.run("UPDATE export_jobs SET error_code = 'scope_deleted' WHERE id = ?", lost.id)
    assert ledger.reuse(again(ledger, filters=lost.filters), HOUR) is None


def test_a_file_that_was_passed_on_grows_no_younger(database: Database, ledger: Ledger) -> None:
    made(ledger)
    database.age("started_at", 1800)
    assert ledger.reuse(again(ledger), HOUR) is not None  # has started just now
    database.age("started_at", 1801)
    assert ledger.reuse(again(ledger), HOUR) is None


def test_the_file_stays_as_long_as_one_of_them_has_it(ledger: Ledger) -> None:
    first = made(ledger)
    second = ledger.reuse(again(ledger), HOUR)
    assert second is not None
    removed: list[str] = []
    ledger.delete(first.id, removed.append)
    assert removed == []
    ledger.delete(second.id, removed.append)
    assert removed == [first.file_key]


def test_a_file_is_not_removed_while_another_request_gets_it(database: Database, ledger: Ledger) -> None:
    """Whichever comes first: either the file stays for the second request, or it has to be made anew."""
    for number in range(8):
        filters = {"n": {"equals": number}}
        first, second = made(ledger, filters=filters), again(ledger, filters=filters)
        removed: list[str] = []
        together = threading.Barrier(2)

        def delete(
            job: Job = first, removed: list[str] = removed, together: threading.Barrier = together
        ) -> None:
            with Ledger(database.url) as own:
                together.wait()
                own.delete(job.id, removed.append)

        def reuse(job: Job = second, together: threading.Barrier = together) -> bool:
            with Ledger(database.url) as own:
                together.wait()
                return own.reuse(job, HOUR) is not None

        with ThreadPoolExecutor(2) as pool:
            deleted, got = pool.submit(delete), pool.submit(reuse)
            deleted.result()
            assert bool(removed) is not got.result()


def test_a_canceled_request_gets_nothing(ledger: Ledger) -> None:
    made(ledger)
    second = again(ledger)
    ledger.canceled(second.id)
    assert ledger.reuse(second, HOUR) is None
    assert ledger.get(second.id).status == "canceled"
