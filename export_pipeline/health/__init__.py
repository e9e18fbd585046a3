"""Health checks of a deployment: each finding has a problem, its start and a cure."""

from __future__ import annotations

import errno
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from export_pipeline.delivery.enqueue import BACKLOG, waiting_jobs
from export_pipeline.jobs import LedgerError, LedgerUnavailableError
from export_pipeline.jobs.database import open_engine
from export_pipeline.jobs.errors import REQUESTER_ERRORS
from export_pipeline.jobs.leases import Disk
from export_pipeline.jobs.migrate import is_current
from export_pipeline.jobs.states import Status
from export_pipeline.jobs.stats import Late, Statistics
from export_pipeline.redaction import hide_credentials
from export_pipeline.settings import Settings

if TYPE_CHECKING:
    from export_pipeline.datasets.dataset import Dataset
    from export_pipeline.orchestration.daemon_health import DaemonCode

LATE = timedelta(minutes=15)
_OVERDUE = timedelta(days=1)
_LEAST_FREE_BYTES = 1 << 30
_LEAST_FREE_SHARE = 0.05
_FAILING = timedelta(hours=1)
_RECENT = timedelta(minutes=10)
_FEW = 3


FindingCode = Literal[
    "check_failed",
    "commands_late",
    "dataset_unfit",
    "files_overdue",
    "jobs_failing",
    "jobs_stuck",
    "jobs_waiting",
    "ledger_not_migrated",
    "ledger_unreachable",
    "ledger_unusable",
    "mail_links_local",
    "mails_failed",
    "mails_late",
    "mails_off",
    "mails_unsure",
    "materializations_late",
    "partitions_many",
    "queue_unusable",
    "queue_without_dead_letters",
    "schedule_broken",
    "schedules_late",
    "source_unreachable",
    "staging_full",
    "staging_unusable",
    "store_full",
    "store_limited",
    "store_unreachable",
    "store_unusable",
    "webhooks_failed",
    "webhooks_late",
]
"""Codes of findings about this package's parts; docs/operating.md explains each."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of the deployment.

    Attributes:
        code: Code for programs; docs/operating.md lists them.
        wrong: The problem, in one sentence.
        do: The cure, in one sentence.
        since: Start of the problem, if known (UTC).
        is_advice: True if this is not a problem now, but a limit to know of.
    """

    code: FindingCode | DaemonCode
    wrong: str
    do: str
    since: datetime | None = None
    is_advice: bool = False


_MORE_ROOM = (
    "`export-pipeline purge --dry-run` says what would go now; else give it a larger disk, or keep files for "
    "fewer days (EXPORT_RETENTION_DAYS, retention_days)."
)

Check = Callable[[], Iterator[Finding]]


def examine(settings: Settings, *, late: timedelta = LATE, dagster: bool = True) -> list[Finding]:
    """Run all checks, in parallel where possible, and return their findings; empty if all is well.

    Args:
        late: Time after which a waiting or running request, or an unsent mail, becomes a finding.
        dagster: Also check Dagster (its instance, daemon and sensors) and the datasets declared there.
    """
    checks: list[Check] = [
        lambda: ledger_findings(settings, late),
        lambda: source_findings(settings),
        lambda: store_findings(settings),
        lambda: queue_findings(settings),
    ]
    with ThreadPoolExecutor(len(checks), "health") as pool:
        asked = [pool.submit(_all, check) for check in checks]
        # These run in this thread, not in the pool: Dagster keeps state of its own.
        found = _all(lambda: staging_findings(settings, dagster))
        if dagster:
            found += _all(lambda: dataset_findings(settings)) + _all(_dagster_findings)
        return [finding for answer in asked for finding in answer.result()] + found


