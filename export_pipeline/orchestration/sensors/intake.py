"""Take requests from the queue of EXPORT_QUEUE_URL."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from export_pipeline.intake.sqs import VISIBILITY_SECONDS, take_in
from export_pipeline.orchestration.cadences import Schedulable
from export_pipeline.orchestration.sensors.maintenance import GOES_ON, maintenance_sensor
from export_pipeline.orchestration.sensors.tick_deadline import LongWork
from export_pipeline.settings import load_settings

_receipts = LongWork(VISIBILITY_SECONDS)


def intake_sensor(datasets: Mapping[str, Schedulable]) -> dg.SensorDefinition:
    """Build the sensor that takes requests from the queue of EXPORT_QUEUE_URL."""

    def take(context: dg.SensorEvaluationContext, until: float) -> str:
        ledger = context.resources.ledger.open()

        def receive() -> str:
            counts = take_in(ledger, datasets, load_settings(), until)
            parts = [f"{count} {result}" for result, count in sorted(counts.items())]
            return f"Messages: {', '.join(parts)}." if parts else "The queue is empty."

        return _receipts.run(receive, until) or GOES_ON

    return maintenance_sensor(
        "intake_sensor", 5, "Takes the requests of the queue of EXPORT_QUEUE_URL.", take
    )
