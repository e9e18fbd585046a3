"""Runs that a schedule of each scope has requested read the source once, and stay apart in all else."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from export_pipeline.components import catalogue
from export_pipeline.jobs import Ledger, LedgerUnavailableError, Status
from export_pipeline.jobs.database import open_engine
from export_pipeline.orchestration import reading
from export_pipeline.orchestration.runs import shared_reads
from export_pipeline.orchestration.runs.staging_cleanup import clean_staging
from export_pipeline.schedules.cadences import CadenceWindow, request_windows
from export_pipeline.schedules.due import run_now
from export_pipeline.schedules.editing import create_schedule
from export_pipeline.sources.snapshot import SourceError
from export_pipeline.sources.tables import read as table
from export_pipeline_tests.orchestration.deployment import Deployment, failures
from export_pipeline_tests.orchestration.requesting import insert, launch, tick
from export_pipeline_tests.orchestration.runs.test_staging import fill_disk

SCOPES = ["a", "A", "b|c", "0", "none yet"]
ROWS = {"a": [1, 2], "A": [3], "b|c": [4, 5, 6], "0": [7]}
ORDERS = """
type: export_pipeline.components.TableExport
attributes:
  dataset: orders
  description: Orders.
  source: { table: orders, key: [id] }
  columns:
    - { name: id, type: integer }
    - { name: amount, type: "decimal(10,2)" }
  window: { column: made }
  start: "2026-01-01"
  cadences:
    daily: { cron: "15 2 * * *" }
  scope: { column: account, table: accounts, recipients: { table: contacts, scope: account, address: email } }
  formats: [csv, json]
