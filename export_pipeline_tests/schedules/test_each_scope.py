"""Schedules that export each scope by itself, to the recipients of that scope alone."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.datasets.schedules import known_recipients, schedule_check
from export_pipeline.datasets.table import TableModel, table_dataset
from export_pipeline.jobs import Ledger, RefusedError, Status, Viewer
from export_pipeline.jobs.errors import ScheduleError, UnknownScheduleError
from export_pipeline.orchestration.resources import SourceDatabase
from export_pipeline.schedules.due_requests import claim_due, datasets_due, run_now
from export_pipeline.schedules.editing import (
    create_schedule,
    delete_schedule,
    get_schedule,
    list_schedules,
    pause_schedule,
)
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.schedules.scheduling import DAY, START, insert

RECIPIENTS = {
    "takeoff": {"a": ["ann@example.org", "al@example.org"], "b": ["ben@example.org"], "c": [], "d": []}
}


def test_each_scope_goes_to_its_own_recipients(database: Database, engine: sa.Engine, ledger: Ledger) -> None:
    schedule_id = insert(database, each_scope=True, owner="ops@example.org", additional_formats='["json"]')
    assert datasets_due(engine, START + DAY, each_scope=True) == ["takeoff"]
    assert claim_due(engine, START + DAY, 10) == []  # nobody has read the recipients: it waits
    asks = claim_due(engine, START + DAY, 10, recipients=RECIPIENTS)
    jobs = [ledger.get(ask.job_id) for ask in asks]
    assert {(job.scope, job.format, tuple(job.recipients)) for job in jobs} == {
        (scope, format, tuple(addresses))
        for scope, addresses in RECIPIENTS["takeoff"].items()
        if addresses
        for format in ("csv", "json")
    }
    assert claim_due(engine, START + DAY, 10, recipients=RECIPIENTS) == []
    (notice,) = ledger.find(status=[Status.FAILED])
    assert (notice.error_code, notice.scope, notice.requested_by) == (
        "no_recipients",
        None,
        "ops@example.org",
    )
    assert "2 of 4 scopes of takeoff" in str(notice.error_message)
    assert str(notice.error_message).endswith("who gets which: c (nobody is named), d (nobody is named).")
    assert notice.recipients == []

    more = {"takeoff": {**RECIPIENTS["takeoff"], "c": ["cy@example.org"]}}
    job_id, is_new = run_now(engine, schedule_id, START + DAY, recipients=more)
    assert is_new
    assert (ledger.get(job_id).scope, len(ledger.find(status=[Status.PENDING]))) == ("c", 6)
    assert run_now(engine, schedule_id, START + DAY, recipients=more)[1] is False
    assert len(claim_due(engine, START + 2 * DAY, 10, recipients=more)) == 6


def test_a_run_of_thousands_of_scopes_is_requested_once(
    database: Database, engine: sa.Engine, ledger: Ledger
) -> None:
    insert(database, each_scope=True)
    many = {"takeoff": {f"scope {number}": [f"r{number}@example.org"] for number in range(2_500)}}
    assert len(claim_due(engine, START + DAY, 10, recipients=many)) == 2_500
    assert database.run("SELECT count(*), count(DISTINCT scope) FROM export_jobs") == [(2_500, 2_500)]
    assert claim_due(engine, START + DAY, 10, recipients=many) == []


@pytest.mark.parametrize(
    ("chosen", "viewer", "message"),
    [
        ({"scope": "a"}, Viewer(), "scope: a schedule for each scope takes"),
        ({"recipients": ["ann@example.org"]}, Viewer(), "recipients: a schedule for each scope takes"),
        ({}, Viewer(scopes=["a"]), "each_scope: it is only for those who may see every scope."),
        ({}, Viewer(scopes=[None]), "each_scope: it is only for those who may see every scope."),
    ],
)
def test_who_may_not_see_every_scope_makes_none(
    engine: sa.Engine, chosen: dict[str, Any], viewer: Viewer, message: str
) -> None:
    fields = {"dataset": "takeoff", "format": "csv", "cadence": "daily", "each_scope": True, **chosen}
    with pytest.raises(ScheduleError, match=f"^{message}"):
        create_schedule(engine, fields, datetime(2026, 1, 1, tzinfo=UTC), viewer)


ACCOUNTS = """
CREATE TABLE accounts (id text PRIMARY KEY, name text, email text);
CREATE TABLE contacts (account text, email text);
CREATE TABLE orders (id integer PRIMARY KEY, account text, made text);
INSERT INTO accounts VALUES ('a', 'Corner shop', 'own@example.org'), ('b', NULL, NULL), ('c', 'Bakery', '');
INSERT INTO contacts VALUES
    ('a', 'zoe@example.org'), ('a', ' ann@example.org '), ('a', 'ann@example.org'),
    ('b', NULL), ('b', '  '), ('gone', 'nobody@example.org');
