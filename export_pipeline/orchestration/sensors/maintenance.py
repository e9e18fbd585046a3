"""Maintenance by the daemon: request what schedules are due, send mail, remove expired files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import dagster as dg

from export_pipeline.datasets.schedules import known_recipients, known_scopes, schedule_check
from export_pipeline.delivery.queue import LEASE
from export_pipeline.delivery.send import MailSettingsError, deliver_due
from export_pipeline.delivery.webhooks.endpoints import WebhookKeyError
from export_pipeline.delivery.webhooks.send import deliver_due as deliver_webhooks
from export_pipeline.intake.queue import VISIBILITY_SECONDS, QueueError, take_in
from export_pipeline.jobs import LedgerError
from export_pipeline.jobs.commands import Commands
from export_pipeline.jobs.database import opened_engine
from export_pipeline.jobs.purge import purge
from export_pipeline.jobs.store_claim import StoreClaim, delete_own
from export_pipeline.orchestration.cadences import Schedulable
from export_pipeline.orchestration.dagster_compat.ticks import NOT_PREVIEWED, is_preview
from export_pipeline.orchestration.io_managers import StagingIOManager
from export_pipeline.orchestration.runs.staging_cleanup import clean_staging
from export_pipeline.orchestration.scheduled_exports import show_schedules
from export_pipeline.orchestration.sensors.materializations import report_materializations
from export_pipeline.orchestration.sensors.removals import forget_removed
from export_pipeline.orchestration.sensors.tick_deadline import LongWork, tick_deadline
from export_pipeline.orchestration.window_requests import repeat_lost_requests
from export_pipeline.redaction import redacted_errors
from export_pipeline.schedules.due_requests import claim_due, datasets_due
from export_pipeline.settings import load_settings
from export_pipeline.store import StoreError

_MAX_PER_TICK = 100


def maintenance_sensor(
    name: str, seconds: int, description: str, run: Callable[[dg.SensorEvaluationContext, float], str]
) -> dg.SensorDefinition:
    """Build a sensor that does its work in the tick and reports it. It starts no run and retries what failed.

    Args:
        run: The work, called with its deadline on the clock of `time.monotonic`. The next tick does the rest.
    """

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
            return dg.SkipReason(run(context, tick_deadline()))
        except (LedgerError, StoreError, MailSettingsError, QueueError, WebhookKeyError) as error:
            return dg.SkipReason(str(error))

    return sensor


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
            requested = len(claim_due(engine, now, _MAX_PER_TICK, check, until, recipients))
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


_commands = LongWork(LEASE.total_seconds())
_mails = LongWork(LEASE.total_seconds())
_webhooks = LongWork(LEASE.total_seconds())
_removals = LongWork(LEASE.total_seconds())
_reports = LongWork(LEASE.total_seconds())
_receipts = LongWork(VISIBILITY_SECONDS)
_GOES_ON = "Not done yet, as something takes long: it goes on, and the next tick waits for it."


def _run_commands(context: dg.SensorEvaluationContext, until: float) -> str:
    ledger, store = context.resources.ledger.open(), context.resources.store

    def remove(key: str) -> None:
        delete_own(ledger, store.open(), key)

    def run() -> str:
        answered = Commands.sharing(ledger).run_pending(remove, _MAX_PER_TICK, until)
        return f"{answered} commands are answered." if answered else "There is no command."

    return _commands.run(run, until) or _GOES_ON


def intake_sensor(datasets: Mapping[str, Schedulable]) -> dg.SensorDefinition:
    """Build the sensor that takes requests from the queue of EXPORT_QUEUE_URL."""

    def take(context: dg.SensorEvaluationContext, until: float) -> str:
        ledger = context.resources.ledger.open()

        def receive() -> str:
            counts = take_in(ledger, datasets, load_settings(), until)
            parts = [f"{count} {result}" for result, count in sorted(counts.items())]
            return f"Messages: {', '.join(parts)}." if parts else "The queue is empty."

        return _receipts.run(receive, until) or _GOES_ON

    return maintenance_sensor(
        "intake_sensor", 5, "Takes the requests of the queue of EXPORT_QUEUE_URL.", take
    )


def _send_mail(context: dg.SensorEvaluationContext, until: float) -> str:
    url, store = context.resources.ledger.url, context.resources.store.open()

    def send() -> str:
        with opened_engine(url) as engine:
            counts = deliver_due(engine, store, load_settings(), _MAX_PER_TICK, until)
        parts = [f"{value} {name}" for name, value in asdict(counts).items() if value]
        return f"Mail: {', '.join(parts)}." if parts else "No mail is due."

    return _mails.run(send, until) or _GOES_ON


def _send_webhooks(context: dg.SensorEvaluationContext, until: float) -> str:
    url = context.resources.ledger.url

    def send() -> str:
        with opened_engine(url) as engine:
            counts = deliver_webhooks(engine, load_settings(), until)
        parts = [f"{count} {result}" for result, count in sorted(counts.items())]
        return f"Webhooks: {', '.join(parts)}." if parts else "No webhook is due."

    return _webhooks.run(send, until) or _GOES_ON


def _purge(context: dg.SensorEvaluationContext, until: float) -> str:
    ledger, store = context.resources.ledger.open(), context.resources.store.open()
    kept = timedelta(days=context.resources.ledger.retention_days)
    instance = context.instance

    def remove() -> str:
        StoreClaim.sharing(ledger).claim(store)
        # Only the files of expired jobs; `export-pipeline purge` scans the whole store.
        purged = purge(ledger, store, retention=kept, scan=False, who="purge_sensor", until=until)
        forget_removed(ledger, store, instance, until)
        more = "" if purged.ended else " The next tick goes on."
        return f"{purged.removed} files were due and are removed.{more}"

    return _removals.run(remove, until) or _GOES_ON


def _report_materializations(context: dg.SensorEvaluationContext, until: float) -> str:
    resource, instance = context.resources.ledger, context.instance

    def report() -> str:
        url = load_settings().api_url
        reported = report_materializations(resource.open(), resource.url, url, instance, until)
        return f"{reported} files of the HTTP service are reported." if reported else "There is no new file."

    return _reports.run(report, until) or _GOES_ON


commands_sensor = maintenance_sensor(
    "commands_sensor",
    5,
    "Cancels, retries and deletes the exports that rows of export_commands name.",
    _run_commands,
)

materializations_sensor = maintenance_sensor(
    "materializations_sensor",
    10,
    "Reports the files that the HTTP service has made at once, without a run.",
    _report_materializations,
)

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

purge_sensor = maintenance_sensor(
    "purge_sensor",
    600,
    "Removes files that have expired, and marks their jobs as expired.",
    _purge,
)


@dg.sensor(
    name="housekeeping_sensor",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    required_resource_keys={"staging"},
    description="Removes staged data that no re-execution needs.",
)
@redacted_errors()
def housekeeping_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Clean up, and report the result in the tick."""
    if is_preview(context):
        return dg.SkipReason(NOT_PREVIEWED)
    until = tick_deadline()
    staging: StagingIOManager = context.resources.staging
    removed = clean_staging(context.instance, staging.folder, staging.ledger.open, until=until)
    freed = f"{len(removed)} leftovers with {sum(removed.values()):,} bytes removed from staging"
    if staging.shared is not None:
        freed += f", and {staging.shared.clean(context.instance, until):,} files in S3"
    return dg.SkipReason(f"{freed}.")