"""


@pytest.fixture
def shop(deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A deployment with the dataset `orders` of several accounts."""
    from export_pipeline.definitions import defs

    for statement in (
        "CREATE TABLE accounts (id TEXT PRIMARY KEY, name TEXT)",
        "CREATE TABLE contacts (account TEXT, email TEXT)",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, account TEXT, amount NUMERIC, made TEXT)",
        *(f"INSERT INTO accounts VALUES ('{one}', 'Account')" for one in SCOPES),
        *(f"INSERT INTO contacts VALUES ('{one}', 'x{n}@example.org')" for n, one in enumerate(SCOPES)),
        *(
            f"INSERT INTO orders VALUES ({id}, '{scope}', {id}.5, '2026-02-02 0{id}:00:00')"
            for scope, ids in ROWS.items()
            for id in ids
        ),
    ):
        deployment.source.rows(statement.replace(":0", "\\:0"))
    folder = tmp_path / "defs"
    (folder / "orders").mkdir(parents=True)
    (folder / "orders" / "defs.yaml").write_text(ORDERS)
    monkeypatch.setattr(catalogue, "defs_folder", lambda: folder)
    return Deployment(deployment.source, deployment.folder, defs(), deployment.instance)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the functions that have read rows, in order."""
    made: list[str] = []

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: made.append(name) or function(*args)

    monkeypatch.setattr(reading, "read_scopes", noted("together", reading.read_scopes))
    monkeypatch.setattr(table, "read", noted("alone", table.read))
    return made


def request_each(shop: Deployment, scopes: list[str] = SCOPES, **fields: Any) -> list[dg.RunRequest]:
    """Request a run of a schedule of each scope; return the runs to launch."""
    engine = open_engine(shop.source.url)
    known = {"dataset": "orders", "format": "csv", "cadence": "daily", "each_scope": True, **fields}
    schedule = create_schedule(engine, known, datetime(2026, 1, 1, tzinfo=UTC))
    recipients = {"orders": {scope: ["x@example.org"] for scope in scopes}}
    run_now(engine, schedule.id, datetime(2026, 2, 3, 5, tzinfo=UTC), recipients=recipients)
    engine.dispose()
    return tick(shop)


def request_day(shop: Deployment, formats: list[str], scopes: list[str] = SCOPES) -> list[dg.RunRequest]:
    """Request a window of a cadence for each scope; return the runs to launch."""
    engine = open_engine(shop.source.url)
    windows = [CadenceWindow("orders", "daily", "2026-02-02", scope) for scope in scopes]
    count = len(scopes) * len(formats)
    assert request_windows(engine, windows, formats, recipients=[], owners=[]) == count
    engine.dispose()
    return tick(shop)


def folders(shop: Deployment) -> list[Path]:
    """Return the folders of shared reads."""
    return [path.parent for path in shop.staging.glob("*/jobs-result")]


def clean(shop: Deployment, ledger: Ledger) -> None:
    clean_staging(shop.instance, shop.staging, lambda: ledger)


def rows_of(shop: Deployment, ledger: Ledger, format: str = "csv") -> dict[str | None, list[int]]:
    """Return the ids in the files of completed jobs by scope, as the files hold them."""
    return {
        job.scope: [
            int(line.split(",")[0]) for line in shop.read(str(job.file_key)).decode().split("\r\n")[1:-1]
        ]
        for job in ledger.find(status=[Status.COMPLETED], limit=100)
        if job.format == format
    }


ALL_ROWS = {scope: ROWS.get(scope, []) for scope in SCOPES}


@pytest.mark.parametrize("window", ["previous", "none"])
def test_all_scopes_are_read_once_and_each_file_has_its_own_rows(
    shop: Deployment, ledger: Ledger, reads: list[str], window: str
) -> None:
    requests = request_each(shop, export_window=window, additional_formats=["json"])
    assert len(requests) == 10
    assert all(launch(shop, request).success for request in requests)
    assert reads == ["together"]
    assert rows_of(shop, ledger) == ALL_ROWS
    jobs = ledger.find(limit=100)
    assert {(job.status, len(job.recipients)) for job in jobs} == {(Status.COMPLETED, 1)}
    assert len({job.run_id for job in jobs}) == len({job.file_key for job in jobs}) == 10
    assert len({shop.manifest(str(job.file_key))["snapshot_at"] for job in jobs}) == 1


@pytest.mark.slow
def test_the_windows_of_a_cadence_are_read_once_too(
    shop: Deployment, ledger: Ledger, reads: list[str]
) -> None:
    requests = request_day(shop, ["csv", "json"])
    assert len(requests) == 5
    assert all(launch(shop, request).success for request in requests)
    assert reads == ["together"]
    assert rows_of(shop, ledger) == ALL_ROWS


@pytest.mark.slow
def test_what_cannot_be_read_together_is_read_for_each_scope(
    shop: Deployment, ledger: Ledger, reads: list[str]
) -> None:
    """A cell whose scope would not be known: its file alone says that it was changed."""
    shop.source.rows("UPDATE orders SET amount = 'much' WHERE id = 3")
    assert all(launch(shop, request).success for request in request_each(shop))
    assert reads == ["together"] + ["alone"] * 5
    assert rows_of(shop, ledger) == ALL_ROWS
    assert {job.scope for job in ledger.find() if job.changed_cells} == {"A"}
    assert {path.name for path in shop.staging.glob("*/*-result")} >= {"alone-result"}


@pytest.mark.slow
def test_a_retry_reads_what_was_corrected_since(
    shop: Deployment, ledger: Ledger, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = request_each(shop)
    with monkeypatch.context() as patch:
        patch.setattr("export_pipeline.formats.csv.write.render", broken)
        assert not launch(shop, first).success
    assert [failures(launch(shop, request)) for request in others] == [{}] * 4
    assert tick(shop) == []
    (failed,) = ledger.find(status=[Status.FAILED])
    shop.source.rows("UPDATE orders SET amount = 99")
    ledger.retry(failed.id)
    (again,) = tick(shop)
    assert launch(shop, again).success
    assert reads == ["together", "alone"]
    assert rows_of(shop, ledger) == ALL_ROWS
    assert "99" in shop.read(str(ledger.get(failed.id).file_key)).decode() or failed.scope == "none yet"


def broken(*_: Any) -> Any:
    raise RuntimeError("broken")


@pytest.mark.slow
def test_a_request_for_one_scope_reads_that_scope(shop: Deployment, ledger: Ledger, reads: list[str]) -> None:
    shop.source.rows("INSERT INTO export_jobs (dataset, format, scope) VALUES ('orders', 'csv', 'a')")
    (request,) = tick(shop)
    assert launch(shop, request).success
    assert reads == ["alone"]


@pytest.mark.slow
def test_what_a_killed_run_has_staged_is_read_again(
    shop: Deployment, ledger: Ledger, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = request_each(shop)
    save = shared_reads.save
    saved: list[object] = []

    def killed(data: Any, folder: Path) -> None:
        save(data, folder)
        saved.append(data.scope)
        if len(saved) == 3:
            raise KeyboardInterrupt

    def leave(*_: Any, **__: Any) -> None:
        """A killed process removes nothing."""

    with monkeypatch.context() as patch:
        patch.setattr(shared_reads, "save", killed)
        patch.setattr(shared_reads.shutil, "rmtree", leave)
        assert not launch(shop, requests[0]).success
    assert all(launch(shop, request).success for request in requests[1:])
    assert reads == ["together", "together"]
    assert {scope: rows for scope, rows in ALL_ROWS.items() if scope in rows_of(shop, ledger)} == rows_of(
        shop, ledger
    )
    assert len(rows_of(shop, ledger)) == 4


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_of_a_read(
    shop: Deployment, ledger: Ledger, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = request_each(shop)
    with monkeypatch.context() as patch:
        fill_disk(patch, "jobs-result")
        assert "No space left" in str(failures(launch(shop, first)))
    assert list(shop.staging.glob("*/*jobs-result")) == []
    assert all(launch(shop, request).success for request in others)
    assert reads == ["together"]


@pytest.mark.slow
def test_a_torn_list_of_jobs_is_read_anew(shop: Deployment, ledger: Ledger, reads: list[str]) -> None:
    first, *others = request_each(shop)
    assert launch(shop, first).success
    (read,) = folders(shop)
    (read / "jobs-result").write_text("")
    assert all(launch(shop, request).success for request in others)
    assert reads == ["together", "together"]


def test_rows_of_another_scope_become_no_file(
    shop: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = request_each(shop)
    assert launch(shop, first).success
    before = shop.stored()
    (read,) = {path.parent for path in shop.staging.glob("*/whole-result")}
    staged = [path for path in read.iterdir() if path.is_dir() and (path / "rows-0.arrow").stat().st_size > 0]
    tables = {path: (path / "rows-0.arrow").read_bytes() for path in staged}
    for path, other in zip(tables, [*tables][1:] + [*tables][:1], strict=True):
        (path / "rows-0.arrow").write_bytes(tables[other])
    refused = [failures(result) for request in others if not (result := launch(shop, request)).success]
    assert len(refused) >= 3
    assert sum("a row of another scope" in str(messages) for messages in refused) >= 3
    assert all(ids == ALL_ROWS[scope] for scope, ids in rows_of(shop, ledger).items())
    assert before <= shop.stored()


@pytest.mark.slow
def test_each_pod_of_kubernetes_reads_its_own_scope(
    shop: Deployment, ledger: Ledger, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    for request in request_each(shop):
        result = launch(shop, request)
        assert result.success, [
            event.event_specific_data.error.to_string() for event in result.all_events if event.is_failure
        ]
    assert reads == ["alone"] * 5
    assert rows_of(shop, ledger) == ALL_ROWS


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["of_run", "requested_with"])
def test_a_run_waits_for_a_ledger_that_is_away(
    shop: Deployment,
    ledger: Ledger,
    reads: list[str],
    monkeypatch: pytest.MonkeyPatch,
    patience: None,
    asked: str,
) -> None:
    requests = request_each(shop)
    answer, calls = getattr(Ledger, asked), []

    def away_at_first(self: Ledger, about: Any) -> Any:
        calls.append(about)
        if len(calls) == 1:
            raise LedgerUnavailableError("It is away.")
        return answer(self, about)

    monkeypatch.setattr(Ledger, asked, away_at_first)
    assert all(launch(shop, request).success for request in requests)
    assert reads == ["together"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "error", [SourceError("It took too long."), ValueError("odd"), pa.ArrowInvalid("odd")]
)
def test_an_error_of_the_shared_read_fails_no_run(
    shop: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken_read(*_: Any) -> Iterator[Any]:
        raise error
        yield

    monkeypatch.setattr(reading, "read_scopes", broken_read)
    assert all(launch(shop, request).success for request in request_each(shop))
    assert rows_of(shop, ledger) == ALL_ROWS


@pytest.mark.slow
def test_the_reason_why_a_read_is_not_shared_quotes_no_cell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jobs: Any = [
        SimpleNamespace(id=scope, scope=scope, created_at=datetime(2026, 11, 30, tzinfo=UTC))
        for scope in "ab"
    ]
    reasons = {
        SourceError("It took too long."): "SourceError: It took too long.",
        OSError(28, "No space left on device"): "OSError: [Errno 28] No space left on device",
        ValueError("invalid literal for int(): 'Anna'"): "ValueError",
        pa.ArrowInvalid("Failed to parse string: 'Anna'"): "ArrowInvalid: the message may quote a value, and is not shown",
    }  # fmt: skip
    for error, reason in reasons.items():

        def broken_read(_: list[str], error: Exception = error) -> Iterator[Any]:
            raise error
            yield

        caplog.clear()
        shared_reads._stage(tmp_path / "read", jobs, broken_read, logging.getLogger("run"))
        assert caplog.messages == [f"The rows of 2 scopes are read for each run on its own. {reason}"]


@pytest.mark.slow
def test_an_id_of_another_type_fails_no_other_run(shop: Deployment, ledger: Ledger, reads: list[str]) -> None:
    """SQLite stores text in a column of numbers; the ids of scopes are what was requested, and may be gone."""
    for statement in (
        "DROP TABLE accounts", "CREATE TABLE accounts (id INTEGER, name TEXT)",
        "ALTER TABLE orders RENAME TO old", "CREATE TABLE orders (id INTEGER PRIMARY KEY, account INTEGER, amount NUMERIC, made TEXT)",
        "INSERT INTO orders SELECT id, CASE account WHEN 'A' THEN 7 ELSE account END, amount, made FROM old",
        "INSERT INTO accounts VALUES ('a', 'Text'), (7, 'Number'), (0, 'Zero')",
    ):  # fmt: skip
        shop.source.rows(statement)
    odd = ["a", "7", "0", "9" * 5000]
    requests = request_each(shop, scopes=odd)
    shop.source.rows("UPDATE accounts SET id = 'b' WHERE id = 0")
    results = {str(launch(shop, request).success) for request in requests}
    assert results == {"True", "False"}
    assert reads[:1] == ["together"]
    assert rows_of(shop, ledger) == {"a": [1, 2], "7": [3]}


@pytest.mark.slow
def test_a_later_request_gets_no_older_rows(shop: Deployment, ledger: Ledger, reads: list[str]) -> None:
    for request in request_day(shop, ["csv"]):
        assert launch(shop, request).success
    shop.source.rows("DELETE FROM export_jobs")
    shop.source.rows("DELETE FROM orders WHERE id = 1")
    assert folders(shop)
    first, *others = request_day(shop, ["csv"])
    assert launch(shop, first).success
    assert reads == ["together", "together"]
    [served] = map(str, rows_of(shop, ledger))
    shop.source.rows("DELETE FROM export_jobs WHERE status = 'completed'")
    shop.source.rows("DELETE FROM orders WHERE id = 2")
    (again,) = request_day(shop, ["csv"], [served])
    assert launch(shop, again).success
    assert all(launch(shop, request).success for request in others)
    assert reads == ["together", "together", "alone"]  # the others need the rows of their read
    assert rows_of(shop, ledger) == {**ALL_ROWS, "a": [] if served == "a" else [2]}


@pytest.mark.slow
def test_shared_rows_go_when_no_job_can_use_them(shop: Deployment, ledger: Ledger, reads: list[str]) -> None:
    first, *others = request_each(shop)
    assert launch(shop, first).success
    clean(shop, ledger)
    assert len(folders(shop)) == 1
    for request in others[:-1]:
        assert launch(shop, request).success
    clean(shop, ledger)
    assert len(folders(shop)) == 1
    (last,) = ledger.find(status=[Status.PENDING])
    ledger.canceled(last.id)
    clean(shop, ledger)
    assert [path for path in shop.staging.iterdir() if path.is_dir()] == []
    assert reads == ["together"]


@pytest.mark.slow
def test_rows_of_a_failed_run_go_when_its_request_is_deleted(
    shop: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = request_each(shop)
    monkeypatch.setattr("export_pipeline.formats.csv.write.render", broken)
    run = launch(shop, first).run_id
    tick(shop)
    (failed,) = ledger.find(status=[Status.FAILED])
    clean(shop, ledger)
    assert (shop.staging / run).exists()
    ledger.delete(failed.id, lambda key: None)
    clean_staging(shop.instance, shop.staging)
    assert (shop.staging / run).exists()
    clean(shop, ledger)
    assert not (shop.staging / run).exists()


@pytest.mark.slow
def test_shared_rows_stay_while_the_ledger_is_away(shop: Deployment, ledger: Ledger) -> None:
    for request in request_each(shop) + request_each(shop, options={"title": "T"}):
        assert launch(shop, request).success
    asked = []

    def away() -> Ledger:
        asked.append(1)
        raise LedgerUnavailableError("It is away.")

    clean_staging(shop.instance, shop.staging, away)
    assert len(folders(shop)) == 2
    assert asked == [1]
    clean(shop, ledger)
    assert folders(shop) == []


@pytest.mark.slow
@pytest.mark.parametrize("when", ["taking", "reading"])
def test_rows_that_are_removed_meanwhile_are_read_anew(
    shop: Deployment, ledger: Ledger, reads: list[str], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    first, *others = request_each(shop)
    assert launch(shop, first).success
    function = "load" if when == "reading" else "_take"
    real = getattr(shared_reads, function)

    def removed(*args: Any) -> Any:
        for folder in folders(shop):
            shutil.rmtree(folder)
        return real(*args)

    monkeypatch.setattr(shared_reads, function, removed)
    assert all(launch(shop, request).success for request in others)
    assert rows_of(shop, ledger) == ALL_ROWS
    assert reads[0] == "together"
    assert len(reads) > 1


def test_only_equal_requests_share(shop: Deployment, ledger: Ledger, reads: list[str]) -> None:
    """An application can insert requests with other options for the same window."""
    for scope, options in {"a": "{}", "A": '{"title": "T"}', "b|c": "{}", "0": '{"title": "T"}', "none yet": '{"title": "U"}'}.items():  # fmt: skip
        insert(shop, dataset="orders", scope=scope, window_key="daily/2026-02-02", options=options)
    assert all(launch(shop, request).success for request in tick(shop))
    assert sorted(reads) == ["alone", "together", "together"]
    assert rows_of(shop, ledger) == ALL_ROWS
