import threading
from collections import Counter
from datetime import datetime, timedelta

import pytest

from export_pipeline.jobs import Attempt, File, Job, Ledger, Status
from export_pipeline.jobs.errors import SupersededError
from export_pipeline_tests.jobs.database import Database

_CODE = "0123"
FILE = File("exports/a/1.csv", "a.csv", 10, 1, "00")


def finish(ledger: Ledger, job: Job) -> None:
    """The whole life of a claimed job."""
    attempt = Attempt(job.id, job.attempt, f"run-{job.id}")
    ledger.started(attempt)
    ledger.completed(attempt, FILE)


def scopes(claimed: list[Job]) -> list[str | None]:
    return [job.scope for job in claimed]


def test_eight_at_once_take_each_row_once(database: Database, ledger: Ledger) -> None:
    for scope in "abcdefghij":
        database.insert_many(30, scope)
    taken: list[Job] = []
    lock, ready = threading.Lock(), threading.Barrier(8)

    def work() -> None:
        ready.wait()
        for _ in range(300):
            claimed = ledger.claim(7, who=threading.current_thread().name)
            with lock:
                taken.extend(claimed)
                if len(taken) == 300:
                    return

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(Counter(job.id for job in taken).values()) == {1: 300}
    assert database.run("SELECT count(*) FROM export_jobs WHERE offers = 1 AND status = 'pending'") == [
        (300,)
    ]
    assert ledger.claim(10) == []


def test_a_claimed_job_is_offered_again_only_after_a_while(database: Database, ledger: Ledger) -> None:
    database.insert()
    (first,) = ledger.claim(10, who="one")
    assert (first.claimed_by, first.dispatches, first.status) == ("one", 1, Status.PENDING)
    assert ledger.claim(10) == []
    database.age("claimed_at", 61)
    (again,) = ledger.claim(10, who="two")
    assert (again.id, again.claimed_by, again.dispatches) == (first.id, "two", 2)
    assert again.current.run_key == first.current.run_key  # so that Dagster makes no second run of it
    assert ledger.claim(10, patience=timedelta(0)) != []


def test_a_job_that_became_a_run_is_not_offered_again(database: Database, ledger: Ledger) -> None:
    database.insert()
    (job,) = ledger.claim(1)
    ledger.started(Attempt(job.id, 1, "run"))
    database.age("claimed_at", 3600)
    assert ledger.claim(10) == []


def test_priority_then_age(database: Database, ledger: Ledger) -> None:
    ids = [database.insert() for _ in range(4)]
    for seconds, job_id in zip((10, 40, 20, 30), ids, strict=True):
        database.age("created_at", seconds, f"id = '{job_id}'")
    database.run("UPDATE export_jobs SET priority = 5 WHERE id = ?", ids[0])
    assert [job.id for job in ledger.claim(10)] == [ids[0], ids[1], ids[3], ids[2]]


def test_one_scopes_many_jobs_do_not_delay_anothers(database: Database, ledger: Ledger) -> None:
    database.insert_many(500, "big")
    database.insert("small")
    database.insert(None)
    assert Counter(scopes(ledger.claim(3))) == {"big": 1, "small": 1, None: 1}


def test_jobs_in_flight_count_against_their_scope(database: Database, ledger: Ledger) -> None:
    database.insert_many(50, "big")
    ledger.claim(10)
    database.age("created_at", 3600, "claimed_at IS NULL")  # what is in flight need not be the oldest
    database.insert_many(12, "small")
    assert scopes(ledger.claim(10)) == ["small"] * 10
    assert Counter(scopes(ledger.claim(4))) == {"small": 2, "big": 2}


def test_even_one_by_one_scopes_take_turns(database: Database, ledger: Ledger) -> None:
    """With nothing in flight, only who was served last can tell whose turn it is."""
    database.insert_many(20, "a")
    database.insert_many(20, "b")
    for _ in range(3):
        database.insert(None)
    database.age("created_at", 3600, "scope = 'a'")
    order = []
    for _ in range(9):
        (job,) = ledger.claim(1)
        order.append(job.scope)
        finish(ledger, job)
    assert Counter(order) == {"a": 3, "b": 3, None: 3}


def test_no_more_jobs_are_claimed_than_may_be_in_flight(database: Database, ledger: Ledger) -> None:
    database.insert_many(10, "a")
    claimed = ledger.claim(10, max_in_flight=4)
    assert len(claimed) == 4
    assert ledger.claim(10, max_in_flight=4) == []
    ledger.started(Attempt(claimed[0].id, 1, "run"))
    assert ledger.claim(10, max_in_flight=4) == []
    finish(ledger, claimed[1])
    ledger.canceled(claimed[2].id)
    assert len(ledger.claim(10, max_in_flight=4)) == 2
    assert len(ledger.in_flight()) == 4


def test_canceled_and_deleted_jobs_are_not_claimed(database: Database, ledger: Ledger) -> None:
    ledger.canceled(database.insert())
    ledger.delete(ledger.find()[0].id, remove=lambda key: None)
    database.insert("b")
    assert scopes(ledger.claim(10)) == ["b"]


