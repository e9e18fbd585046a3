"""The same request under the same key is one export; another request under it is refused."""

import json
import select
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from export_pipeline.jobs import Attempt, File, IdempotencyError, Ledger, LedgerError
from export_pipeline_tests.jobs.database import Database

ASK = "INSERT INTO export_jobs (dataset, format, scope, requested_by, filters, idempotency_key) VALUES (?, ?, ?, ?, ?, ?)"
ROW: dict[str, Any] = {
    "dataset": "records", "format": "csv", "scope": "a", "requested_by": "ann",
    "filters": '{"status": {"equals": "X"}}', "idempotency_key": "order-17",
}  # fmt: skip


def ask(database: Database, **changed: Any) -> list[tuple[Any, ...]]:
    return database.run(f"{ASK} ON CONFLICT DO NOTHING RETURNING id", *{**ROW, **changed}.values())


def count(database: Database) -> int:
    return int(database.run("SELECT count(*) FROM export_jobs")[0][0])


def test_the_same_row_again_is_the_same_export(database: Database) -> None:
    assert len(ask(database)) == 1
    assert ask(database) == []
    assert ask(database, filters='{ "status":{"equals" : "X"} }') == []
    with pytest.raises(database.error) as refused:
        database.run(ASK, *ROW.values())
    if database.is_postgres:
        assert refused.value.pgcode == "23505"  # type: ignore[attr-defined]  # unique_violation
    else:
        assert isinstance(refused.value, sqlite3.IntegrityError)
    assert count(database) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"dataset": "sellers"},
        {"format": "pdf"},
        {"filters": "{}"},
        {"filters": '{"status": {"equals": "x"}}'},
    ],
)
def test_another_row_under_the_key_is_refused(database: Database, changed: dict[str, str]) -> None:
    ask(database)
    with pytest.raises(database.error, match="was used before, for another request") as refused:
        ask(database, **changed)
    if database.is_postgres:
        assert refused.value.pgcode == "23514"  # type: ignore[attr-defined]  # check_violation
    else:
        assert isinstance(refused.value, sqlite3.IntegrityError)
    assert count(database) == 1


def test_another_webhook_under_the_key_is_another_request(database: Database) -> None:
    webhooks = [
        str(
            database.run("INSERT INTO export_webhooks (url) VALUES (?) RETURNING id", f"https://{n}.test")[0][
                0
            ]
        )
        for n in range(2)
    ]
    insert = (
        "INSERT INTO export_jobs (dataset, format, idempotency_key, webhook_id) VALUES ('t', 'csv', 'k', ?)"
        " ON CONFLICT DO NOTHING"
    )
    for _ in range(2):
        database.run(insert, webhooks[0])
    for other in (webhooks[1], None):
        with pytest.raises(database.error, match="was used before, for another request"):
            database.run(insert, other)
    assert count(database) == 1


@pytest.mark.parametrize(
    "changed", [{"scope": "b"}, {"scope": None}, {"requested_by": "bob"}, {"requested_by": None}]
)
def test_a_key_belongs_to_who_asks_within_a_scope(database: Database, changed: dict[str, Any]) -> None:
    ask(database)
    assert len(ask(database, **changed)) == 1
    assert ask(database, **changed) == []
    assert count(database) == 2


def test_rows_without_a_key_are_exports_of_their_own(database: Database) -> None:
    for _ in range(2):
        assert len(ask(database, idempotency_key=None)) == 1


def test_a_long_idempotency_key_is_refused(database: Database) -> None:
    ask(database, idempotency_key="ü" * 127)
    with pytest.raises(database.error, match="idempotency_key of a row of export_jobs is too long"):
        ask(database, idempotency_key="ü" * 128)
    with pytest.raises(database.error, match="with scope and requested_by 2,500"):
        ask(database, scope="s" * 1_900, requested_by="r" * 600)


@pytest.mark.parametrize("empty", ["NULL", "'null'", "'{}'"])
def test_nothing_asked_is_the_same_however_it_is_written(database: Database, empty: str) -> None:
    insert = (
        "INSERT INTO export_jobs (dataset, format, idempotency_key, filters, options) VALUES ('t', 'csv', 'k'"
    )
    database.run(f"{insert}, '{{}}', NULL)")
    database.run(f"{insert}, {empty}, {empty}) ON CONFLICT DO NOTHING")
    assert count(database) == 1


