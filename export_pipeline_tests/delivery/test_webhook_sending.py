"""Deliveries to webhooks are tried until they arrive, by whichever sender lives."""

import json
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.delivery.webhooks import queue as rows
from export_pipeline.delivery.webhooks.endpoints import (
    create_webhook,
    get_webhook,
    revoke_webhook,
)
from export_pipeline.delivery.webhooks.send import deliver_due, send_test
from export_pipeline.jobs import Ledger
from export_pipeline.jobs.database import open_engine
from export_pipeline_tests.delivery.webhook_calls import completed, received, send, settings_of, signed_by
from export_pipeline_tests.delivery.webhook_receiver import Post, Receiver
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.paths import ROOT


def test_tries_come_at_their_times_with_the_same_id_and_body(
    database: Database,
    ledger: Ledger,
    engine: sa.Engine,
    receiver: Receiver,
    make: Any,
) -> None:
    webhook, secret = make()
    completed(ledger)
    receiver.answer = lambda post: (503, {})
    waits = [30, 300, 1800, 7200, 28800, 86400]
    for number, seconds in enumerate(waits, 1):
        assert send(engine) == {"postponed": 1}
        assert send(engine) == {}
        (row,) = rows.find_deliveries(engine, [webhook.id])
        assert (row.tries, row.http_status, row.error_message) == (number, 503, "The receiver answered 503.")
        with Ledger(database.url) as clock:
            assert timedelta(seconds=seconds - 20) < row.next_at - clock.now() <= timedelta(seconds=seconds)
        database.age("next_at", seconds, table="export_webhook_deliveries")
    assert send(engine) == {"failed": 1}
    database.age("next_at", 10 * 86400, table="export_webhook_deliveries")
    assert send(engine) == {}
    assert len(receiver.posts) == 7
    assert len({(post.headers["webhook-id"], post.body) for post in receiver.posts}) == 1
    assert all(signed_by(post, secret) for post in receiver.posts)


def test_retry_after_is_honoured_in_seconds_and_as_a_date(
    database: Database,
    ledger: Ledger,
    engine: sa.Engine,
    receiver: Receiver,
    make: Any,
) -> None:
    webhook, _ = make()
    in_an_hour = datetime.now(UTC) + timedelta(hours=1)
    for header, least, most in [
        ("600", 580, 600),
        (format_datetime(in_an_hour, usegmt=True), 3500, 3600),
        ("10", 10, 30),  # never earlier than the plan
        ("999999999999999999999", 86000, 86400),
        ("soon", 10, 30),
        ("Mon, 01 Jan 99999 00:00:00 GMT", 10, 30),
    ]:
        database.run("DELETE FROM export_webhook_deliveries")
        completed(ledger)
        receiver.answer = lambda post, header=header: (429, {"retry-after": header})  # type: ignore[misc]
        assert send(engine) == {"postponed": 1}, header
        (row,) = rows.find_deliveries(engine, [webhook.id])
        assert least <= (row.next_at - ledger.now()).total_seconds() <= most, header


def test_an_unforeseen_error_is_one_try_and_its_values_are_in_no_log(
    ledger: Ledger, engine: sa.Engine, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    values = {"name": "Anna Meyer"}

    def resolve(host: str, port: int) -> list[str]:
        raise sqlite3.IntegrityError(f"invalid value: {values['name']}")

    webhook, _ = make()
    completed(ledger)
    assert dict(deliver_due(engine, settings_of(), resolve=resolve)) == {"postponed": 1}
    (row,) = rows.find_deliveries(engine, [webhook.id])
    assert (row.tries, row.error_message) == (1, "It could not be sent: IntegrityError.")
    assert "IntegrityError" in caplog.text
    assert "Anna" not in caplog.text


def test_410_switches_a_webhook_off(ledger: Ledger, engine: sa.Engine, receiver: Receiver, make: Any) -> None:
    webhook, _ = make()
    other, _ = make(scope="a")
    receiver.answer = lambda post: (410, {})
    completed(ledger, scope="b")
    assert send(engine) == {"failed": 1}
    after = get_webhook(engine, webhook.id)
    assert (after.active, after.problem) == (False, "The receiver answered 410 Gone, so it was switched off.")
    assert get_webhook(engine, other.id).active
    receiver.answer = lambda post: (200, {})
    mine = completed(ledger)
    assert send(engine) == {"delivered": 1}
    assert received(receiver)[1:] == [("export.completed", mine.id)]


def test_deliveries_of_a_revoked_webhook_are_skipped(
    ledger: Ledger,
    engine: sa.Engine,
    receiver: Receiver,
    make: Any,
) -> None:
    webhook, _ = make()
    completed(ledger)
    revoke_webhook(engine, webhook.id)
    assert send(engine) == {"skipped": 1}
    assert receiver.posts == []


def test_senders_at_once_deliver_each_once(
    ledger: Ledger,
    engine: sa.Engine,
    receiver: Receiver,
    make: Any,
) -> None:
    make(scope="a")
    make(scope="b")
    for number in range(20):
        completed(ledger, scope="ab"[number % 2])
    together = threading.Barrier(3)

    def work(_: int) -> int:
        together.wait()
        return send(engine).get("delivered", 0)

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(work, range(3))) == 20
    assert len({post.headers["webhook-id"] for post in receiver.posts}) == len(receiver.posts) == 20