def test_runs_that_take_on_requests_at_once_take_each_once(database: Database, ledger: Ledger) -> None:
    for scope in "abcd":
        database.insert_many(10, scope)
    ledger.record_code_version(_CODE)
    (dataset,) = {job.dataset for job in ledger.find()}
    taken: list[Job] = []
    ready = threading.Barrier(4)

    def work() -> None:
        ready.wait()
        while len(taken) < 40:
            if (job := ledger.claim_extra(dataset, threading.current_thread().name, _CODE)) is not None:
                taken.append(job)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(Counter(job.id for job in taken).values()) == {1: 40}
    assert {(job.dispatches, job.status) for job in taken} == {(1, Status.PENDING)}
    assert ledger.claim_extra(dataset, "run", _CODE) is None


def test_a_run_takes_on_nothing_while_a_higher_priority_waits(database: Database, ledger: Ledger) -> None:
    database.insert()
    ledger.record_code_version(_CODE)
    (dataset,) = {job.dataset for job in ledger.find()}
    database.run(
        "INSERT INTO export_jobs (dataset, format, scope, priority) VALUES ('another', 'csv', 'a', 1)"
    )
    assert ledger.claim_extra(dataset, "run", _CODE) is None
    (urgent,) = ledger.claim(1)
    assert urgent.dataset == "another"
    assert ledger.claim_extra(dataset, "run", _CODE) is None  # it has no place yet
    finish(ledger, urgent)
    taken = ledger.claim_extra(dataset, "run", _CODE)
    assert taken is not None
    started = ledger.started_extra(Attempt(taken.id, 1, "run"), _at(taken), {})
    assert (started.started_at, started.is_extra) == (taken.claimed_at, True)


def test_a_run_takes_on_nothing_if_requests_are_claimed_by_other_code(
    database: Database, ledger: Ledger
) -> None:
    database.insert()
    (dataset,) = {job.dataset for job in ledger.find()}
    assert ledger.claim_extra(dataset, "run", _CODE) is None  # nobody has claimed anything yet
    for code, is_taken in (("newer", False), (_CODE, True)):
        ledger.record_code_version(code)
        ledger.record_code_version(code)
        assert (ledger.claim_extra(dataset, "run", _CODE) is not None) is is_taken


@pytest.mark.parametrize("limits", [{None: 2}, {"a": 2}, {None: 9, "a": 2}])
def test_a_run_takes_on_nothing_of_a_scope_for_which_as_many_runs_work_as_may(
    database: Database, ledger: Ledger, limits: dict[str | None, int]
) -> None:
    database.insert_many(3, "a")
    started = ledger.claim(3)
    for number, job in enumerate(started):
        ledger.started(Attempt(job.id, 1, f"run {min(number, 1)}"))
    for scope in "aabb":
        database.insert(scope)
    ledger.record_code_version(_CODE)
    (dataset,) = {job.dataset for job in ledger.find()}

    def take(run_id: str) -> str | None:
        job = ledger.claim_extra(dataset, run_id, _CODE, limits)
        return job and job.scope

    assert [take("run 2") for _ in range(3)] == ["b", "b", None]  # two runs work for a
    assert take("run 1") == "a"  # this one and another
    ledger.completed(started[0].current, FILE)
    assert take("run 2") == "a"
    assert ledger.claim_extra(dataset, "run 2", _CODE) is None


def test_an_extra_request_counts_against_its_scope_before_it_has_started(
    database: Database, ledger: Ledger
) -> None:
    database.insert_many(2, "a")
    ledger.record_code_version(_CODE)
    (dataset,) = {job.dataset for job in ledger.find()}
    ledger.expect_lease("run 1")
    assert ledger.claim_extra(dataset, "run 1", _CODE, {None: 1}) is not None
    assert ledger.claim_extra(dataset, "run 2", _CODE, {None: 1}) is None
    assert ledger.claim_extra(dataset, "run 2", _CODE, {None: 2}) is not None


def test_a_run_that_has_lost_its_claim_cannot_start(database: Database, ledger: Ledger) -> None:
    """Somebody else has the job, or will have it."""
    database.insert()
    (dataset,) = {job.dataset for job in ledger.find()}
    ledger.record_code_version(_CODE)
    taken = ledger.claim_extra(dataset, "run", _CODE)
    assert taken is not None
    attempt = Attempt(taken.id, 1, "run")
    ledger.requeue(Attempt(taken.id, 1, "another run"))  # whose claim it is not
    assert ledger.get(taken.id).claimed_at == taken.claimed_at
    ledger.requeue(taken.current)
    with pytest.raises(SupersededError, match="lost its claim"):
        ledger.started_extra(attempt, _at(taken), {})
    (again,) = ledger.claim(1, who="sensor")
    with pytest.raises(SupersededError, match="lost its claim"):
        ledger.started_extra(attempt, _at(taken), {})
    ledger.requeue(attempt)
    job = ledger.get(taken.id)
    assert (job.status, job.run_id, job.claimed_at) == (Status.PENDING, None, again.claimed_at)


def _at(job: Job) -> datetime:
    assert job.claimed_at is not None
    return job.claimed_at
