"""Each window is asked for once, whoever else asks and whatever dies."""

import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.jobs.database import open_engine
from export_pipeline.schedules.due_requests import claim_due
from export_pipeline.schedules.run_requests import ScheduledRequest
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.schedules.scheduling import DAY, START, asked, insert


@pytest.mark.slow
def test_eight_at_once_ask_for_each_window_once(database: Database, engine: sa.Engine) -> None:
    ids = [insert(database, misfire="all" if number % 2 else "last") for number in range(40)]
    now = START + 5 * DAY
    taken: list[ScheduledRequest] = []
    lock, ready = threading.Lock(), threading.Barrier(8)

    def work() -> None:
        mine = open_engine(database.url)
        ready.wait()
        for _ in range(60):
            claimed = claim_due(mine, now, 7)
            with lock:
                taken.extend(claimed)
        mine.dispose()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last, each = ["daily/2025-03-05"], [f"daily/2025-03-0{day}" for day in range(1, 6)]
    expected = [(key, window) for n, key in enumerate(ids) for window in (each if n % 2 else last)]
    assert asked(database) == Counter(expected)
    assert Counter((ask.schedule_id, f"daily/{ask.window.name}") for ask in taken) == Counter(expected)
    assert claim_due(engine, now, 100) == []


class Crash(Exception):
    pass


def test_a_crash_before_any_statement_leaves_all_or_nothing(database: Database, engine: sa.Engine) -> None:
    for _ in range(2):
        insert(database)
    statements: list[str] = []
    crash_at = 0

    def count(*arguments: Any) -> None:
        statements.append(str(arguments[2]).split()[0] if len(arguments) > 2 else "COMMIT")
        if len(statements) == crash_at:
            raise Crash

    sa.event.listen(engine, "before_cursor_execute", count)
    sa.event.listen(engine, "commit", count)
    while True:
        crash_at += 1
        statements.clear()
        try:
            claim_due(engine, START + DAY, 10)
            break
        except Crash:
            assert asked(database) == Counter()
            assert database.run("SELECT count(last_run), count(next_run) FROM scheduled_exports") == [(0, 0)]
    done = [word for word in statements if word != "BEGIN"]
    assert done == ["SELECT", *["SELECT", "SAVEPOINT", "INSERT", "RELEASE", "UPDATE"] * 2, "COMMIT"]
    assert crash_at > len(done)
    crash_at = 0
    assert claim_due(engine, START + DAY, 10) == []  # as if the answer of the commit had been lost
    assert sorted(asked(database).values()) == [1, 1]


_PROGRAM = textwrap.dedent(
    """
    import sys, time
    from datetime import datetime
    from export_pipeline.schedules import due_requests
    from export_pipeline.jobs.database import open_engine

    inserted = due_requests.request_run

    def stop(*arguments):
        print(inserted(*arguments)[0].job_id, flush=True)
        time.sleep(600)

    due_requests.request_run = stop
    due_requests.claim_due(open_engine(sys.argv[1]), datetime.fromisoformat(sys.argv[2]), 10)
    """
)


@pytest.mark.slow
def test_killed_after_the_request_was_written(database: Database, engine: sa.Engine) -> None:
    insert(database)
    now = START + DAY
    command = [sys.executable, "-c", _PROGRAM, database.url, now.isoformat()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        if database.is_postgres:
            assert claim_due(engine, now, 10) == []  # it is passed over, and nobody waits
        process.send_signal(signal.SIGKILL)
    (ask,) = claim_due(engine, now, 10)
    assert len(job_id) == 36 != ask.job_id
    assert sorted(asked(database).values()) == [1]
