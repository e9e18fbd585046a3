from collections.abc import Iterator

import pytest

from export_pipeline.jobs import (
    Attempt,
    Ledger,
    LedgerUnavailableError,
    RefusedError,
    Status,
    ThrottledProgress,
)
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.jobs.lives import job_in, run_of


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def attempt(ledger: Ledger) -> Iterator[Attempt]:
    return run_of(job_in(ledger, Status.PROCESSING))


def test_at_most_one_write_a_second(
    ledger: Ledger, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write, clock = [], ledger.progress, Clock()
    monkeypatch.setattr(ledger, "progress", lambda *a, **k: (written.append(k["rows"]), write(*a, **k)))
    progress = ThrottledProgress(ledger, attempt, clock=clock)
    for rows in range(1, 1001):
        clock.now = 100 + rows / 100  # ten seconds in all
        progress("Reading", percent=rows / 10, rows=rows, total=1000)
    assert 10 <= len(written) <= 11
    assert ledger.get(attempt.job_id).row_count == written[-1]


def test_a_cancel_reaches_the_worker(ledger: Ledger, attempt: Attempt) -> None:
    clock = Clock()
    progress = ThrottledProgress(ledger, attempt, clock=clock)
    progress("Reading", percent=1)
    ledger.canceled(attempt.job_id)
    progress("Reading", percent=2)  # too soon to ask
    clock.now += 1
    with pytest.raises(RefusedError, match="canceled"):
        progress("Reading", percent=3)


def test_a_ledger_that_is_away_for_a_while_stops_no_export(
    ledger: Ledger, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*arguments: object, **named: object) -> None:
        raise LedgerUnavailableError("away")

    clock = Clock()
    progress = ThrottledProgress(ledger, attempt, clock=clock)
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "progress", away)
        progress("Reading", percent=1)
    clock.now += 1
    progress("Reading", percent=50, rows=1)
    assert ledger.get(attempt.job_id).progress_percent == 50


def test_a_step_is_an_event_once(ledger: Ledger, attempt: Attempt, database: Database) -> None:
    for step, rows in (("Reading", 1), ("Reading", 2), ("Writing", 2), ("Writing", 3)):
        ledger.progress(attempt, step, percent=1, rows=rows)
    assert [e.details["step"] for e in ledger.events(attempt.job_id) if e.kind == "progress"] == [
        "Reading",
        "Writing",
    ]


def test_a_slow_ledger_takes_a_tenth_of_the_time_at_most(
    ledger: Ledger, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, asked_at = Clock(), []

    def slow(*arguments: object, **named: object) -> None:
        asked_at.append(clock.now)
        clock.now += 10
        raise LedgerUnavailableError("away")

    monkeypatch.setattr(ledger, "progress", slow)
    progress = ThrottledProgress(ledger, attempt, clock=clock)
    while clock.now < 450:
        progress("Reading", percent=1)
        clock.now += 1
    assert asked_at == [100, 200, 300, 400]
