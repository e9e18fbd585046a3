"""Commands for requests: list, show, cancel, retry, resend mails, hold and delete them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import typer

from export_pipeline.cli.console import UserError, print_facts, print_json
from export_pipeline.cli.jobs_view import (
    event_line,
    moment,
    notes_of,
    print_lines,
    printable,
    row_of,
    watch,
    worker_line,
)
from export_pipeline.cli.lookups import declared, scope_id
from export_pipeline.cli.options import (
    By,
    JobId,
    Json,
    OnlyDataset,
    ScopeId,
    ViewerScopes,
    caller,
    ledger_of,
    viewer_of,
)
from export_pipeline.cli.output import CanceledJob, FileOutput, JobDetails, fields_of
from export_pipeline.delivery import queue
from export_pipeline.delivery.enqueue import NOT_SENT, waiting_recipients
from export_pipeline.jobs import Job, Ledger, Status, Viewer
from export_pipeline.jobs.database import open_engine
from export_pipeline.jobs.errors import NOTICES
from export_pipeline.jobs.inline import is_inline_run
from export_pipeline.jobs.known_files import KnownFiles
from export_pipeline.jobs.states import ENDED
from export_pipeline.schedules.periods import period_of
from export_pipeline.settings import Settings, load_settings


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (jobs, show, cancel, retry, resend, hold, delete):
        app.command()(command)


def jobs(
    status: Annotated[
        list[Status] | None,
        typer.Option(
            metavar="STATUS", help=f"Only with this status; repeatable. One of {', '.join(Status)}."
        ),
    ] = None,
    dataset: OnlyDataset = None,
    scope: ScopeId = None,
    requested_by: Annotated[
        str | None, typer.Option(metavar="PERSON", help="Only requests of this person.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="NUMBER", min=1, max=10_000, help="At most this many.")] = 20,
    follow: Annotated[
        bool, typer.Option("--watch", help="Show progress until none of them is pending or processing.")
    ] = False,
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """List requests, newest first; with --watch active ones come first.

    Examples: `export-pipeline jobs --status failed`, `export-pipeline jobs --scope ID --watch`
    """
    if follow and as_json:
        raise UserError("--watch is for people and --json for scripts; call `jobs --json` again and again.")
    settings = load_settings()
    with ledger_of(settings) as ledger:
        viewer = viewer_of(viewer_scope, only=scope, requested_by=requested_by)
        if scope is not None and not ledger.find(viewer, limit=1):  # no id of a scope with exports
            named = [one for one in declared().values() if dataset in (None, one.dataset)]
            scope = scope_id(settings, named, scope, viewer_scope)
            viewer = viewer_of(viewer_scope, only=scope, requested_by=requested_by)
        if follow:
            watch(lambda: _under_way_first(ledger, viewer, status or list(Status), dataset, limit))
            return
        listed = ledger.find(viewer, status=status, dataset=dataset, limit=limit)
        leases = ledger.leases([job.run_id for job in listed if job.run_id])
    if as_json:
        print_json(listed)
    else:
        print_lines([row_of(job, leases.get(job.run_id or "")) for job in listed])


def show(job_id: JobId, viewer_scope: ViewerScopes = None, as_json: Json = False) -> None:
    """Show everything about a request: its fields, its events, its run, its file, its mails.

    Example: `export-pipeline show 7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11`
    """
    settings = load_settings()
    with ledger_of(settings) as ledger:
        job = ledger.get(job_id, viewer_of(viewer_scope))
        events = ledger.events(job.id)
        worker = worker_line(job, ledger.leases([job.run_id or ""]).get(job.run_id or "")) or None
    mails = queue.find_mails(open_engine(settings.jobs_url), job_id=job.id)
    unsent = waiting_recipients(job, settings) if not mails else []
    has_run = job.run_id and not is_inline_run(job.run_id)
    run = f"{settings.ui_url}/runs/{job.run_id}" if has_run else None
    file = _file(settings, job)
    period = (file and file.period) or period_of(job)
    if as_json:
        print_json(
            JobDetails(
                **fields_of(job), period=period, run_url=run, worker=worker, file=file, events=events,
                deliveries=mails, unsent=dict.fromkeys(unsent, NOT_SENT),
            )
        )  # fmt: skip
        return
    times = {name: moment(value) for name, value in plain_times(job).items()}
    facts = {**fields_of(job), **times, "period": period, "worker": worker}
    facts |= {"run": run, "file": file and file.note, "totals": file and file.totals}
    facts |= {"warnings": None, "changed_cells": None}  # printed below, one sentence each
    print_facts({name: _printable(value) for name, value in facts.items()})
    if notes := notes_of(job):
        typer.echo("\nWarnings:")
        for note in notes:
            typer.echo(f"  {printable(note, 1000)}")
    typer.echo("\nWhat happened:")
    for event in events:
        typer.echo(f"  {event_line(event)}")
    if mails or unsent:
        typer.echo("\nMails:")
        for address in unsent:
            typer.echo(f"  {printable(address)}  {NOT_SENT}")
        for mail in mails:
            why = f": {mail.error_message}" if mail.error_message else ""
            sent = f" {moment(mail.sent_at)}" if mail.sent_at else ""
            typer.echo(f"  {printable(f'{mail.recipient}  {mail.status}{sent}{why}', 1000)}")
    if job.status in (Status.FAILED, Status.CANCELED) and job.error_code not in NOTICES:
        typer.echo(f"\nTry again: export-pipeline retry {job.id}")


def cancel(job_id: JobId, by: By = None, viewer_scope: ViewerScopes = None, as_json: Json = False) -> None:
    """Cancel a pending or processing request. Its run ends within seconds, unless other requests need it.

    Example: `export-pipeline cancel 7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11`
    """
    settings = load_settings()
    with ledger_of(settings) as ledger:
        job = ledger.canceled(job_id, caller(by), viewer_of(viewer_scope))
        run = _of_the_run(ledger, job)
    if as_json:
        print_json(CanceledJob(**fields_of(job), run=run))
    else:
        typer.echo(f"{job.id}: Canceled; {run}.")


def retry(job_id: JobId, by: By = None, viewer_scope: ViewerScopes = None, as_json: Json = False) -> None:
    """Try a failed or canceled request again, as a new attempt.

    Example: `export-pipeline retry 7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11`
    """
    with ledger_of(load_settings()) as ledger:
        job = ledger.retry(job_id, caller(by), viewer_of(viewer_scope))
    _print_job(job, as_json, f"Attempt {job.attempt} waits for its turn.")


def resend(
    job_id: JobId,
    to: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Only to this address. Default: to all.")
    ] = None,
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """Send the failed and refused mails of a request again, and those whose delivery is unknown.

    Example: `export-pipeline resend 7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11 --to ann@example.org`
    """
    settings = load_settings()
    with ledger_of(settings) as ledger:
        job = ledger.get(job_id, viewer_of(viewer_scope))
    mails = queue.resend(open_engine(settings.jobs_url), job.id, to)
    if as_json:
        print_json(mails)
    else:
        recipients = ", ".join(printable(mail.recipient) for mail in mails)
        typer.echo(f"{job.id}: will be sent again to {recipients}.")


def hold(
    job_id: JobId,
    release: Annotated[bool, typer.Option("--release", help="End the hold.")] = False,
    by: By = None,
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """Put a request and its file under legal hold: neither expires nor can be deleted until released.

    Examples: `export-pipeline hold ID --by legal@example.org`, `export-pipeline hold ID --release`
    """
    with ledger_of(load_settings()) as ledger:
        job = ledger.hold(job_id, not release, caller(by), viewer_of(viewer_scope))
        newer = KnownFiles.sharing(ledger).successor(job) if job.file_key and not release else None
    is_due = job.expires_at is not None and job.expires_at <= datetime.now(UTC)
    if release and is_due and job.status is Status.COMPLETED:
        typer.echo(
            f"{printable(job.file_key, 1000)} is due: the next purge removes it, unless another request "
            "has it.",
            err=True,
        )
    if newer is not None:
        typer.echo(
            f"The file was replaced by that of {newer.id} on {newer.completed_at:%Y-%m-%d %H:%M} UTC; the "
            "newer file is kept.",
            err=True,
        )
    _print_job(job, as_json, "Released." if release else "Under legal hold.")


def delete(
    job_id: JobId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    by: By = None,
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """Delete a request that has ended, with its file and manifest. What happened to it stays on record.

    Example: `export-pipeline delete 7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11 --yes`
    """
    settings, viewer = load_settings(), viewer_of(viewer_scope)
    with ledger_of(settings) as ledger:
        job = ledger.get(job_id, viewer)
        if not yes:
            if not sys.stdin.isatty():
                raise UserError("There is no terminal to confirm in; add --yes to delete it.")
            file = f" and its file {printable(job.file_name)}" if job.file_key else ""
            typer.confirm(f"Delete {job.status} export job {job.id}{file} for good?", abort=True, err=True)
        from export_pipeline.cli.purge import erase_now
        from export_pipeline.configured_store import open_configured_store
        from export_pipeline.jobs.store_claim import delete_own

        remove = partial(delete_own, ledger, open_configured_store(settings))
        job = ledger.delete(job.id, remove, caller(by), viewer)
        if job.file_key is not None:
            erase_now(settings, ledger)
    _print_job(job, as_json, "Deleted.")


def plain_times(job: Job) -> dict[str, datetime]:
    """Return the times of a job by name."""
    return {name: value for name in job.__slots__ if isinstance(value := getattr(job, name), datetime)}


def _printable(value: Any) -> Any:
    """Return a value with all its strings made printable, at any depth."""
    if isinstance(value, Mapping):
        return {printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(item) for item in value]
    return printable(value, 10_000) if isinstance(value, str) else value


def _under_way_first(
    ledger: Ledger, viewer: Viewer, statuses: list[Status], dataset: str | None, limit: int
) -> list[Job]:
    listed: list[Job] = []
    for group in ([Status.PROCESSING], [Status.PENDING], ENDED):
        chosen = [status for status in group if status in statuses]
        if chosen and len(listed) < limit:
            listed += ledger.find(viewer, status=chosen, dataset=dataset, limit=limit - len(listed))
    return listed


def _print_job(job: Job, as_json: bool, message: str) -> None:
    print_json(job) if as_json else typer.echo(f"{job.id}: {message}")


def _file(settings: Settings, job: Job) -> FileOutput | None:
    """Return a job's file, whether the store still has it, and the period and totals in its manifest."""
    if job.file_key is None:
        return None
    from export_pipeline.configured_store import open_configured_store
    from export_pipeline.store import StoreError
    from export_pipeline.store.manifest import read_manifest
    from export_pipeline.store.publish import is_whole

    store = open_configured_store(settings)
    there, note = None, "in the store"
    try:
        there = is_whole(store, job.file_key)
        if not there:
            note = "gone" if job.status is Status.EXPIRED else "MISSING: the store has no such file"
    except StoreError as error:
        note = str(error)
    period, totals = None, {}
    with suppress(StoreError):  # without a manifest there is less to show
        manifest = read_manifest(store, job.file_key)
        period = manifest.period
        totals = {column: total.text for column, total in manifest.totals.items()}
    return FileOutput(store.url, there, note, period, totals)


def _of_the_run(ledger: Ledger, job: Job) -> str:
    """Describe what happens to the run of a job that was just canceled. Runs poll the ledger every second."""
    if job.run_id is None:
        return "no run had it"
    others = [other for other in ledger.of_run(job.run_id) if other.status is Status.PROCESSING]
    return "other requests need its run" if others else "its run ends within seconds"
