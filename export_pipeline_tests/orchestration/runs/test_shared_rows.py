"""Rows that runs share are staged as long as a job can use them, and read anew where they are not whole."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.jobs import Ledger, LedgerUnavailableError, Status
from export_pipeline.orchestration.runs import shared_reads, staging
from export_pipeline.orchestration.runs.staging_cleanup import clean_staging
from export_pipeline_tests.orchestration.deployment import Deployment, failures
from export_pipeline_tests.orchestration.requesting import launch, tick
from export_pipeline_tests.orchestration.runs.shop import (
    ALL_ROWS,
    broken,
    folders,
    request_day,
    request_each,
    rows_of,
)
from export_pipeline_tests.orchestration.runs.test_staging import fill_disk


def clean(shop: Deployment, ledger: Ledger) -> None:
    clean_staging(shop.instance, shop.staging, lambda: ledger)


@pytest.mark.slow
def test_what_a_killed_run_has_staged_is_read_again(
    shop: Deployment, ledger: Ledger, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = request_each(shop)
    saved: list[object] = []

    def killed(data: Any, folder: Path) -> None:
        staging.save(data, folder)
        saved.append(data.scope)
        if len(saved) == 3:
            raise KeyboardInterrupt

    def leave(*_: Any, **__: Any) -> None:
        """A killed process removes nothing."""

    with monkeypatch.context() as patch:
        patch.setattr(shared_reads, "save", killed)
        patch.setattr(shutil, "rmtree", leave)
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
