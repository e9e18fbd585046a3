"""Work on the ledger grows with its rows, and not with their square. Counted in SQLite's own steps, not in seconds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from export_pipeline.delivery.enqueue import enqueue_mails
from export_pipeline.jobs import Ledger
from export_pipeline.jobs.database import open_engine
from export_pipeline.jobs.known_files import KnownFiles
from export_pipeline.jobs.tables import jobs, schedules
from export_pipeline.schedules.cadence_requests import CadenceWindow, request_windows

FEW, MANY = 200, 2_000
DAY = "2026-11-29"
Work = Callable[[Ledger, sa.Engine, int], object]


def window(scope: int) -> CadenceWindow:
    return CadenceWindow("records", "daily", DAY, f"scope-{scope}")


def request_each_scope(engine: sa.Engine, scopes: int) -> None:
    rows = [{"dataset": "records", "format": "csv", "scope": f"scope-{n}"} for n in range(scopes)]
    with engine.begin() as connection:
        connection.execute(sa.insert(jobs), rows)


def request_each_window(engine: sa.Engine, scopes: int) -> None:
    windows = [window(n) for n in range(scopes)]
    request_windows(engine, windows, ["csv", "excel"], recipients=[], owners=["o@example.org"])


def fail_windows(engine: sa.Engine, scopes: int) -> None:
    request_each_window(engine, scopes)
    _fail(engine)


def fail_a_run(engine: sa.Engine, scopes: int) -> None:
    """A run of a schedule with a recipient of its own for each scope."""
    row = {"dataset": "records", "format": "csv", "cadence": "daily", "each_scope": True}
    with engine.begin() as connection:
        schedule = connection.scalars(sa.insert(schedules).values(row).returning(schedules.c.id)).one()
        common = {
            "dataset": "records",
            "schedule_id": schedule,
            "scheduled_for": datetime(2026, 1, 1, tzinfo=UTC),
        }
        connection.execute(
            sa.insert(jobs),
            [
                {**common, "format": "csv", "scope": f"scope-{n}",
                 "recipients": [f"{n}@example.org"]}
                for n in range(scopes)
            ],
        )  # fmt: skip
    _fail(engine)


def _fail(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        values = {"status": "failed", "error_code": "export_failed", "completed_at": datetime.now(UTC)}
        connection.execute(sa.update(jobs).values(values))


def claim(ledger: Ledger, engine: sa.Engine, scopes: int) -> object:
    return len(ledger.claim(25)) >= 25


def enqueue(ledger: Ledger, engine: sa.Engine, scopes: int) -> object:
    return sum(enqueue_mails(engine, [], "example.org", scopes).values()) == scopes


def recognize(ledger: Ledger, engine: sa.Engine, scopes: int) -> object:
    keys = [f"exports/scope-{n}/records/daily/{DAY}.csv" for n in range(scopes)]
    return KnownFiles.sharing(ledger).written(keys) == set(keys)


@pytest.mark.parametrize(
    ("fill", "work"),
    [
        (request_each_scope, claim),
        (request_each_window, claim),
        pytest.param(fail_windows, enqueue, marks=pytest.mark.slow),
        pytest.param(fail_a_run, enqueue, marks=pytest.mark.slow),
        (fail_windows, recognize),
    ],
)
def test_ten_times_the_rows_take_ten_times_the_steps(
    tmp_path: Path,
    make_ledger: Callable[[Path], None],
    fill: Callable[[sa.Engine, int], None],
    work: Work,
) -> None:
    few, many = (steps(tmp_path / f"{scopes}.db", make_ledger, fill, work, scopes) for scopes in (FEW, MANY))
    assert many < 15 * few + 10, (few, many)


def steps(
    path: Path,
    make_ledger: Callable[[Path], None],
    fill: Callable[[sa.Engine, int], None],
    work: Work,
    scopes: int,
) -> int:
    """The steps of SQLite's virtual machine, in tens, that the work takes on a ledger of so many scopes."""
    make_ledger(path)
    engine = open_engine(f"sqlite:///{path}")
    fill(engine, scopes)
    engine.dispose()
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    with Ledger(f"sqlite:///{path}") as ledger:
        for each in (engine, ledger._engine):
            sa.event.listen(each, "connect", lambda connection, _: connection.set_progress_handler(count, 10))
        assert work(ledger, engine, scopes)
    engine.dispose()
    return counted
