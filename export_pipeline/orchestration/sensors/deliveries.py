"""Send mails and webhooks."""

from __future__ import annotations

from dataclasses import asdict

import dagster as dg

from export_pipeline.delivery.queue import LEASE
from export_pipeline.delivery.send import deliver_due
from export_pipeline.delivery.webhooks.send import deliver_due as deliver_webhooks
from export_pipeline.jobs.database import opened_engine
from export_pipeline.orchestration.sensors.maintenance import GOES_ON, MAX_PER_TICK, maintenance_sensor
from export_pipeline.orchestration.sensors.tick_deadline import LongWork
from export_pipeline.settings import load_settings

_mails = LongWork(LEASE.total_seconds())
_webhooks = LongWork(LEASE.total_seconds())


def _send_mail(context: dg.SensorEvaluationContext, until: float) -> str:
    url, store = context.resources.ledger.url, context.resources.store.open()

    def send() -> str:
        with opened_engine(url) as engine:
            counts = deliver_due(engine, store, load_settings(), MAX_PER_TICK, until)
        parts = [f"{value} {name}" for name, value in asdict(counts).items() if value]
        return f"Mail: {', '.join(parts)}." if parts else "No mail is due."

    return _mails.run(send, until) or GOES_ON


def _send_webhooks(context: dg.SensorEvaluationContext, until: float) -> str:
    url = context.resources.ledger.url

    def send() -> str:
        with opened_engine(url) as engine:
            counts = deliver_webhooks(engine, load_settings(), until)
        parts = [f"{count} {result}" for result, count in sorted(counts.items())]
        return f"Webhooks: {', '.join(parts)}." if parts else "No webhook is due."

    return _webhooks.run(send, until) or GOES_ON


delivery_sensor = maintenance_sensor(
    "delivery_sensor",
    5,
    "Sends mails: files to the recipients of completed jobs, notices of failure to the requester.",
    _send_mail,
)

webhooks_sensor = maintenance_sensor(
    "webhooks_sensor",
    5,
    "Tells webhooks that exports have ended.",
    _send_webhooks,
)