def dataset_findings(settings: Settings) -> Iterator[Finding]:
    """Find datasets whose declaration does not fit this source."""
    from export_pipeline.components.catalogue import datasets
    from export_pipeline.datasets.catalogue import DefsError
    from export_pipeline.orchestration.schedules import how_to_fit
    from export_pipeline.project import SAMPLES, own_project
    from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError, open_snapshot

    unfit: dict[str, str] = {}
    with suppress(DefsError, SourceUnavailableError):  # other checks report these
        for name, dataset in datasets().items():
            try:
                # A snapshot for each dataset, as PostgreSQL rejects every statement after an error.
                with open_snapshot(settings.source_url, statement_timeout=10) as snapshot:
                    scopes = dataset.source.scopes(snapshot, dataset.spec)
                yield from _many_partitions(dataset, len(scopes), settings)
            except SourceUnavailableError:
                raise
            except SourceError as error:
                unfit[name] = str(error)
    samples = [] if own_project() else [name for name in unfit if name in SAMPLES]
    if len(samples) > 1:
        yield Finding(
            "dataset_unfit",
            f"The sample datasets {', '.join(samples)} read tables that this database does not have.",
            "Make a project of your own with `export-pipeline init FOLDER`, or delete their folders in "
            "export_pipeline/defs.",
        )
    for name, problem in unfit.items():
        if name not in samples or len(samples) == 1:
            yield Finding("dataset_unfit", f"{name}: {problem}", how_to_fit(name))


def _many_partitions(dataset: Dataset, scopes: int, settings: Settings) -> Iterator[Finding]:
    """Find the cadence of a dataset that has the most partitions, if they are too many."""
    from export_pipeline.schedules.backfill import past_windows

    if not dataset.windows_have_scopes or not settings.max_partitions:
        return
    start, now = date.fromisoformat(dataset.attributes.start), datetime.now(UTC)
    windows = {
        name: len(past_windows(name, rule.timezone or settings.timezone, start, None, None, now))
        for name, rule in dataset.attributes.cadences.named().items()
    }
    cadence = max(windows, key=lambda name: windows[name], default="")
    if cadence and (partitions := scopes * windows[cadence]) > settings.max_partitions:
        yield Finding(
            "partitions_many",
            f"{dataset.dataset}: {scopes:,} scopes times {windows[cadence]:,} {cadence} windows are "
            f"{partitions:,} partitions of an asset, more than EXPORT_MAX_PARTITIONS "
            f"({settings.max_partitions:,}); Dagster's pages and backfills become slow.",
            "Write `partition_windows_by_scope: false` into its defs.yaml and reload; no history is lost.",
            is_advice=True,
        )


def _dagster_findings() -> Iterator[Finding]:
    from export_pipeline.orchestration.daemon_health import findings

    yield from (Finding(*finding) for finding in findings())


def _all(check: Check) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as error:  # a broken check must not hide the findings of the others
        reason = hide_credentials(" ".join(str(error).split()))[:300]
        found.append(
            Finding("check_failed", f"A check broke: {type(error).__name__}: {reason}", "Report this.")
        )
    return found


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
        with Statistics(settings.jobs_url) as figures:
            yield from _late_findings(figures, settings, late)
            yield from _failing(figures)
            yield from _unserved(settings)
            yield from _mail_links(settings)
            yield from _full_workers(figures, settings)
            for schedule_id, problem in figures.broken_schedules():
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


