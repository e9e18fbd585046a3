"""Commands about export files: `link` signs a download link, `download` copies a file, `verify` checks it."""

from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from export_pipeline.cli.console import UserError, print_error, print_facts, print_json
from export_pipeline.cli.jobs_view import moment, printable
from export_pipeline.cli.lookups import checked_key
from export_pipeline.cli.options import Json, ViewerScopes, caller, ledger_of, viewer_of
from export_pipeline.cli.output import DownloadOutput, LinkOutput, fields_of
from export_pipeline.configured_store import open_configured_store
from export_pipeline.jobs import EventKind, Job, LedgerError, Status, Viewer
from export_pipeline.jobs.errors import SCOPE_DELETED
from export_pipeline.jobs.known_files import KnownFiles
from export_pipeline.settings import Settings, load_settings
from export_pipeline.store import NotFoundError, Store, manifest_key
from export_pipeline.store.file_names import safe_file_name
from export_pipeline.store.manifest import Manifest, ManifestError, read_manifest
from export_pipeline.store.parts import download_parts, name_part


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (link, download, verify):
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
    """Sign a download link for a job's file, or any export file. Links are signed on request, never stored.

    Examples: `export-pipeline link 7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11`,
    `export-pipeline link exports/SCOPE/ID.pdf --expires 600`
    """
    settings = load_settings()
    seconds = expires or settings.link_ttl_seconds
    job = _job_with_file(settings, file, viewer_of(viewer_scope), caller(None), "link")
    store, name = open_configured_store(settings), None
    key = checked_key(file) if job is None else job.file_key or ""
    if job is not None:
        seconds, name = min(seconds, _seconds_left(job)), job.file_name
    if manifest := _manifest_of_parts(store, key):
        name = name or manifest.title or key.rpartition("/")[2]
        parts = [
            store.signed_url(part, expires_seconds=seconds, file_name=name_part(name, number))
            for number, part in enumerate(manifest.part_keys(key), start=1)
        ]
        output = LinkOutput(store.signed_url(manifest_key(key), expires_seconds=seconds), parts)
    else:
        output = LinkOutput(store.signed_url(key, expires_seconds=seconds, file_name=name))
    print_json(output) if as_json else typer.echo("\n".join(output.parts or [output.link]))


def download(
    file: Annotated[
        str,
        typer.Argument(
            metavar="ID|KEY", help="Id of a job, or key of an export file, as `request` prints them."
        ),
    ],
    to: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for the file; it is created.", file_okay=False)
    ] = Path(),
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """Copy an export file out of the store; of an export in parts, all its files and the manifest.

    Example: `export-pipeline download 7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11 --to files`
    """
    settings = load_settings()
    job = _job_with_file(settings, file, viewer_of(viewer_scope), caller(None), "download")
    store, key = open_configured_store(settings), checked_key(file) if job is None else job.file_key or ""
    name = (job and job.file_name) or key.rpartition("/")[2]
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--to {to}: it cannot be made: {error.strerror}.") from None
    if manifest := _manifest_of_parts(store, key):
        paths = download_parts(store, key, manifest, to, (job and job.file_name) or manifest.title or name)
    else:
        paths = [to / safe_file_name(name)]
        store.download(key, paths[0])
    print_json(DownloadOutput([str(path) for path in paths])) if as_json else typer.echo(
        "\n".join(map(str, paths))
    )


def _manifest_of_parts(store: Store, key: str) -> Manifest | None:
    """Return the manifest of an export in parts; None for one file."""
    with suppress(NotFoundError, ManifestError):
        manifest = read_manifest(store, key)
        return manifest if manifest.parts else None
    return None


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
    report = check(open_configured_store(settings), file)
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


def _scope_deleted(key: str, is_there: bool, is_held: bool) -> UserError:
    """Return the error for a file whose scope was deleted, which says where the file is."""
    where = "the next purge removes it" if is_there else "it was removed"
    if is_held:
        where = f"under legal hold it stays in the store, as {printable(key, 1000)}"
    return UserError(
        f"The application has deleted the scope of this file, so it cannot be downloaded any more; {where}."
    )


def _job_with_file(settings: Settings, text: str, viewer: Viewer, who: str | None, by: str) -> Job | None:
    """Return the job with this id, which has a file, or None if the text is not a job's id.

    The job's history records that its file was fetched, and `by` which command.

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
                raise _scope_deleted(text, True, known.is_held(text)) from None
        return None
    with ledger_of(settings) as ledger:
        job = ledger.get(text, viewer)
        if job.error_code == SCOPE_DELETED and job.file_key is not None:
            raise _scope_deleted(job.file_key, job.status is Status.COMPLETED, job.legal_hold)
        if job.status is not Status.COMPLETED or job.file_key is None:
            raise UserError(
                f"Export job {job.id} is {job.status} and has no file; `export-pipeline show` tells why."
            )
        if _seconds_left(job) <= 0:
            raise UserError(
                f"The file of export job {job.id} expired at {moment(job.expires_at)}; request it again."
            )
        ledger.record(job.id, EventKind.DOWNLOADED, who, {"by": by})
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
    """Return the seconds until a job's file expires, which limit its links; a week under legal hold."""
    if job.expires_at is None or job.legal_hold:
        return int(timedelta(days=7).total_seconds())
    return int((job.expires_at - datetime.now(UTC)).total_seconds())
