"""Builder of maintenance sensors: they work in the tick, with a deadline, and start no run."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg

from export_pipeline.delivery.send import MailSettingsError
from export_pipeline.delivery.webhooks.endpoints import WebhookKeyError
from export_pipeline.intake.sqs import QueueError
from export_pipeline.jobs import LedgerError
from export_pipeline.orchestration.dagster_compat.ticks import NOT_PREVIEWED, is_preview
from export_pipeline.orchestration.sensors.tick_deadline import LongWork, tick_deadline
from export_pipeline.redaction import redacted_errors
from export_pipeline.store import StoreError

MAX_PER_TICK = 100
"""Number of items that a tick begins at most."""

STILL_RUNNING = "Not done yet, as something takes long: it goes on, and the next tick waits for it."


def maintenance_sensor(
    name: str,
    seconds: int,
    description: str,
    run: Callable[[dg.SensorEvaluationContext, float], str],
    *,
    abandoned_after: float | None = None,
) -> dg.SensorDefinition:
    """Build a sensor that does its work in the tick and reports it. It starts no run and retries what failed.

    Args:
        run: The work, called with its deadline on the clock of `time.monotonic`. The next tick does the rest.
        abandoned_after: Lets the work outlast a tick, as an item may be slow: see `LongWork`. Such work takes
            what it needs from the context before its first item.
    """
    long_work = None if abandoned_after is None else LongWork(abandoned_after)

    @dg.sensor(
        name=name,
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"ledger", "store", "source"},
        description=description,
    )
    @redacted_errors()
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        if is_preview(context):
            return dg.SkipReason(NOT_PREVIEWED)
        try:
            until = tick_deadline()
            if long_work is None:
                return dg.SkipReason(run(context, until))
            return dg.SkipReason(long_work.run(lambda: run(context, until), until) or STILL_RUNNING)
        except (LedgerError, StoreError, MailSettingsError, QueueError, WebhookKeyError) as error:
            return dg.SkipReason(str(error))

    return sensor
