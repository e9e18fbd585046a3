"""Webhooks of a test: their settings, the ends of exports that they hear of, and their posts."""

import json
from typing import Any

import sqlalchemy as sa
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from export_pipeline.delivery.webhooks.send import deliver_due
from export_pipeline.jobs import Attempt, File, Job, Ledger
from export_pipeline.settings import Settings
from export_pipeline_tests.delivery.webhook_receiver import Post, Receiver

KEY = "a key that is made up for these tests only"


def settings_of(**changed: Any) -> Settings:
    allowed = {"webhook_key": KEY, "webhook_networks": "127.0.0.0/8,::1/128", "webhook_http": True}
    return Settings.model_validate({**allowed, **changed})


def local(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


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