def test_rows_at_the_same_moment_are_one_export(postgres_database: Database) -> None:
    with closing(Database(postgres_database.url)) as other:
        postgres_database.run("BEGIN")
        assert len(ask(postgres_database)) == 1
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ask, other, format="pdf")
            locked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            with closing(Database(postgres_database.url)) as third:
                until = threading.Event()
                while third.run(locked) == [(0,)]:
                    assert not until.wait(0.02)
            postgres_database.run("COMMIT")
            with pytest.raises(other.error, match="was used before"):
                waiting.result(10)
        assert ask(other) == []
        other.run("ROLLBACK")


def test_the_ledger_returns_the_export_that_was_asked_for(database: Database, ledger: Ledger) -> None:
    filters = {"b": {"equals": "X"}, "a": {"in": ["1", "2"]}}
    first = ledger.request(
        "records", "csv", scope="a", requested_by="ann", filters=filters, idempotency_key="k"
    )
    turned = {"a": filters["a"], "b": filters["b"]}
    again = ledger.request(
        "records", "csv", scope="a", requested_by="ann", filters=turned, idempotency_key="k"
    )
    assert again.id == first.id
    with pytest.raises(
        IdempotencyError, match=r"'k' was used for another request \(filters differs\)"
    ) as refused:
        ledger.request("records", "csv", scope="a", requested_by="ann", idempotency_key="k")
    assert refused.value.job_id == first.id
    assert ledger.request("records", "csv", scope="b", requested_by="ann", idempotency_key="k").id != first.id
    for event in ([event.kind for event in ledger.events(first.id)],):
        assert event == ["requested"]


def test_the_same_key_in_sql_and_in_the_ledger_is_one_export(database: Database, ledger: Ledger) -> None:
    ((job_id,),) = ask(database)
    job = ledger.request(
        "records",
        "csv",
        scope="a",
        requested_by="ann",
        filters=json.loads(ROW["filters"]),
        idempotency_key="order-17",
    )
    assert job.id == str(job_id)


def test_an_export_that_has_ended_is_still_the_one(database: Database, ledger: Ledger) -> None:
    job = ledger.request("records", "csv", scope="a", idempotency_key="k")
    ledger.failed(job.current, "export_failed", "The disk is full.")
    again = ledger.request("records", "csv", scope="a", idempotency_key="k")
    assert (again.id, again.status) == (job.id, "failed")


def test_the_key_of_a_deleted_export_is_used_up(ledger: Ledger) -> None:
    job = ledger.request("records", "csv", scope="a", idempotency_key="k")
    ledger.canceled(job.id)
    ledger.delete(job.id, lambda key: None)
    with pytest.raises(IdempotencyError, match="'k' was used for a request that was deleted"):
        ledger.request("records", "csv", scope="a", idempotency_key="k")


def test_many_processes_with_one_key_make_one_export(database: Database) -> None:
    together = threading.Barrier(6)

    def request(number: int) -> str:
        with Ledger(database.url) as ledger:
            together.wait()
            try:
                format = "pdf" if number == 5 else "csv"
                return ledger.request("records", format, scope="a", idempotency_key="k").id
            except LedgerError as error:
                assert isinstance(error, IdempotencyError), error
                return ""

    with ThreadPoolExecutor(6) as pool:
        ids = set(pool.map(request, range(6)))
    assert len(ids) == 2
    assert count(database) == 1


def test_postgresql_tells_listeners_how_an_export_ended(postgres_database: Database) -> None:
    with closing(Database(postgres_database.url)) as listener, Ledger(postgres_database.url) as ledger:
        listener.run("LISTEN export_ended")
        done, lost = (ledger.request("t", "csv") for _ in range(2))
        run = Attempt(done.id, 1, "r")
        ledger.started(run)
        ledger.progress(run, "render", percent=50)
        ledger.completed(run, File("exports/all/1.csv", "1.csv", 1, 1, "x"))
        ledger.canceled(lost.id)
        ledger.retry(lost.id)
        ledger.delete(done.id, lambda key: None)
        notices: list[dict[str, str]] = []
        while len(notices) < 3:
            assert select.select([listener.connection], [], [], 10)[0]
            listener.connection.poll()
            notices += [json.loads(notice.payload) for notice in listener.connection.notifies]
            listener.connection.notifies.clear()
        assert notices == [
            {"id": done.id, "status": "completed"},
            {"id": lost.id, "status": "canceled"},
            {"id": done.id, "status": "expired"},
        ]
