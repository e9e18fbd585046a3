"""Request the exports of schedules that are due."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import dagster as dg

from export_pipeline.datasets.schedules import known_recipients, known_scopes, schedule_check
from export_pipeline.jobs.database import opened_engine
from export_pipeline.orchestration.cadences import Schedulable
from export_pipeline.orchestration.scheduled_exports import show_schedules
from export_pipeline.orchestration.sensors.maintenance import MAX_PER_TICK, maintenance_sensor
from export_pipeline.orchestration.window_requests import repeat_lost_requests
from export_pipeline.schedules.due_requests import claim_due, datasets_due
from export_pipeline.settings import load_settings


def schedules_sensor(datasets: Mapping[str, Schedulable]) -> dg.SensorDefinition:
    """Build the sensor that requests the exports of due schedules, and deactivates invalid schedules."""

    def ask(context: dg.SensorEvaluationContext, until: float) -> str:
        now = datetime.now(UTC)
        with opened_engine(context.resources.ledger.url) as engine:
            # Before the ledger is locked, as the source may be slow.
            scopes = known_scopes(context.resources.source, datasets, datasets_due(engine, now), until)
            recipients, unreadable = known_recipients(
                context.resources.source, datasets, datasets_due(engine, now, each_scope=True), until
            )
            check = schedule_check(datasets, scopes, unreadable)
            requested = len(claim_due(engine, now, MAX_PER_TICK, check, until, recipients))
            requested += repeat_lost_requests(context.instance, context.resources.ledger.url, datasets, until)
            ui_url = load_settings().ui_url
            if (
                cursor := show_schedules(context.instance, engine, context.cursor, ui_url=ui_url)
            ) is not None:
                context.update_cursor(cursor)
        return f"{requested} exports were due and are requested." if requested else "No schedule is due."

    return maintenance_sensor(
        "schedules_sensor", 10, "Requests the exports of scheduled_exports that are due.", ask
    )
