"""Webhooks are told once of each export's end, signed, tried again, and never of another scope's."""

import base64
import hashlib
import hmac
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.delivery.webhooks import queue as rows
from export_pipeline.delivery.webhooks.endpoints import (
    UnknownWebhookError,
    WebhookKeyError,
    create_webhook,
    find_webhooks,
    get_webhook,
    revoke_webhook,
    rotate_secret,
)
from export_pipeline.jobs import Ledger, LedgerError, Viewer
from export_pipeline_tests.delivery.webhook_calls import (
    completed,
    received,
    send,
    settings_of,
    signed_by,
)
from export_pipeline_tests.delivery.webhook_receiver import Receiver
from export_pipeline_tests.jobs.database import Database


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
