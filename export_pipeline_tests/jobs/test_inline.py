"""Rows of exports that the HTTP service makes at once: two transactions around the file."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from export_pipeline.jobs import Attempt, Job, LedgerError, Status
from export_pipeline.jobs.inline import InlineExports, is_inline_run, new_inline_run
from export_pipeline.jobs.materializations import Materializations
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.jobs.lives import FILE

ROW = {"dataset": "records", "format": "csv", "scope": "a", "filters": {}, "columns": None, "options": {}}
ID = "7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11"
LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def inline(database: Database) -> Iterator[InlineExports]:
    with InlineExports(database.url) as opened:
        yield opened


def begin(inline: InlineExports, id: str = ID, **row: Any) -> Attempt:
    attempt = Attempt(id, 1, new_inline_run())
    inline.begin_inline(attempt, {**ROW, **row}, {"title": "x"}, since=timedelta(seconds=2))
    return attempt


def test_a_row_is_processing_until_its_file_is_there(inline: InlineExports) -> None:
    attempt = begin(inline, requested_by="ann")
    job = inline.get(ID)
    assert (job.status, job.scope, job.requested_by) == (Status.PROCESSING, "a", "ann")
    assert is_inline_run(job.run_id)
    assert job.started_at is not None
    assert 1.9 < (inline.now() - job.started_at).total_seconds() < 60
    assert Materializations.sharing(inline).claim() is None
    assert inline.claim(10) == []  # no launcher takes it
    inline.completed(attempt, FILE, LATER)
    assert inline.get(ID).status is Status.COMPLETED
    assert [event.kind for event in inline.events(ID)] == ["requested", "started", "completed"]


def test_a_row_that_cannot_be_stored_is_refused(inline: InlineExports) -> None:
    with pytest.raises(LedgerError, match="scope hold a NUL"):
        begin(inline, scope="a\0")
    assert inline.find() == []


def test_a_file_is_handed_out_for_dagster_until_it_is_forgotten(inline: InlineExports) -> None:
    inline.completed(begin(inline), FILE, LATER)
    files = Materializations.sharing(inline)
    first = files.claim()
    assert first is not None
    assert (first.job.id, first.summary, first.is_doubtful) == (ID, {"title": "x"}, False)
    again = files.claim()
    assert again is not None
    assert again.is_doubtful
    files.forget(ID)
    assert files.claim() is None


@pytest.mark.parametrize("end", ["deleted", "expired", "canceled", "restarted"])
def test_a_file_that_is_gone_or_made_by_a_run_is_not_handed_out(
    inline: InlineExports, database: Database, end: str
) -> None:
    attempt = begin(inline)
    if end == "canceled":
        inline.canceled(ID)
    elif end == "restarted":
        inline.restart(attempt, "worker_lost", "Its worker was lost.")
        inline.started(Attempt(ID, 2, "run"))
        inline.completed(Attempt(ID, 2, "run"), FILE, LATER)
    else:
        inline.completed(attempt, FILE, LATER)
        if end == "deleted":
            inline.delete(ID, lambda key: None)
        else:
            database.age("expires_at", 90_000)
            inline.expire(ID, lambda key: None)
        assert database.run("SELECT count(*) FROM export_materializations") == [(0,)]  # nor kept
    assert Materializations.sharing(inline).claim() is None
    assert database.run("SELECT count(*) FROM export_materializations") == [(0,)]


def test_an_identical_finished_request_is_reused_by_the_same_person_in_the_same_scope(
    inline: InlineExports,
) -> None:
    minute = timedelta(minutes=1)

    def reuse(within: timedelta = minute, is_usable: bool = True, **other: Any) -> Job | None:
        asked = {**ROW, "requested_by": "ann", **other}
        return inline.reuse_inline(asked, within, lambda job: job if is_usable else None)

    assert reuse() is None
    assert inline.find() == []  # an ask that found nothing leaves no row
    inline.completed(begin(inline, requested_by="ann"), FILE, LATER)
    assert reuse(is_usable=False) is None
    assert len(inline.find()) == 1
    reused = reuse()
    assert reused is not None
    assert (reused.status, reused.file_key, reused.sha256) == (Status.COMPLETED, FILE.key, FILE.sha256)
    assert reused.id != ID
    for other in (
        {"requested_by": "bob"},
        {"scope": "b"},
        {"filters": {"x": {"equals": 1}}},
        {"format": "pdf"},
    ):
        assert reuse(**other) is None
    assert reuse(timedelta(0)) is None
    assert len(inline.find()) == 2
