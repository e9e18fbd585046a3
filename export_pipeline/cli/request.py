"""The command that asks for an export."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from export_pipeline.cli import arguments
from export_pipeline.cli.console import (
    InterruptedCommandError,
    UserError,
    print_error,
    print_facts,
    print_json,
    progress_bar,
)
from export_pipeline.cli.datasets import (
    check_scope,
    dataset_of,
    formats_of,
    load_definitions,
    store_at,
    typed_options,
)
from export_pipeline.cli.interrupts import deferred_interrupts
from export_pipeline.cli.jobs_view import printable
from export_pipeline.cli.options import Json, caller
from export_pipeline.delivery.addresses import check_addresses
from export_pipeline.jobs.file_notes import file_notes
from export_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from export_pipeline.jobs import Job, Ledger


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(request)


def request(
    dataset: Annotated[str, typer.Argument(help="What to export, e.g. takeoff.")],
    scope: Annotated[
        str | None, typer.Option(help="Whose rows: an id that `datasets --scopes DATASET` lists.")
    ] = None,
    format: Annotated[str, typer.Option(help="One or more of the formats, with commas.")] = "csv",
    filter: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE, or NAME:OPERATOR=VALUE with equals, in, from, to, contains, is_null. `in` "
            "takes values with commas between them; one that holds a comma stands in double quotes."
        ),
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="A column to export; several in this order. Default: the usual.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="A ready-made choice of columns.")] = None,
    sort: Annotated[
        list[str] | None, typer.Option(help="A column to sort by; `-NAME` for descending.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="NAME=VALUE, e.g. include_drawings=true.")
    ] = None,
    mail: Annotated[
        list[str] | None,
        typer.Option("--mail", "--to", help="An address to send the files to; several may be given."),
    ] = None,
    requested_by: Annotated[
        str | None, typer.Option(help="Who asks; decides what guarded columns show.")
    ] = None,
    priority: Annotated[int, typer.Option(help="Higher goes first.")] = 0,
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="The same request under the same key is one export, however often it is made."),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Stay until the files are there, and show progress.")] = True,
    as_json: Json = False,
    export_id: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Export a dataset.

    With a ledger (see `migrate`) each format becomes a job: a running daemon takes it, else it is worked on
    here. Without one it is worked on here.

    Examples: `export-pipeline request takeoff --scope ID --format csv,pdf -o group_by=page`;
    `export-pipeline request records --scope ID --filter status=SUCCESSFUL --filter sale_date:from=2026-01-01
    --column item_name --column profit_cents`; `export-pipeline request takeoff --scope ID --no-wait --json`
    """
    settings = load_settings()
    _check_mail(settings, mail or ())
    chosen = dataset_of(dataset)
    names = formats_of(chosen, format)
    if idempotency_key is not None and len(names) > 1:
        raise UserError("--idempotency-key belongs to one export: request each format with a key of its own.")
    who = {"requested_by": requested_by} if requested_by and "requested_by" in chosen.option_names() else {}
    choice = who | {
        "filters": arguments.filters(filter or []),
        "columns": column,
        "preset": preset,
        "sort": sort,
    }
    given = arguments.options(option or [])
    if "requested_by" in given:
        raise UserError("--option requested_by: say who asks with --requested-by.")
    options = typed_options(chosen, given | {k: v for k, v in choice.items() if v})
    check_scope(settings, chosen, scope)
    export_id = export_id or str(uuid.uuid4())
    from export_pipeline.orchestration.runs import submit

    ledger = submit.ledger_at(settings.jobs_url)
    jobs: list[Job] = []
    with _canceled_if_interrupted(ledger, jobs):
        if ledger:
            with deferred_interrupts():
                jobs += submit.submit_request(
                    ledger,
                    dataset=dataset,
                    formats=names,
                    scope=scope,
                    options=options,
                    requested_by=requested_by,
                    recipients=mail or (),
                    priority=priority,
                    idempotency_key=idempotency_key,
                )
            if not wait or _daemon_took(ledger, jobs, as_json):
                _say_what_became(settings, [ledger.get(job.id) for job in jobs], wait, as_json)
                return
        elif mail or idempotency_key:
            what = "Mail" if mail else "--idempotency-key"
            raise UserError(f"{what} needs the ledger of requests: run `export-pipeline migrate` first.")
        if not wait:
            log = _request_in_background(settings, export_id)
            accepted = {"export_id": export_id, "log": str(log)}
            print_json(accepted) if as_json else print_facts(accepted)
            return
        from export_pipeline.orchestration.runs.local_run import run_export

        definitions = load_definitions()
        with progress_bar(len(names) + 3, quiet=as_json) as progress:
            outcome = run_export(
                definitions,
                dataset=dataset,
                scope=scope,
                formats=names,
                options=options,
                staging=settings.staging_folder,
                export_id=export_id,
                progress=progress,
                jobs=jobs,
                ledger=ledger,
            )
        files = [{"format": name, **_file_row(metadata)} for name, metadata in outcome.files.items()]
        if as_json:
            ids = {"jobs": [job.id for job in jobs]} if jobs else {}
            print_json({"export_id": outcome.export_id, **ids, "files": files, "errors": outcome.errors})
        else:
            if files:
                for file in files:  # one line each: a wrapped key cannot be copied
                    typer.echo(
                        f"{file['format']:6}{file['rows']:>9,} rows {file['bytes']:>12,} bytes  {file['key']}"
                    )
                    _print_notes(file)
                typer.echo(f"Stored in {store_at(settings).url}; `export-pipeline link KEY` links to a file.")
            for error in outcome.errors:
                print_error(error)
        if outcome.errors:
            raise typer.Exit(1)