"""


def orders(**recipients: str) -> Any:
    attributes = {
        "dataset": "orders",
        "source": {"table": "orders"},
        "description": "Orders.",
        "columns": [{"name": "id", "type": "integer"}],
        "formats": ["csv"],
        "scope": {
            "column": "account",
            "table": "accounts",
            **({"recipients": recipients} if recipients else {}),
        },
    }
    return table_dataset(TableModel.model_validate(attributes), Path())


def test_the_recipients_are_read_from_the_applications_table(tmp_path: Path, engine: sa.Engine) -> None:
    file = tmp_path / "application.db"
    with sqlite3.connect(file) as connection:
        connection.executescript(ACCOUNTS)
    source = SourceDatabase(f"sqlite:///{file}")
    datasets = {"orders": orders(table="contacts", scope="account", address="email")}
    recipients, unreadable = known_recipients(source, datasets, ["orders"])
    assert recipients == {"orders": {"a": ["ann@example.org", "zoe@example.org"], "b": [], "c": []}}
    assert unreadable == {}
    by_column = {"orders": orders(table="accounts", scope="id", address="email")}  # no table of their own
    assert known_recipients(source, by_column, ["orders"]) == (
        {"orders": {"a": ["own@example.org"], "b": [], "c": []}}, {},
    )  # fmt: skip
    schedule = create_schedule(
        engine,
        {
            "dataset": "orders",
            "format": "csv",
            "cadence": "daily",
            "each_scope": True,
            "export_window": "none",
        },
        datetime(2026, 1, 1, tzinfo=UTC),
        check=schedule_check(datasets, {}),
    )
    assert get_schedule(engine, schedule.id).each_scope
    with pytest.raises(ScheduleError, match="each_scope: orders does not say who gets which scope"):
        schedule_check({"orders": orders()}, {})(schedule)


def test_recipients_that_cannot_be_read_stop_their_schedule_alone(
    tmp_path: Path, database: Database, engine: sa.Engine, ledger: Ledger
) -> None:
    file = tmp_path / "application.db"
    with sqlite3.connect(file) as connection:
        connection.executescript(ACCOUNTS)
    datasets = {"orders": orders(table="people", scope="account", address="email")}
    recipients, unreadable = known_recipients(
        SourceDatabase(f"sqlite:///{file}"), datasets, datasets_due(engine, START + DAY, each_scope=True)
    )
    assert (recipients, unreadable) == ({}, {})
    broken = insert(database, dataset="orders", each_scope=True, export_window="none")
    sound = insert(database, dataset="orders", scope="a", export_window="none")
    names = datasets_due(engine, START + DAY, each_scope=True)
    recipients, unreadable = known_recipients(SourceDatabase(f"sqlite:///{file}"), datasets, names)
    check = schedule_check(datasets, {}, unreadable)
    (ask,) = claim_due(engine, START + DAY, 10, check, recipients=recipients)
    assert ask.schedule_id == sound
    assert "people" in str(get_schedule(engine, broken).problem)
    (notice,) = ledger.find(status=[Status.FAILED])
    with pytest.raises(RefusedError, match="nothing to retry"):
        ledger.retry(notice.id)

    gone = SourceDatabase(f"sqlite:///{tmp_path}/nowhere.db")
    assert known_recipients(gone, datasets, ["orders"]) == ({}, {})  # an outage: the schedule waits


def test_a_schedule_is_looked_at_again_when_it_becomes_one_of_each_scope(
    database: Database, engine: sa.Engine
) -> None:
    schedule_id = insert(database)
    claim_due(engine, START, 10)
    assert get_schedule(engine, schedule_id).next_run is not None
    database.run("UPDATE scheduled_exports SET each_scope = true")
    assert get_schedule(engine, schedule_id).next_run is None


def test_a_notice_of_scopes_without_recipients_is_not_retried(
    database: Database, engine: sa.Engine, ledger: Ledger
) -> None:
    insert(database, each_scope=True)
    claim_due(engine, START + DAY, 10, recipients=RECIPIENTS)
    (notice,) = ledger.find(status=[Status.FAILED])
    with pytest.raises(RefusedError, match=r"nothing to retry: name recipients, .*schedules run-now"):
        ledger.retry(notice.id)


def test_a_scope_that_the_ledger_cannot_hold_stops_no_other(
    database: Database, engine: sa.Engine, ledger: Ledger
) -> None:
    odd = {
        "s" * 2_001: ["a@example.org"],
        "nul\x00": ["a@example.org"],
        "address": ["a\x00@example.org"],
        "half \ud800": ["a@example.org"],
        "crowd": [f"r{number}@example.org" for number in range(1_001)],
        "letters": ["x" * 500_001 + "@example.org"],
        "sound": ["a@example.org"],
    }
    insert(database, each_scope=True)
    other = insert(database)
    asks = claim_due(engine, START + DAY, 10, recipients={"takeoff": odd})
    assert sorted((ask.scope or "", ask.schedule_id == other) for ask in asks) == [
        ("", True),
        ("sound", False),
    ]
    (notice,) = ledger.find(status=[Status.FAILED])
    assert "6 of 7 scopes" in str(notice.error_message)
    assert "cannot be stored" in str(notice.error_message)


def test_what_the_ledger_refuses_of_one_schedule_stops_no_other(
    database: Database, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export_pipeline.schedules import run_requests

    monkeypatch.setattr(run_requests, "_problem_of", lambda scope, mailboxes: None)
    broken, sound = insert(database, each_scope=True), insert(database)
    recipients = {"takeoff": {"a": ["a@example.org"], "s" * 2_001: ["a@example.org"]}}
    asks = claim_due(engine, START + DAY, 10, recipients=recipients)
    assert [ask.schedule_id for ask in asks] == [sound]
    assert "too long" in str(get_schedule(engine, broken).problem)


@pytest.mark.parametrize("value", [2, -1, "true"])
def test_sqlite_takes_no_other_number_for_each_scope(sqlite_database: Database, value: object) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="true or false"):
        insert(sqlite_database, each_scope=value)


def test_who_sees_only_exports_without_a_scope_sees_no_schedule_of_each(
    database: Database, engine: sa.Engine
) -> None:
    schedule_id = insert(database, each_scope=True)
    limited = Viewer(scopes=[None])
    assert list_schedules(engine, limited) == []
    for act in (pause_schedule, delete_schedule):
        with pytest.raises(UnknownScheduleError):
            act(engine, schedule_id, limited)
    with pytest.raises(UnknownScheduleError):
        run_now(engine, schedule_id, START + DAY, limited, recipients=RECIPIENTS)
    assert len(list_schedules(engine)) == 1


def test_a_dataset_without_scopes_has_none_to_send_each(engine: sa.Engine) -> None:
    dataset = table_dataset(
        TableModel.model_validate(
            {"dataset": "plain", "description": "Plain.", "source": {"table": "orders"}, "formats": ["csv"],
             "columns": [{"name": "id", "type": "integer"}]}
        ),
        Path(),
    )  # fmt: skip
    fields = {
        "dataset": "plain",
        "format": "csv",
        "cadence": "daily",
        "each_scope": True,
        "export_window": "none",
    }
    with pytest.raises(ScheduleError, match=r"^each_scope: plain has no scopes"):
        create_schedule(engine, fields, START, check=schedule_check({"plain": dataset}, {}))


def test_missed_runs_of_each_scope_are_requested_one_at_a_time(database: Database, engine: sa.Engine) -> None:
    insert(database, each_scope=True, misfire="all")
    many = {"takeoff": {f"scope {number}": ["a@example.org"] for number in range(30)}}
    for _ in range(3):
        assert len(claim_due(engine, START + 3 * DAY, 1_000, recipients=many)) == 30
    assert claim_due(engine, START + 3 * DAY, 1_000, recipients=many) == []