def _late_findings(figures: Statistics, settings: Settings, late: timedelta) -> Iterator[Finding]:
    minutes = f"{late.total_seconds() / 60:.0f} minutes"
    in_flight = sum(one.in_flight for one in figures.queue())
    full = in_flight >= settings.max_in_flight
    busy = (
        f"{in_flight} are in flight, as many as EXPORT_MAX_IN_FLIGHT allows: look at what they do, or "
        "raise it."
    )
    idle = "See whether the daemon runs and requests_sensor is on; `export-pipeline show ID` tells more."
    overdue_rows: list[tuple[FindingCode, Late | None, str, str]] = [
        ("jobs_waiting", figures.waiting(late), "requests have waited for more than", busy if full else idle),
        (
            "jobs_stuck",
            figures.working(late),
            "requests have been worked on for more than",
            "`export-pipeline show ID` tells the step and links to the run; `cancel ID`, then `retry ID`.",
        ),
        (
            "mails_late",
            figures.unsent(late),
            "mails have not been sent for more than",
            "See whether delivery_sensor is on and the mail server answers; `export-pipeline show ID` says.",
        ),
        (
            "webhooks_late",
            figures.webhooks_late(late),
            "deliveries to webhooks have not been tried for more than",
            "See whether webhooks_sensor is on and EXPORT_WEBHOOK_KEY is set.",
        ),
        (
            "commands_late",
            figures.commands_late(late),
            "commands have waited for more than",
            "See whether commands_sensor is on; the answer in export_commands tells more.",
        ),
        (
            "materializations_late",
            figures.unreported(late),
            "files of the HTTP service have been unknown to Dagster for more than",
            "See whether the daemon runs and materializations_sensor is on.",
        ),
        (
            "schedules_late",
            figures.unscheduled(late),
            "schedules are due for more than",
            "See whether the daemon runs and schedules_sensor is on.",
        ),
    ]
    for code, found, wrong, do in overdue_rows:
        if found is not None:
            yield _late(code, found, f"{wrong} {minutes}", do)
    if (unsure := figures.unsure()) is not None:
        do = "`export-pipeline show ID` names the recipients; `resend ID` may give them a copy."
        yield _late("mails_unsure", unsure, "mails may or may not have arrived", do)
    if (failed := figures.unsent_for_good(_OVERDUE)) is not None:
        do = "`export-pipeline show ID` tells why; when that is mended, `resend ID`."
        yield _late("mails_failed", failed, "mails of the last day could not be sent", do)
    if (untold := figures.webhooks_failed(_OVERDUE)) is not None:
        do = "`export-pipeline webhooks deliveries ID --status failed` tells why; or `webhooks revoke ID`."
        yield _late("webhooks_failed", untold, "deliveries to webhooks of the last day failed for good", do)
    if (overdue := figures.overdue(_OVERDUE)) is not None:
        do = "See whether purge_sensor is on, or run `export-pipeline purge`."
        yield _late("files_overdue", overdue, "files should have been removed a day ago or longer", do)


def _late(code: FindingCode, late: Late, wrong: str, do: str) -> Finding:
    more = ", …" if late.count > len(late.examples) else ""
    return Finding(code, f"{late.count:,} {wrong}: {', '.join(late.examples)}{more}.", do, late.since)


