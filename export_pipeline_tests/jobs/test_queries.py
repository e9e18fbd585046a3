import uuid
from collections.abc import Callable
from typing import Any

import pytest

from export_pipeline.jobs import Job, Ledger, Status, UnknownJobError, Viewer
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.jobs.lives import job_in, run_of

ANN_OF_A = Viewer(scopes={"a"}, requested_by="ann")


def test_scope_a_never_sees_b(ledger: Ledger) -> None:
    seen = ledger.request("t", "csv", scope="a", requested_by="ann")
    hidden = [
        ledger.request("t", "csv", scope="b", requested_by="ann"),
        ledger.request("t", "csv", scope="a", requested_by="bob"),
        ledger.request("t", "csv", scope="a"),
        ledger.request("t", "csv", requested_by="ann"),
    ]
    assert ledger.find(ANN_OF_A) == [seen]
    assert ledger.get(seen.id, ANN_OF_A) == seen
    for job in hidden:
        for call in (
            lambda job=job: ledger.get(job.id, ANN_OF_A),
            lambda job=job: ledger.canceled(job.id, viewer=ANN_OF_A),
            lambda job=job: ledger.retry(job.id, viewer=ANN_OF_A),
            lambda job=job: ledger.hold(job.id, True, viewer=ANN_OF_A),
            lambda job=job: ledger.delete(job.id, lambda key: None, viewer=ANN_OF_A),
        ):
            with pytest.raises(UnknownJobError, match=f"^There is no export job {job.id}.$"):
                call()
        assert ledger.get(job.id) == job
    assert ledger.canceled(seen.id, viewer=ANN_OF_A).status is Status.CANCELED


@pytest.mark.parametrize(
    ("viewer", "count"),
    [
        (Viewer(), 4),
        (Viewer(scopes=()), 0),
        (Viewer(scopes={"a", "b"}), 2),
        (Viewer(scopes={None}), 1),
        (Viewer(scopes={None, "a"}), 2),
        (Viewer(scopes={""}), 1),
        (Viewer(scopes={"a\x00", "A", "a ", "%"}), 0),
        (Viewer(requested_by="ann"), 1),
        (Viewer(requested_by=""), 0),
        (Viewer(requested_by="ann\x00"), 0),
    ],
)
def test_viewers_see_their_own_scopes_and_requests(ledger: Ledger, viewer: Viewer, count: int) -> None:
    ledger.request("t", "csv", scope="a", requested_by="ann")
    for scope in ("b", "", None):
        ledger.request("t", "csv", scope=scope)
    assert len(ledger.find(viewer)) == count


def test_pages_show_each_job_once_though_new_ones_come(ledger: Ledger, database: Database) -> None:
    database.insert_many(25, "a")  # of one transaction, so of one time on PostgreSQL
    database.run(
        "INSERT INTO export_jobs (dataset, format, created_at) VALUES ('t', 'csv', '2026-01-02 03:04:05')"
    )
    database.run(
        "INSERT INTO export_jobs (dataset, format, created_at) VALUES ('t', 'csv', '2026-01-02 01:04:05')"
    )
    seen: list[Job] = []
    while page := ledger.find(limit=4, after=seen[-1] if seen else None):
        seen += page
        database.insert("new")
    assert len({job.id for job in seen}) == len(seen) == 27
    assert [job.created_at for job in seen] == sorted((job.created_at for job in seen), reverse=True)


def test_jobs_are_filtered_by_status_and_dataset(ledger: Ledger) -> None:
    for status in Status:
        job_in(ledger, status)
    assert [job.status for job in ledger.find(status=[Status.FAILED, Status.PENDING])] == [
        "failed",
        "pending",
    ]
    assert ledger.find(status=[]) == []
    assert ledger.find(dataset="other") == []
    assert len(ledger.find(dataset="takeoff", limit=3)) == 3


def test_identical_requests_in_flight(ledger: Ledger) -> None:
    asked: dict[str, Any] = {
        "scope": "a",
        "filters": {"x": {"in": [1, 2]}, "y": {"equals": None}},
        "columns": ["id", "name"],
        "options": {"bom": True},
        "requested_by": "ann",
    }
    first = ledger.request("t", "csv", **asked, priority=5)
    same = ledger.request("t", "csv", **asked | {"filters": dict(reversed(asked["filters"].items()))})
    different: list[Callable[[], Job]] = [
        lambda: ledger.request("u", "csv", **asked),
        lambda: ledger.request("t", "pdf", **asked),
        lambda: ledger.request("t", "csv", **asked | {"scope": "b"}),
        lambda: ledger.request("t", "csv", **asked | {"scope": None}),
        lambda: ledger.request(
            "t", "csv", **asked | {"filters": {"x": {"in": [2, 1]}, "y": {"equals": None}}}
        ),
        lambda: ledger.request("t", "csv", **asked | {"columns": ["name", "id"]}),
        lambda: ledger.request("t", "csv", **asked | {"columns": None}),
        lambda: ledger.request("t", "csv", **asked | {"options": {"bom": 1}}),
        lambda: ledger.request("t", "csv", **asked | {"requested_by": "bob"}),
    ]
    for make in different:
        make()
    assert ledger.identical_in_flight(first) == []  # nothing is in flight yet
    ledger.claim(100)
    assert [job.id for job in ledger.identical_in_flight(first)] == [same.id]
    ledger.started(run_of(same))
    assert [job.id for job in ledger.identical_in_flight(first)] == [same.id]
    ledger.canceled(same.id)
    assert ledger.identical_in_flight(first) == []


def test_requests_that_share_a_run(ledger: Ledger) -> None:
    one, other = (ledger.request("t", "csv", scope="a") for _ in range(2))
    for job in (one, other):
        ledger.started(type(job.current)(job.id, 1, "run"))
    assert [job.id for job in ledger.of_run("run")] == [one.id, other.id]
    assert ledger.of_run("another") == []


def test_ids_in_any_spelling(ledger: Ledger, database: Database) -> None:
    job_id = database.insert()
    if database.is_postgres:
        assert ledger.get(job_id.upper().replace("-", "")).id == job_id


def test_requests_for_the_same_rows_of_any_scope(ledger: Ledger, database: Database) -> None:
    def insert(**values: str) -> str:
        row = {"dataset": "t", "format": "csv", "scope": "a", "window_key": "daily/2026-02-02"} | values
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        sql = f"INSERT INTO export_jobs ({names}) VALUES ({marks}) RETURNING id"
        return str(database.run(sql, *row.values())[0][0])

    same = [insert(), insert(scope="b"), insert(format="json"), insert(scope="c", options="{}")]
    canceled, retried, deleted = (ledger.get(insert(scope=scope)) for scope in "def")
    for other in (
        {"dataset": "u"},
        {"window_key": "daily/2026-02-03"},
        {"options": '{"sort": ["-id"]}'},
        {"filters": '{"id": {"equals": 1}}'},
        {"columns": '["id"]'},
        {"columns": "[]"},
        {"requested_by": "ann"},
    ):
        insert(**other)
    ledger.canceled(canceled.id)
    ledger.canceled(retried.id)
    ledger.retry(retried.id)
    ledger.canceled(deleted.id)
    ledger.delete(deleted.id, lambda key: None)
    together = ledger.requested_with(ledger.get(same[0]))
    assert {job.id for job in together} == {*same}
    ids = [*same, canceled.id, retried.id, deleted.id, *(str(uuid.uuid4()) for _ in range(2500))]
    assert ledger.in_first_attempt(ids) == {job.id: job.created_at for job in together}
    assert ledger.in_first_attempt([]) == {}
