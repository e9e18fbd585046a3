"""A process that is killed between two statements of a move leaves the job as it was, and nobody waiting."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

from export_pipeline.jobs import Ledger, LedgerUnavailableError, Status, transitions
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.jobs.lives import FILE, job_in, run_of

# One process for each move; all stop where the event is to be written: the row has been updated, and nothing
# is committed. SQLite lets only one at a time come so far.
_PROGRAM = textwrap.dedent(
    """
    import sys, time
    from export_pipeline.jobs import Attempt, File, Ledger, ledger, transitions

    def stop(*arguments, **named):
        print("between", flush=True)
        time.sleep(600)

    transitions.record_event = ledger.record_event = stop
    url, job, run, call = sys.argv[1:]
    attempt = Attempt(job, 1, run)
    held = Ledger(url)
    eval(call)
    """
)
_CALLS = {
    "held.started(attempt)": Status.PENDING,
    "held.completed(attempt, File('k', 'n', 1, 1, ''))": Status.PROCESSING,
    "held.expire(job, lambda key: None)": Status.COMPLETED,
    "held.retry(job)": Status.FAILED,
}


@pytest.mark.slow
@pytest.mark.parametrize("call", _CALLS)
def test_killed_between_two_statements(ledger: Ledger, database: Database, call: str) -> None:
    job = job_in(ledger, _CALLS[call])
    events = ledger.events(job.id)
    command = [sys.executable, "-c", _PROGRAM, database.url, job.id, str(run_of(job).run_id), call]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "between\n"
        process.send_signal(signal.SIGKILL)
    assert ledger.get(job.id) == job
    assert ledger.events(job.id) == events
    # Whoever comes next makes the move.
    match _CALLS[call]:
        case Status.PENDING:
            assert ledger.claim(1)[0].id == job.id
            ledger.started(run_of(job))
        case Status.PROCESSING:
            ledger.completed(run_of(job), FILE)
        case Status.COMPLETED:
            ledger.expire(job.id, lambda key: None)
        case _:
            ledger.retry(job.id)
    assert len(ledger.events(job.id)) == len(events) + 1


def test_an_event_that_cannot_be_written_undoes_its_move(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_in(ledger, Status.PROCESSING)

    def broken(*arguments: object, **named: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(transitions, "record_event", broken)
        with pytest.raises(MemoryError):
            ledger.completed(run_of(job), FILE)
    assert ledger.get(job.id) == job
    assert ledger.completed(run_of(job), FILE).status is Status.COMPLETED


def test_connections_that_the_server_closed_are_opened_again(postgres_database: Database) -> None:
    ours = "FROM pg_stat_activity WHERE application_name = 'export_pipeline'"
    with Ledger(postgres_database.url) as ledger:
        job = job_in(ledger, Status.PROCESSING)
        assert postgres_database.run(f"SELECT count(pg_terminate_backend(pid)) > 0 {ours}") == [(True,)]
        assert ledger.completed(run_of(job), FILE).status is Status.COMPLETED

        def terminate(key: str) -> None:
            postgres_database.run(f"SELECT pg_terminate_backend(pid) {ours}")

        with pytest.raises(LedgerUnavailableError):
            ledger.delete(job.id, terminate)
        assert ledger.get(job.id).status is Status.COMPLETED
        assert ledger.delete(job.id, lambda key: None).status is Status.EXPIRED


@pytest.mark.slow
def test_a_claim_of_a_killed_launcher_is_offered_again(ledger: Ledger, database: Database) -> None:
    database.insert()
    claim = "print('between', held.claim(1)[0].dispatches, flush=True), time.sleep(600)"
    command = [sys.executable, "-c", _PROGRAM, database.url, "", "", claim]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "between 1\n"
        process.send_signal(signal.SIGKILL)
    assert ledger.claim(1) == []
    database.age("claimed_at", 61)
    assert ledger.claim(1)[0].dispatches == 2
