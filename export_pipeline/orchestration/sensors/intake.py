"""Receive requests from the queue of EXPORT_QUEUE_URL."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from export_pipeline.intake.sqs import VISIBILITY_SECONDS, receive_requests
from export_pipeline.orchestration.cadences import Schedulable
from export_pipeline.orchestration.sensors.maintenance import maintenance_sensor
from export_pipeline.settings import load_settings


def intake_sensor(datasets: Mapping[str, Schedulable]) -> dg.SensorDefinition:
    """Build the sensor that receives requests from the queue of EXPORT_QUEUE_URL."""

    def receive(context: dg.SensorEvaluationContext, until: float) -> str:
        counts = receive_requests(context.resources.ledger.open(), datasets, load_settings(), until)
        parts = [f"{count} {result}" for result, count in sorted(counts.items())]
        return f"Messages: {', '.join(parts)}." if parts else "The queue is empty."

    return maintenance_sensor(
        "intake_sensor",
        5,
        "Receives requests from the queue of EXPORT_QUEUE_URL.",
        receive,
        abandoned_after=VISIBILITY_SECONDS,
    )
