"""Runs that a schedule of each scope has requested read the source once, and stay apart in all else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from export_pipeline.jobs import Ledger, LedgerUnavailableError, Status
from export_pipeline.orchestration import source_reads
from export_pipeline.orchestration.runs import shared_reads
from export_pipeline.sources.snapshot import SourceError
from export_pipeline_tests.orchestration.deployment import Deployment, failures
from export_pipeline_tests.orchestration.requesting import insert, launch, tick
from export_pipeline_tests.orchestration.runs.shop import (
    ALL_ROWS,
    broken,
    request_day,
    request_each,
    rows_of,
)


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


@pytest.mark.slow
def test_a_request_for_one_scope_reads_that_scope(shop: Deployment, ledger: Ledger, reads: list[str]) -> None:
    shop.source.rows("INSERT INTO export_jobs (dataset, format, scope) VALUES ('orders', 'csv', 'a')")
    (request,) = tick(shop)
    assert launch(shop, request).success
    assert reads == ["alone"]


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

    monkeypatch.setattr(source_reads, "read_rows_by_scope", broken_read)
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


def test_only_equal_requests_share(shop: Deployment, ledger: Ledger, reads: list[str]) -> None:
    """An application can insert requests with other options for the same window."""
    for scope, options in {"a": "{}", "A": '{"title": "T"}', "b|c": "{}", "0": '{"title": "T"}', "none yet": '{"title": "U"}'}.items():  # fmt: skip
        insert(shop, dataset="orders", scope=scope, window_key="daily/2026-02-02", options=options)
    assert all(launch(shop, request).success for request in tick(shop))
    assert sorted(reads) == ["alone", "together", "together"]
    assert rows_of(shop, ledger) == ALL_ROWS
