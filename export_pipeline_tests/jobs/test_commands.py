"""Applications that use only SQL cancel, retry and delete exports."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from export_pipeline.jobs import Attempt, File, Ledger, LedgerUnavailableError, UnknownJobError
from export_pipeline.jobs.commands import Commands
from export_pipeline.store.base import StoreError
from export_pipeline_tests.jobs.database import Database

INSERT = "INSERT INTO export_commands (job_id, command, scope) VALUES (?, ?, ?)"


@pytest.fixture
def removed() -> list[str]:
    return []


@pytest.fixture
def commands(ledger: Ledger) -> Commands:
    return Commands.sharing(ledger)


def answers(database: Database) -> list[tuple[str, str]]:
    return [
        (row[0], row[1]) for row in database.run("SELECT status, answer FROM export_commands ORDER BY id")
    ]


def completed(ledger: Ledger, scope: str = "a") -> str:
    job = ledger.request("takeoff", "csv", scope=scope)
    run = Attempt(job.id, 1, "r")
    ledger.started(run)
    return ledger.completed(run, File(f"exports/{scope}/{job.id}.csv", "a.csv", 1, 1, "x")).id


def test_each_command_does_what_the_command_line_does(
    database: Database, ledger: Ledger, commands: Commands, removed: list[str]
) -> None:
    waiting, made = database.insert("a"), completed(ledger)
    database.run(INSERT, waiting, "cancel", "a")
    database.run(INSERT, waiting, "retry", "a")
    database.run(INSERT, made, "delete", "a")
    assert commands.run_pending(removed.append) == 3
    assert answers(database) == [
        ("done", "Canceled."),
        ("done", "Attempt 2 waits for its turn."),
        ("done", "Deleted."),
    ]
    assert (ledger.get(waiting).status, ledger.get(waiting).attempt) == ("pending", 2)
    assert removed == [f"exports/a/{made}.csv"]
    with pytest.raises(UnknownJobError):
        ledger.get(made)
    assert commands.run_pending(removed.append) == 0
    assert database.run("SELECT count(*) FROM export_commands WHERE ended_at IS NULL") == [(0,)]


def test_the_same_states_refuse_what_they_refuse_everybody(
    database: Database, ledger: Ledger, commands: Commands, removed: list[str]
) -> None:
    waiting, made, held = database.insert("a"), completed(ledger), completed(ledger)
    ledger.hold(held, True)
    for job_id, command in [
        (waiting, "retry"),
        (waiting, "delete"),
        (made, "cancel"),
        (made, "retry"),
        (held, "delete"),
    ]:
        database.run(INSERT, job_id, command, "a")
    assert commands.run_pending(removed.append) == 5
    answers_now = answers(database)
    assert [status for status, _ in answers_now] == ["refused"] * 5
    reasons = [
        "wait for it, or cancel it first",
        "cancel it first",
        "has ended already",
        "request it again",
        "under legal hold",
    ]
    assert all(reason in answer for reason, (_, answer) in zip(reasons, answers_now, strict=True))
    assert removed == []


@pytest.mark.parametrize("scope", ["b", None, "", "A"])
def test_a_command_of_another_scope_finds_no_export(
    database: Database, ledger: Ledger, commands: Commands, removed: list[str], scope: str | None
) -> None:
    waiting, made = database.insert("a"), completed(ledger)
    for job_id, command in [
        (waiting, "cancel"),
        (made, "delete"),
        ("7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11", "cancel"),
    ]:
        database.run(INSERT, job_id, command, scope)
    commands.run_pending(removed.append)
    for (status, answer), job_id in zip(
        answers(database), (waiting, made, "7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11"), strict=True
    ):
        assert (status, answer) == ("refused", f"There is no export job {job_id}.")
    assert (ledger.get(waiting).status, ledger.get(made).status, removed) == ("pending", "completed", [])


def test_an_export_without_a_scope_is_found_without_one(
    database: Database, ledger: Ledger, commands: Commands
) -> None:
    job_id = database.insert(None)
    database.run(INSERT, job_id, "cancel", None)
    commands.run_pending(lambda key: None)
    assert ledger.get(job_id).status == "canceled"


def test_a_command_may_be_for_ones_own_exports_only(
    database: Database, ledger: Ledger, commands: Commands
) -> None:
    job = ledger.request("takeoff", "csv", scope="a", requested_by="ann")
    insert = "INSERT INTO export_commands (job_id, command, scope, requested_by, commanded_by) VALUES (?, 'cancel', 'a', ?, ?)"
    database.run(insert, job.id, "bob", "bob")
    database.run(insert, job.id, "ann", "ann's boss")
    commands.run_pending(lambda key: None)
    assert [status for status, _ in answers(database)] == ["refused", "done"]
    assert ledger.events(job.id)[-1].who == "ann's boss"


def test_a_file_that_cannot_be_removed_is_tried_again_and_delays_nobody(
    database: Database, ledger: Ledger, commands: Commands, removed: list[str]
) -> None:
    made, waiting = completed(ledger), database.insert("a")
    database.run(INSERT, made, "delete", "a")
    database.run(INSERT, waiting, "cancel", "a")

    def fail(key: str) -> None:
        raise StoreError("The bucket does not answer.")

    assert commands.run_pending(fail) == 1
    assert answers(database) == [
        ("pending", "Not done yet: The bucket does not answer."),
        ("done", "Canceled."),
    ]
    assert ledger.get(made).status == "completed"
    assert commands.run_pending(removed.append) == 1
    assert (answers(database)[0], removed) == (("done", "Deleted."), [f"exports/a/{made}.csv"])


def test_a_process_that_dies_repeats_no_command(
    database: Database, ledger: Ledger, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = database.insert("a")
    ledger.canceled(job_id)
    database.run(INSERT, job_id, "retry", "a")
    with monkeypatch.context() as dying:

        def die(*_: object) -> None:
            raise LedgerUnavailableError("gone")

        dying.setattr("export_pipeline.jobs.commands._answer", die)
        with pytest.raises(LedgerUnavailableError):
            commands.run_pending(lambda key: None)
    assert (ledger.get(job_id).status, ledger.get(job_id).attempt) == ("canceled", 1)
    commands.run_pending(lambda key: None)
    assert (ledger.get(job_id).status, ledger.get(job_id).attempt) == ("pending", 2)


def test_two_daemons_run_a_command_once(database: Database, ledger: Ledger) -> None:
    job_id = database.insert("a")
    ledger.canceled(job_id)
    database.run(INSERT, job_id, "retry", "a")
    together = threading.Barrier(4)

    def run(_: int) -> int:
        with Ledger(database.url) as own:
            together.wait()
            return Commands.sharing(own).run_pending(lambda key: None)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(run, range(4))) == 1
    assert ledger.get(job_id).attempt == 2
    assert [status for status, _ in answers(database)] == ["done"]


@pytest.mark.parametrize(
    "wrong",
    ["status = 'done'", "answer = 'x'", "ended_at = '2026-01-01T00:00:00Z'", "command = 'purge'", "command = NULL",
     "job_id = NULL", f"scope = '{'s' * 2001}'"],
)  # fmt: skip
def test_a_row_that_is_no_command_is_refused(database: Database, wrong: str) -> None:
    column, _, value = wrong.partition(" = ")
    row = {"job_id": "'7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11'", "command": "'cancel'", column: value}
    with pytest.raises(database.error):
        database.run(f"INSERT INTO export_commands ({', '.join(row)}) VALUES ({', '.join(row.values())})")


def test_answered_commands_are_forgotten_in_time(database: Database, commands: Commands) -> None:
    from datetime import timedelta

    for _ in range(2):
        database.run(INSERT, database.insert("a"), "cancel", "a")
    assert commands.run_pending(lambda key: None, limit=1) == 1
    database.age("ended_at", 3600, table="export_commands")
    assert commands.forget(timedelta(hours=2)) == 0
    assert commands.forget(timedelta(minutes=30)) == 1
    assert len(answers(database)) == 1