@contextmanager
def _canceled_if_interrupted(ledger: Ledger | None, jobs: Sequence[Job]) -> Iterator[None]:
    """Cancel the jobs if Ctrl-C ends the block, so that no daemon makes the files later."""
    try:
        yield
    except KeyboardInterrupt:
        from export_pipeline.jobs import LedgerError, RefusedError

        canceled = 0
        problem = ""
        for job in jobs if ledger else ():
            try:
                assert ledger is not None
                canceled += ledger.canceled(job.id, caller(None)).status == "canceled"
            except LedgerError as error:
                if not isinstance(error, RefusedError):  # a refused job has ended already
                    problem = f" {job.id} could not be canceled: {error}"
        what = "1 request is" if canceled == 1 else f"{canceled} requests are"
        said = f"; {what} canceled." if canceled else "."
        raise InterruptedCommandError(f"Interrupted{said}{problem}") from None


def _check_mail(settings: Settings, addresses: Sequence[str]) -> None:
    """Raise UserError for recipients whose mail could never be sent."""
    try:
        check_addresses(addresses)
    except ValueError as error:
        raise UserError(f"--to {error}.") from None
    if addresses and settings.smtp_url is None:
        raise UserError(
            "--to sends no mail, as EXPORT_SMTP_URL is not set: set it, and EXPORT_MAIL_FROM, or leave --to "
            "out and fetch the file with `export-pipeline link`."
        )
    if addresses and settings.mail_links_are_local:
        typer.echo(
            "Mails with a link to the file, where it is too large to be attached, lead to a file:/// address "
            "that only this machine can open; set EXPORT_PUBLIC_URL.",
            err=True,
        )


def _daemon_took(ledger: Ledger, jobs: list[Job], as_json: bool) -> bool:
    """Wait until a daemon has ended these jobs. Return False if no daemon takes them."""
    import dagster as dg

    from export_pipeline.orchestration.instance import prepare_home
    from export_pipeline.orchestration.runs.submit import wait_for_jobs

    prepare_home()
    with dg.DagsterInstance.get() as instance, progress_bar(100 * len(jobs), quiet=as_json) as progress:
        return wait_for_jobs(ledger, instance, jobs, progress)


def _say_what_became(settings: Settings, jobs: list[Job], wait: bool, as_json: bool) -> None:
    from export_pipeline.jobs import Status

    rows = [
        {"job": job.id, "format": job.format, "status": str(job.status), "rows": job.row_count,
         "total_rows": job.total_rows, "warnings": list(job.warnings), "changed_cells": job.changed_cells,
         "bytes": job.file_size, "key": job.file_key, "error": job.error_message}
        for job in jobs
    ]  # fmt: skip
    if as_json:
        print_json({"jobs": rows})
    else:
        for row in rows:
            typer.echo(f"{row['format']:8}{row['status']:11}{row['job']}  {row['key'] or row['error'] or ''}")
            _print_notes(row)
        if not wait:
            typer.echo("`export-pipeline show JOB` says what becomes of it.")
        elif any(row["key"] for row in rows):
            typer.echo(f"Stored in {store_at(settings).url}; `export-pipeline link JOB` links to a file.")
        if any(job.error_code == "unknown_dataset" for job in jobs):  # known here
            print_error(
                "The daemon loaded its datasets before this one was written: restart it, or Reload in the UI "
                "under Deployment; then `export-pipeline retry JOB`."
            )
    if wait and any(job.status is not Status.COMPLETED for job in jobs):
        raise typer.Exit(1)


def _request_in_background(settings: Settings, export_id: str) -> Path:
    """Run the same command, with waiting, in a process that outlives this one. Return its log file."""
    log = settings.staging_folder / f"{export_id}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    again = [argument for argument in sys.argv[1:] if argument != "--no-wait"]
    with log.open("wb") as output:
        subprocess.Popen(
            [sys.executable, "-m", "export_pipeline.cli", *again, "--export-id", export_id],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return log


def _print_notes(file: Mapping[str, Any]) -> None:
    """Print each difference between the file and the source as a line on stderr."""
    if file["key"] is not None:
        notes = file_notes(file["rows"], file["total_rows"], file["warnings"], file["changed_cells"])
        for note in notes:
            typer.echo(f"{file['format']}: {printable(note, 1000)}", err=True)


def _file_row(metadata: dict[str, Any]) -> dict[str, Any]:
    return {
        "rows": metadata["dagster/row_count"],
        "total_rows": metadata["rows in source"],
        "warnings": metadata["warnings"],
        "changed_cells": metadata["changed cells"],
        "bytes": metadata["bytes"],
        "key": metadata["key"],
        "location": metadata["location"],
        "sha256": metadata["sha256"],
    }
