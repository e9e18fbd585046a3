"""Commands about export files: `link` signs a download link, `verify` checks a file."""

from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from export_pipeline.cli.console import UserError, print_error, print_facts, print_json
from export_pipeline.cli.datasets import checked_key, store_at
from export_pipeline.cli.jobs_view import moment
from export_pipeline.cli.options import Json, ViewerScopes, caller, ledger_of, viewer_of
from export_pipeline.cli.output import LinkOutput, fields_of
from export_pipeline.jobs import EventKind, Job, LedgerError, Status, Viewer
from export_pipeline.jobs.errors import SCOPE_DELETED
from export_pipeline.jobs.known_files import KnownFiles
from export_pipeline.settings import Settings, load_settings


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (link, verify):
        app.command()(command)


def link(
    file: Annotated[
        str,
        typer.Argument(
            metavar="ID|KEY", help="Id of a job, or key of an export file, as `request` prints them."
        ),
    ],
    expires: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS",
            min=1,
            max=604_800,
            help="How long the link works. Default: EXPORT_LINK_TTL_SECONDS.",
        ),
    ] = None,
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """Sign a download link for a job's file, or any export file. Links are made anew and never stored.

    Examples: `export-pipeline link 7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11`,
    `export-pipeline link exports/SCOPE/ID.pdf --expires 600`
    """
    settings = load_settings()
    seconds = expires or settings.link_ttl_seconds
    job = _job_with_file(settings, file, viewer_of(viewer_scope), caller(None))
    if job is None:
        url = store_at(settings).link(checked_key(file), expires_seconds=seconds)
    else:
        seconds = min(seconds, _seconds_left(job))
        url = store_at(settings).link(job.file_key or "", expires_seconds=seconds, file_name=job.file_name)
    print_json(LinkOutput(url)) if as_json else typer.echo(url)


def verify(
    file: Annotated[
        str,
        typer.Argument(
            metavar="ID|KEY|FILE", help="Id of a job, key of a file in the store, or path of a local file."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Check a file against its manifest (size, SHA-256) and read it again: rows, totals, the format's rules.

    Examples: `export-pipeline verify exports/SCOPE/ID.xlsx`, `export-pipeline verify ./download.xml`
    """
    from export_pipeline.verify import verify as check

    settings = load_settings()
    if not Path(file).is_file():
        file = checked_key(_key_of(settings, file))
    report = check(store_at(settings), file)
    if as_json:
        print_json(report)
    else:
        result = "not sound" if report.problems else "sound"
        if report.manifest == "none" and not report.problems:
            result = "readable; without a manifest nothing says how many rows there should be"
        print_facts({**fields_of(report), "problems": None, "result": result})
        for problem in report.problems:
            print_error(problem)
    if report.problems:
        raise typer.Exit(1)


_SCOPE_DELETED = (
    "The application has deleted the scope of this file, so it is not given away any more; the next purge "
    "removes it, unless it is under legal hold."
)


def _job_with_file(settings: Settings, text: str, viewer: Viewer, who: str | None) -> Job | None:
    """Return the job with this id, which has a file, or None if the text is not a job's id.

    Raises:
        UserError: the job has no file, or no longer has one.
        UnknownJobError: the job does not exist, or the viewer may not see it.
    """
    try:
        uuid.UUID(text)
    except ValueError:
        if viewer.scopes is not None:
            raise UserError(
                "With --viewer-scope name a job by its id; a key does not say whose it is."
            ) from None
        with suppress(LedgerError), KnownFiles(settings.jobs_url) as known:  # a file needs no ledger
            if known.is_of_deleted_scope(text):
                raise UserError(_SCOPE_DELETED) from None
        return None
    with ledger_of(settings) as ledger:
        job = ledger.get(text, viewer)
        if job.error_code == SCOPE_DELETED:
            raise UserError(_SCOPE_DELETED)
        if job.status is not Status.COMPLETED or job.file_key is None:
            raise UserError(
                f"Export job {job.id} is {job.status} and has no file; `export-pipeline show` tells why."
            )
        if _seconds_left(job) <= 0:
            raise UserError(
                f"The file of export job {job.id} expired at {moment(job.expires_at)}; ask for it anew."
            )
        ledger.record(job.id, EventKind.DOWNLOADED, who, {"by": "link"})
    return job


def _key_of(settings: Settings, text: str) -> str:
    """Return the file key of the job with this id, or the text itself if it is not a job's id."""
    try:
        uuid.UUID(text)
    except ValueError:
        return text
    with ledger_of(settings) as ledger:
        job = ledger.get(text)
    if job.file_key is None:
        raise UserError(
            f"Export job {job.id} is {job.status} and has no file; `export-pipeline show` tells why."
        )
    return job.file_key


def _seconds_left(job: Job) -> int:
    """Return the seconds until a file expires, for which a link may be signed; a week under legal hold."""
    if job.expires_at is None or job.legal_hold:
        return int(timedelta(days=7).total_seconds())
    return int((job.expires_at - datetime.now(UTC)).total_seconds())
