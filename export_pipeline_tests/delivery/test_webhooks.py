"""Webhooks are told once of each export's end, signed, tried again, and never of another scope's."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import sqlalchemy as sa
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from export_pipeline.delivery.webhooks import queue as rows
from export_pipeline.delivery.webhooks.endpoints import (
    UnknownWebhookError,
    Webhook,
    WebhookKeyError,
    create_webhook,
    find_webhooks,
    get_webhook,
    revoke_webhook,
    rotate_secret,
)
from export_pipeline.delivery.webhooks.send import deliver_due, send_test
from export_pipeline.jobs import Attempt, File, Job, Ledger, LedgerError, Viewer
from export_pipeline.jobs.database import open_engine
from export_pipeline.settings import Settings
from export_pipeline_tests.delivery.webhook_receiver import Post, Receiver, webhook_receiver
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.paths import ROOT

KEY = "a key that is made up for these tests only"


def settings_of(**changed: Any) -> Settings:
    allowed = {"webhook_key": KEY, "webhook_networks": "127.0.0.0/8,::1/128", "webhook_http": True}
    return Settings.model_validate({**allowed, **changed})


def local(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr("export_pipeline.delivery.webhooks.endpoints.checked_addresses", lambda *_: None)
    with webhook_receiver() as receiver:
        yield receiver


@pytest.fixture
def make(engine: sa.Engine, receiver: Receiver) -> Any:
    def make(**asked: Any) -> tuple[Webhook, str]:
        return create_webhook(engine, settings_of(), receiver.url, **asked)

    return make


def send(engine: sa.Engine, **changed: Any) -> dict[str, int]:
    return dict(deliver_due(engine, settings_of(**changed), resolve=local))


def completed(ledger: Ledger, scope: str | None = "a", dataset: str = "takeoff", **asked: Any) -> Job:
    job = ledger.request(dataset, "csv", scope=scope, **asked)
    run = Attempt(job.id, 1, "r")
    ledger.started(run)
    return ledger.completed(
        run, File(f"exports/a/{job.id}.csv", "a.csv", 1, 7, "5a", 9, ["Odd."], {"cut": {"Name": 2}})
    )


def received(receiver: Receiver) -> list[tuple[str, str | None]]:
    bodies = [json.loads(post.body) for post in receiver.posts]
    return [(body["type"], body["data"].get("id")) for body in bodies]


def signed_by(post: Post, secret: str) -> bool:
    try:
        Verifier(secret).verify(post.body, post.headers)
    except WebhookVerificationError:
        return False
    return True


def test_each_end_is_one_delivery_with_a_thin_signed_body(
    ledger: Ledger,
    engine: sa.Engine,
    receiver: Receiver,
    make: Any,
) -> None:
    _, secret = make()
    done, lost, given_up = completed(ledger), ledger.request("t", "csv"), ledger.request("t", "csv")
    ledger.failed(lost.current, "export_failed", "secret details")
    ledger.canceled(given_up.id)
    ledger.delete(done.id, lambda key: None)
    assert send(engine) == {"delivered": 4}
    assert send(engine) == {}
    assert sorted(received(receiver)) == sorted(
        [("export.completed", done.id), ("export.failed", lost.id), ("export.canceled", given_up.id),
         ("export.expired", done.id)]
    )  # fmt: skip
    first = next(post for post in receiver.posts if b"export.completed" in post.body)
    body = json.loads(first.body)
    assert body["data"] == {
        "id": done.id, "dataset": "takeoff", "scope": "a", "format": "csv", "status": "completed", "rows": 7,
        "total_rows": 9, "sha256": "5a",
    }  # fmt: skip
    assert abs(datetime.fromisoformat(body["timestamp"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert not any(b"secret details" in post.body for post in receiver.posts)
    assert all(signed_by(post, secret) for post in receiver.posts)
    # By the words of the specification, without the library.
    key = base64.b64decode(secret.removeprefix("whsec_"))
    whole = f"{first.headers['webhook-id']}.{first.headers['webhook-timestamp']}.".encode() + first.body
    expected = base64.b64encode(hmac.digest(key, whole, "sha256")).decode()
    assert first.headers["webhook-signature"] == f"v1,{expected}"
    assert len({post.headers["webhook-id"] for post in receiver.posts}) == 4
    assert first.headers["content-type"] == "application/json"
    assert first.headers["host"] == receiver.url.split("/")[2]
    assert len(key) == 32


def test_a_webhook_hears_of_its_scope_dataset_and_events_only(
    ledger: Ledger,
    engine: sa.Engine,
    receiver: Receiver,
    make: Any,
) -> None:
    make(scope="a", dataset="takeoff", events=["export.completed"])
    mine = completed(ledger)
    completed(ledger, scope="b")
    completed(ledger, scope=None)
    completed(ledger, dataset="records")
    ledger.canceled(ledger.request("takeoff", "csv", scope="a").id)
    assert send(engine) == {"delivered": 1}
    assert received(receiver) == [("export.completed", mine.id)]


def test_a_webhook_may_hear_only_of_exports_that_name_it(
    database: Database,
    ledger: Ledger,
    engine: sa.Engine,
    receiver: Receiver,
    make: Any,
) -> None:
    webhook, _ = make(scope="a", named_only=True)
    completed(ledger)
    named = completed(ledger, webhook_id=webhook.id)
    assert send(engine) == {"delivered": 1}
    assert received(receiver) == [("export.completed", named.id)]
    insert = "INSERT INTO export_jobs (dataset, format, scope, webhook_id) VALUES ('takeoff', 'csv', ?, ?)"
    for scope, webhook_id in [("b", webhook.id), (None, webhook.id), ("a", str(uuid.uuid4()))]:
        with pytest.raises(database.error, match="there is no active webhook of this id for this scope"):
            database.run(insert, scope, webhook_id)
    revoke_webhook(engine, webhook.id)
    with pytest.raises(LedgerError, match="there is no active webhook"):
        ledger.request("takeoff", "csv", scope="a", webhook_id=webhook.id)


def test_an_end_that_is_rolled_back_is_not_delivered(
    database: Database,
    ledger: Ledger,
    engine: sa.Engine,
    receiver: Receiver,
    make: Any,
) -> None:
    """The delivery is part of the transaction that ends the export."""
    make()
    job_id = database.insert("a")
    database.run("BEGIN")
    database.run("UPDATE export_jobs SET status = 'canceled' WHERE id = ?", job_id)
    assert database.run("SELECT count(*) FROM export_webhook_deliveries") == [(1,)]
    database.run("ROLLBACK")
    assert send(engine) == {}
    assert receiver.posts == []


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


def test_two_secrets_sign_while_one_is_replaced(
    database: Database,
    ledger: Ledger,
    engine: sa.Engine,
    receiver: Receiver,
    make: Any,
) -> None:
    webhook, old = make()
    _, new = rotate_secret(engine, settings_of(), webhook.id)
    completed(ledger)
    send(engine)
    assert signed_by(receiver.posts[0], old)
    assert signed_by(receiver.posts[0], new)
    database.age("previous_until", 25 * 3600, table="export_webhooks")
    completed(ledger)
    send(engine)
    assert not signed_by(receiver.posts[1], old)
    assert signed_by(receiver.posts[1], new)


def test_a_reader_of_the_database_cannot_sign(database: Database, engine: sa.Engine, make: Any) -> None:
    webhook, secret = make()
    _, again = rotate_secret(engine, settings_of(), webhook.id)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    stored = repr(database.run("SELECT * FROM export_webhooks"))
    for known in (secret, again, key.hex(), hashlib.sha256(key).hexdigest()):
        assert known.removeprefix("whsec_") not in stored
    assert secret != again
    with pytest.raises(WebhookKeyError, match="openssl rand"):
        rotate_secret(engine, settings_of(webhook_key=None), webhook.id)
    _, other = create_webhook(engine, settings_of(), "http://receiver.example/")
    assert other not in (secret, again)


def test_without_the_key_nothing_is_lost(
    ledger: Ledger,
    engine: sa.Engine,
    receiver: Receiver,
    make: Any,
) -> None:
    make()
    completed(ledger)
    with pytest.raises(WebhookKeyError, match="EXPORT_WEBHOOK_KEY is not set"):
        send(engine, webhook_key=None)
    assert send(engine) == {"delivered": 1}


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


def test_webhooks_of_others_do_not_exist(engine: sa.Engine, make: Any) -> None:
    mine, _ = make(scope="a", created_by="ann")
    make(scope="b")
    make()
    viewer = Viewer(["a", None])
    assert [webhook.id for webhook in find_webhooks(engine, viewer)] == [mine.id]
    for wrong in (Viewer(["b"]), Viewer(["a"], "bob"), Viewer([])):
        for call in (
            lambda viewer: get_webhook(engine, mine.id, viewer),
            lambda viewer: rotate_secret(engine, settings_of(), mine.id, viewer=viewer),
            lambda viewer: revoke_webhook(engine, mine.id, viewer),
        ):
            with pytest.raises(UnknownWebhookError):
                call(wrong)
    assert get_webhook(engine, mine.id, Viewer(["a"], "ann")).active
    with pytest.raises(UnknownWebhookError):
        get_webhook(engine, "1' OR '1'='1")


def test_unknown_events_are_refused(engine: sa.Engine, make: Any) -> None:
    for events in (["export.started"], []):
        with pytest.raises(LedgerError, match=r"there are export\.completed, export\.failed"):
            make(events=events)


def test_old_deliveries_are_forgotten(
    database: Database,
    ledger: Ledger,
    engine: sa.Engine,
    receiver: Receiver,
    make: Any,
) -> None:
    make()
    completed(ledger)
    send(engine)
    completed(ledger)
    database.age("created_at", 3600, table="export_webhook_deliveries")
    assert rows.forget(engine, timedelta(minutes=30)) == 1
    assert database.run("SELECT status FROM export_webhook_deliveries") == [("pending",)]


_SENDER = """
import sys
from export_pipeline.delivery.webhooks.send import deliver_due
from export_pipeline.jobs.database import open_engine
from export_pipeline_tests.delivery.test_webhooks import local, settings_of
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
