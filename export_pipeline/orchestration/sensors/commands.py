"""Run the commands that applications insert into export_commands."""

from __future__ import annotations

import dagster as dg

from export_pipeline.delivery.queue import LEASE
from export_pipeline.jobs.commands import Commands
from export_pipeline.jobs.store_claim import delete_own
from export_pipeline.orchestration.sensors.maintenance import MAX_PER_TICK, maintenance_sensor


def _run_commands(context: dg.SensorEvaluationContext, until: float) -> str:
    ledger, store = context.resources.ledger.open(), context.resources.store

    def remove(key: str) -> None:
        delete_own(ledger, store.open(), key)

    answered = Commands.sharing(ledger).run_pending(remove, MAX_PER_TICK, until)
    return f"{answered} commands are answered." if answered else "There is no command."


commands_sensor = maintenance_sensor(
    "commands_sensor",
    5,
    "Cancels, retries and deletes the exports that rows of export_commands name.",
    _run_commands,
    abandoned_after=LEASE.total_seconds(),
)
