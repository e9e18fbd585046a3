"""Send mails and webhooks."""

from __future__ import annotations

from dataclasses import asdict

import dagster as dg

from export_pipeline.delivery.queue import LEASE
from export_pipeline.delivery.send import deliver_due
from export_pipeline.delivery.webhooks.send import deliver_due as deliver_webhooks
from export_pipeline.jobs.database import opened_engine
from export_pipeline.orchestration.sensors.maintenance import MAX_PER_TICK, maintenance_sensor
from export_pipeline.settings import load_settings


def _send_mail(context: dg.SensorEvaluationContext, until: float) -> str:
    url, store = context.resources.ledger.url, context.resources.store.open()
    with opened_engine(url) as engine:
        counts = deliver_due(engine, store, load_settings(), MAX_PER_TICK, until)
    parts = [f"{value} {name}" for name, value in asdict(counts).items() if value]
    return f"Mail: {', '.join(parts)}." if parts else "No mail is due."


def _send_webhooks(context: dg.SensorEvaluationContext, until: float) -> str:
    with opened_engine(context.resources.ledger.url) as engine:
        counts = deliver_webhooks(engine, load_settings(), until)
    parts = [f"{count} {result}" for result, count in sorted(counts.items())]
    return f"Webhooks: {', '.join(parts)}." if parts else "No webhook is due."


delivery_sensor = maintenance_sensor(
    "delivery_sensor",
    5,
    "Sends mails: files to the recipients of completed jobs, notices of failure to the requester.",
    _send_mail,
    abandoned_after=LEASE.total_seconds(),
)

webhooks_sensor = maintenance_sensor(
    "webhooks_sensor",
    5,
    "Sends the events of exports to webhooks.",
    _send_webhooks,
    abandoned_after=LEASE.total_seconds(),
)
