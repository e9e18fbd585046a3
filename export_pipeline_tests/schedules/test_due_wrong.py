"""Rows that can never work stop no others."""

import json
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.jobs.database import open_engine
from export_pipeline.schedules.due_requests import claim_due
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.schedules.scheduling import DAY, START, insert


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"timezone": "Europe/Berlim"}, "timezone: 'Europe/Berlim' is not an IANA time zone; did you mean Europe/Berlin?"),
        ({"dataset": " "}, "dataset: it is missing; name one."),
        ({"format": ""}, "format: it is missing; name one."),
        ({"columns": "[1]"}, "columns: 1 is not a text."),
        ({"options": '{"empty": "say"}'}, "options: empty is not one to choose; the schedule sets it itself."),
        ({"recipients": '[{"to": 1}]'}, "recipients: {'to': 1} is not a text."),
        ({"filters": '{"a":' * 1500 + "1" + "}" * 1500}, "The row cannot be read: "),
    ],
)  # fmt: skip
def test_a_row_that_is_wrong_stops_no_other(
    database: Database, engine: sa.Engine, wrong: dict[str, Any], message: str
) -> None:
    broken = insert(database, **wrong)
    right = insert(database)
    (ask,) = claim_due(engine, START + DAY, 10)
    assert ask.schedule_id == right
    ((active, problem, next_run),) = database.run(
        "SELECT active, problem, next_run FROM scheduled_exports WHERE id = ?", broken
    )
    assert not active
    assert problem.startswith(message)
    assert next_run is None
    assert "\n" not in problem


@pytest.mark.parametrize("since", ["-infinity", "0044-03-15 12:00 BC", "0001-01-01 00:00"])
def test_a_time_that_python_does_not_know_stops_nobody(postgres_database: Database, since: str) -> None:
    insert(postgres_database)
    postgres_database.run(
        "INSERT INTO scheduled_exports (dataset, format, cadence, timezone, misfire, since, next_run) "
        "VALUES ('t', 'csv', 'daily', 'America/New_York', 'all', ?, ?)",
        since,
        since,
    )
    engine = open_engine(postgres_database.url)
    assert len(claim_due(engine, START + DAY, 10)) == 1
    engine.dispose()
    ((problem,),) = postgres_database.run("SELECT problem FROM scheduled_exports WHERE NOT active")
    assert problem.startswith("The row cannot be read: ")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("cadence", "yearly"),
        ("hour", 24),
        ("hour", "noon"),
        ("minute", -1),
        ("weekday", 9),
        ("weekday", 0),
        ("day_of_month", 32),
        ("misfire", "none"),
        ("empty", "maybe"),
        ("active", "perhaps"),
        ("next_run", "soon"),
        ("filters", "[]"),
        ("recipients", json.dumps("ann@example.org")),
    ],
)
def test_the_database_refuses_impossible_schedules(database: Database, column: str, value: Any) -> None:
    with pytest.raises(database.error):
        insert(database, **{column: value})
