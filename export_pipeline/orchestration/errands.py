"""What the daemon does beside exports: asks for what schedules want, sends mail, removes what has expired."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg

from export_pipeline.jobs import LedgerError
from export_pipeline.jobs.database import open_engine
from export_pipeline.jobs.scheduled import claim_due
from export_pipeline.store import StoreError

_MOST = 100


def errand(
    name: str, seconds: int, description: str, run: Callable[[dg.SensorEvaluationContext], str]
) -> dg.SensorDefinition:
    """A sensor that does something itself and says what; it starts no run. What fails is tried again."""

    @dg.sensor(
        name=name,
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"ledger", "store"},
        description=description,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        try:
            return dg.SkipReason(run(context))
        except (LedgerError, StoreError) as error:
            return dg.SkipReason(str(error))

    return sensor


def _ask_for_scheduled(context: dg.SensorEvaluationContext) -> str:
    engine = open_engine(context.resources.ledger.url)
    try:
        asked = claim_due(engine, datetime.now(UTC), _MOST)
    finally:
        engine.dispose()
    return f"{len(asked)} exports were due and are asked for." if asked else "No schedule is due."


schedules_sensor = errand(
    "schedules_sensor",
    10,
    "Asks for the exports that rows of scheduled_exports want.",
    _ask_for_scheduled,
)