def _failing(figures: Statistics) -> Iterator[Finding]:
    """Find out if at least half of the last hour's requests failed, not counting invalid requests.

    Up to `_FEW` failures are no finding.
    """
    failures = [(code, n) for code, n in figures.failures(_FAILING) if code not in REQUESTER_ERRORS]
    failed = sum(count for _, count in failures)
    good = sum(one.count for one in figures.ended(_FAILING) if one.status is Status.COMPLETED)
    if failed > _FEW and failed >= good:
        codes = ", ".join(f"{code or 'no code'} ({count})" for code, count in failures[:3])
        yield Finding(
            "jobs_failing",
            f"{failed} of {failed + good} requests of the last hour failed (wrong ones aside): {codes}.",
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


def _full_workers(figures: Statistics, settings: Settings) -> Iterator[Finding]:
    """Find workers on other machines whose staging disk is nearly full, as their leases have reported it."""
    own = None
    with suppress(OSError):  # `staging_findings` reports that
        own = (socket.gethostname(), shutil.disk_usage(settings.staging_folder).total)
    for worker, (disk, since) in figures.staging_disks(_RECENT).items():
        if worker != own and _is_nearly_full(disk):
            yield Finding(
                "staging_full",
                f"Only {_room_text(disk)} are free on the staging disk of worker {worker[0]}.",
                "Free other space there, or let EXPORT_STAGING_URL name a larger disk. It has removed "
                "what its ended runs have left.",
                since,
            )


def _unserved(settings: Settings) -> Iterator[Finding]:
    """Find requests that ask for mails although no mail server is set."""
    if settings.smtp_url is not None:
        return
    engine = open_engine(settings.jobs_url)
    try:
        jobs = waiting_jobs(engine, settings.mail_domains)
    finally:
        engine.dispose()
    if jobs:
        late = Late(len(jobs), jobs[0].completed_at or jobs[0].created_at, tuple(job.id for job in jobs[:3]))
        days = f"of the last {BACKLOG.days} days"
        wrong = f"requests {days} ask for mails that are not sent, as EXPORT_SMTP_URL is not set"
        do = f"Set it and EXPORT_MAIL_FROM for the daemon, and those {days} are sent."
        yield _late("mails_off", late, wrong, do)


def source_findings(settings: Settings) -> Iterator[Finding]:
    """Check that the application's database can be read."""
    from export_pipeline.sources.snapshot import SourceError, open_snapshot

    try:
        with open_snapshot(settings.source_url, statement_timeout=10):
            pass
    except SourceError as error:
        yield Finding("source_unreachable", str(error), "Start the database or correct EXPORT_SOURCE_URL.")


def queue_findings(settings: Settings) -> Iterator[Finding]:
    """Check that the queue of requests can be used, and that wrong messages have somewhere to go."""
    from export_pipeline.intake.queue import QueueError, has_dead_letters

    if settings.queue_url is None:
        return
    try:
        if not has_dead_letters(settings):
            yield Finding(
                "queue_without_dead_letters",
                "The queue of EXPORT_QUEUE_URL has no dead letters: a wrong message comes again and again.",
                "Give it a redrive policy.",
                is_advice=True,
            )
    except QueueError as error:
        yield Finding(
            "queue_unusable", str(error), "Correct EXPORT_QUEUE_URL, or the rights; requests wait there."
        )


def store_findings(settings: Settings) -> Iterator[Finding]:
    """Check that the store can write, read and delete files, and that it has free space."""
    from export_pipeline.orchestration.resources import store_resource
    from export_pipeline.store import StoreError, StoreUnavailableError
    from export_pipeline.store.folder import FolderStore

    do = "Correct EXPORT_STORE_URL, the rights or the server; requests fail until then."
    try:
        store = store_resource(settings).open()
        limit = store.check()
    except StoreUnavailableError as error:
        # A folder without a marker waits for the ledger. `ledger_findings` reports that the ledger is down.
        if not isinstance(error.__cause__, LedgerUnavailableError):
            yield Finding("store_unreachable", str(error), do)
        return
    except StoreError as error:
        yield Finding("store_unusable", str(error), do)
        return
    if limit is not None:
        advice = "docs/operating.md tells when that matters, and which servers have no such limit."
        yield Finding("store_limited", limit, advice, is_advice=True)
    if isinstance(store, FolderStore):
        yield from _room("store_full", store.root, _MORE_ROOM)


def staging_findings(settings: Settings, dagster: bool) -> Iterator[Finding]:
    """Check that runs can write to the staging folder, and that it has free space."""
    folder = settings.staging_folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"check")
            file.flush()
    except OSError as error:
        wrong = f"The staging folder {folder} cannot be written: {error.strerror or error}."
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            yield Finding("staging_full", wrong, _how_to_free(folder, dagster))
        else:
            yield Finding("staging_unusable", wrong, "Let this user write there, or set EXPORT_STAGING_URL.")
        return
    for finding in _room("staging_full", folder, ""):
        yield replace(finding, do=_how_to_free(folder, dagster))


def _how_to_free(staging: Path, dagster: bool) -> str:
    """Return a sentence on how to free space on the disk of the staging folder."""
    free_other = "Free other space there, or let EXPORT_STAGING_URL name a larger disk."
    try:
        freed = _freed_by_purge(staging) if dagster else 0
    except Exception:  # an unusable instance is reported by another check
        return free_other
    if freed:
        return f"Run `export-pipeline purge`, which frees {freed:,} bytes of ended runs there."
    held = sum(path.lstat().st_size for path in staging.rglob("*") if path.is_file())
    return (
        f"`export-pipeline purge` frees nothing there: {held:,} bytes are of runs under way, or of failed "
        f"ones of the last day, which can be executed again. {free_other}"
    )


def _freed_by_purge(staging: Path) -> int:
    from export_pipeline.orchestration.instance import prepare_home

    prepare_home()
    import dagster as dg

    from export_pipeline.orchestration.runs.staging_cleanup import clean_staging

    with dg.DagsterInstance.get() as instance:
        return sum(clean_staging(instance, staging, dry_run=True).values())


def _room(code: FindingCode, folder: Path, do: str) -> Iterator[Finding]:
    usage = shutil.disk_usage(folder)
    disk = Disk(usage.free, usage.total)
    if _is_nearly_full(disk):
        yield Finding(code, f"Only {_room_text(disk)} are free on the disk of {folder}.", do)


def _is_nearly_full(disk: Disk) -> bool:
    return disk.free < max(_LEAST_FREE_BYTES, _LEAST_FREE_SHARE * disk.size)


def _room_text(disk: Disk) -> str:
    return f"{disk.free / (1 << 30):.1f} GiB ({disk.free / disk.size:.0%})"