@pytest.mark.slow
def test_a_slow_receiver_delays_no_other(
    ledger: Ledger,
    engine: sa.Engine,
    receiver: Receiver,
    make: Any,
) -> None:
    make(scope="slow")
    make(scope="quick")
    go_on = threading.Event()

    def answer(post: Post) -> tuple[int, dict[str, str]]:
        if b'"slow"' in post.body:
            assert go_on.wait(240)
        elif sum(b'"quick"' in one.body for one in receiver.posts) == 12:
            go_on.set()
        return 204, {}

    receiver.answer = answer
    for number in range(24):
        completed(ledger, scope="slow" if number < 12 else "quick")
    assert send(engine) == {"delivered": 24}


def test_another_sender_sends_the_deliveries_of_a_dead_one(
    database: Database,
    ledger: Ledger,
    engine: sa.Engine,
    receiver: Receiver,
    make: Any,
) -> None:
    make()
    completed(ledger)
    claimed = rows.claim(engine)
    assert claimed is not None
    assert send(engine) == {}
    database.age("claimed_at", 121, table="export_webhook_deliveries")
    assert send(engine) == {"delivered": 1}
    assert rows.put_back(engine, claimed[0], "too late")  # changes nothing
    assert [row.status for row in rows.find_deliveries(engine, [claimed[1].id])] == ["delivered"]


def test_a_test_is_sent_at_once_and_once(
    engine: sa.Engine, receiver: Receiver, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export_pipeline.delivery.webhooks.addresses.socket.getaddrinfo",
                        lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", 0))])  # fmt: skip
    webhook, secret = make()
    assert send_test(engine, settings_of(), webhook).status == "delivered"
    assert signed_by(receiver.posts[0], secret)
    assert received(receiver) == [("export.test", None)]
    receiver.answer = lambda post: (500, {})
    failed = send_test(engine, settings_of(), webhook)
    assert (failed.status, failed.http_status) == ("failed", 500)
    assert send(engine) == {}


_SENDER = """
import sys
from export_pipeline.delivery.webhooks.send import deliver_due
from export_pipeline.jobs.database import open_engine
from export_pipeline_tests.delivery.webhook_calls import local, settings_of
engine = open_engine(sys.argv[1])
print("ready", flush=True)
deliver_due(engine, settings_of(), resolve=local)
"""


@pytest.mark.slow
def test_killed_senders_lose_no_delivery_and_mark_what_comes_twice(
    postgres_database: Database, receiver: Receiver
) -> None:
    """kill -9 while deliveries are on their way: each is told, and a repeated one has the same id and body."""
    engine = open_engine(postgres_database.url)
    with Ledger(postgres_database.url) as ledger:
        for _ in range(3):
            create_webhook(engine, settings_of(), receiver.url)
        jobs = [completed(ledger) for _ in range(10)]
    for kill in range(1, 4):
        begun, killed = threading.Event(), threading.Event()

        def answer(
            post: Post,
            begun: threading.Event = begun,
            killed: threading.Event = killed,
            least: int = 6 * kill,
        ) -> tuple[int, dict[str, str]]:
            if len(receiver.posts) >= least:
                begun.set()
                assert killed.wait(240)
            return 204, {}

        receiver.answer = answer
        sender = subprocess.Popen(
            [sys.executable, "-c", _SENDER, postgres_database.url], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert begun.wait(240)
        sender.kill()
        sender.wait()
        killed.set()
        postgres_database.age("claimed_at", 121, table="export_webhook_deliveries")
    lost = postgres_database.run("SELECT count(*) FROM export_webhook_deliveries WHERE status = 'claimed'")
    assert lost[0][0] > 0
    receiver.answer = lambda post: (204, {})
    send(engine)
    engine.dispose()
    statuses = "SELECT status, count(*) FROM export_webhook_deliveries GROUP BY status"
    assert postgres_database.run(statuses) == [("delivered", 30)]
    bodies = {post.headers["webhook-id"]: post.body for post in receiver.posts}
    assert all(bodies[post.headers["webhook-id"]] == post.body for post in receiver.posts)
    told_of = [json.loads(body)["data"]["id"] for body in bodies.values()]
    assert sorted(told_of) == sorted(job.id for job in jobs for _ in range(3))
