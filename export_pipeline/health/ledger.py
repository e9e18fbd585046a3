"""Checks of the ledger, and of the requests, mails and schedules that it records."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from export_pipeline.delivery.enqueue import BACKLOG, waiting_jobs
from export_pipeline.health.disks import worker_disk_findings
from export_pipeline.health.findings import Finding, FindingCode
from export_pipeline.jobs import LedgerError, LedgerUnavailableError
from export_pipeline.jobs.database import opened_engine
from export_pipeline.jobs.errors import REQUESTER_ERRORS
from export_pipeline.jobs.migrate import is_current
from export_pipeline.jobs.states import Status
from export_pipeline.jobs.stats import Late, Statistics
from export_pipeline.settings import Settings

_OVERDUE = timedelta(days=1)
_FAILING = timedelta(hours=1)
_FEW = 3


def ledger_findings(settings: Settings, late: timedelta) -> Iterator[Finding]:
    """Find problems of the ledger's database, and problems that the ledger records."""
    try:
        if not is_current(settings.jobs_url):
            yield Finding(
                "ledger_not_migrated",
                "The tables of requests are missing or of another version.",
                "Run `export-pipeline migrate`.",
            )
            return
        with Statistics(settings.jobs_url) as statistics:
            yield from _late_findings(statistics, settings, late)
            yield from _failing(statistics)
            yield from _unserved(settings)
            yield from _mail_links(settings)
            yield from worker_disk_findings(statistics, settings)
            for schedule_id, problem in statistics.broken_schedules():
                yield Finding(
                    "schedule_broken",
                    f"Schedule {schedule_id} was set inactive: {problem}",
                    f"Correct it, by `export-pipeline schedules change {schedule_id} …` or in its row; then "
                    "it goes on by itself.",
                )
    except LedgerUnavailableError as error:
        yield Finding("ledger_unreachable", str(error), "Start the database or correct EXPORT_JOBS_URL.")
    except LedgerError as error:
        yield Finding("ledger_unusable", str(error), "Correct EXPORT_JOBS_URL, or its user's rights.")


def _late_findings(statistics: Statistics, settings: Settings, late: timedelta) -> Iterator[Finding]:
    minutes = f"{late.total_seconds() / 60:.0f} minutes"
    in_flight = sum(one.in_flight for one in statistics.queue())
    full = in_flight >= settings.max_in_flight
    busy = (
        f"{in_flight} are in flight, as many as EXPORT_MAX_IN_FLIGHT allows: look at what they do, or "
        "raise it."
    )
    idle = "See whether the daemon runs and requests_sensor is on; `export-pipeline show ID` tells more."
    overdue_rows: list[tuple[FindingCode, Late | None, str, str]] = [
        (
            "jobs_waiting",
            statistics.waiting(late),
            "requests have waited for more than",
            busy if full else idle,
        ),
        (
            "jobs_stuck",
            statistics.working(late),
            "requests have been worked on for more than",
            "`export-pipeline show ID` tells the step and links to the run; `cancel ID`, then `retry ID`.",
        ),
        (
            "mails_late",
            statistics.unsent(late),
            "mails have not been sent for more than",
            "See whether delivery_sensor is on and the mail server answers; `export-pipeline show ID` says.",
        ),
        (
            "webhooks_late",
            statistics.webhooks_late(late),
            "deliveries to webhooks have not been tried for more than",
            "See whether webhooks_sensor is on and EXPORT_WEBHOOK_KEY is set.",
        ),
        (
            "commands_late",
            statistics.commands_late(late),
            "commands have waited for more than",
            "See whether commands_sensor is on; the answer in export_commands tells more.",
        ),
        (
            "materializations_late",
            statistics.unreported(late),
            "files have been unknown to Dagster for more than",
            "See whether the daemon runs and materializations_sensor is on.",
        ),
        (
            "schedules_late",
            statistics.unscheduled(late),
            "schedules are due for more than",
            "See whether the daemon runs and schedules_sensor is on.",
        ),
    ]
    for code, lateness, wrong, do in overdue_rows:
        if lateness is not None:
            yield _late(code, lateness, f"{wrong} {minutes}", do)
    if (unsure := statistics.unsure()) is not None:
        do = "`export-pipeline show ID` names the recipients; `resend ID` may give them a copy."
        yield _late("mails_unsure", unsure, "mails may or may not have arrived", do)
    if (failed := statistics.unsent_for_good(_OVERDUE)) is not None:
        do = "`export-pipeline show ID` tells why; when that is fixed, `resend ID`."
        yield _late("mails_failed", failed, "mails of the last day could not be sent", do)
    if (untold := statistics.webhooks_failed(_OVERDUE)) is not None:
        do = "`export-pipeline webhooks deliveries ID --status failed` tells why; or `webhooks revoke ID`."
        yield _late("webhooks_failed", untold, "deliveries to webhooks of the last day failed for good", do)
    if (overdue := statistics.overdue(_OVERDUE)) is not None:
        do = "See whether purge_sensor is on, or run `export-pipeline purge`."
        yield _late("files_overdue", overdue, "files should have been removed a day ago or longer", do)


def _late(code: FindingCode, late: Late, wrong: str, do: str) -> Finding:
    more = ", …" if late.count > len(late.examples) else ""
    return Finding(code, f"{late.count:,} {wrong}: {', '.join(late.examples)}{more}.", do, late.since)


def _failing(statistics: Statistics) -> Iterator[Finding]:
    """Find out if at least half of the last hour's requests failed, not counting invalid requests.

    Up to `_FEW` failures are no finding.
    """
    failures = [(code, n) for code, n in statistics.failures(_FAILING) if code not in REQUESTER_ERRORS]
    failed = sum(count for _, count in failures)
    good = sum(one.count for one in statistics.ended(_FAILING) if one.status is Status.COMPLETED)
    if failed > _FEW and failed >= good:
        codes = ", ".join(f"{code or 'no code'} ({count})" for code, count in failures[:3])
        yield Finding(
            "jobs_failing",
            f"{failed} of {failed + good} valid requests of the last hour failed: {codes}.",
            "`export-pipeline jobs --status failed` lists them with their reasons.",
        )


def _mail_links(settings: Settings) -> Iterator[Finding]:
    """Find out if links in mails work on this machine only."""
    if settings.smtp_url is not None and settings.mail_links_are_local:
        yield Finding(
            "mail_links_local",
            "Links in mails are file:/// addresses, which open nowhere else, as EXPORT_STORE_URL is a "
            "folder and EXPORT_PUBLIC_URL is not set.",
            "Let a web server offer the folder and set EXPORT_PUBLIC_URL to its address.",
        )


def _unserved(settings: Settings) -> Iterator[Finding]:
    """Find requests that ask for mails although no mail server is set."""
    if settings.smtp_url is not None:
        return
    with opened_engine(settings.jobs_url) as engine:
        jobs = waiting_jobs(engine, settings.mail_domains)
    if jobs:
        late = Late(len(jobs), jobs[0].completed_at or jobs[0].created_at, tuple(job.id for job in jobs[:3]))
        days = f"of the last {BACKLOG.days} days"
        wrong = f"requests {days} ask for mails that are not sent, as EXPORT_SMTP_URL is not set"
        do = f"Set it and EXPORT_MAIL_FROM for the daemon, and those {days} are sent."
        yield _late("mails_off", late, wrong, do)
