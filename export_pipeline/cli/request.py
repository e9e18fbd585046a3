"""The command `request`: request an export and show its progress."""

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
from export_pipeline.cli.completion import complete_format
from export_pipeline.cli.console import InterruptedCommandError, UserError, progress_bar
from export_pipeline.cli.interrupts import deferred_interrupts
from export_pipeline.cli.lookups import (
    dataset_of,
    find_scope,
    formats_of,
    load_definitions,
    typed_options,
)
from export_pipeline.cli.options import Columns, DatasetName, Filters, Json, Options, ScopeId, caller
from export_pipeline.cli.request_result import (
    background_exports,
    export_of_job,
    exports_of_run,
    print_result,
)
from export_pipeline.datasets.options import OptionError
from export_pipeline.datasets.requests import check_parts
from export_pipeline.delivery.addresses import check_addresses
from export_pipeline.jobs import Status
from export_pipeline.jobs.states import ENDED
from export_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from export_pipeline.datasets.dataset import Dataset
    from export_pipeline.jobs import Job, Ledger
    from export_pipeline.orchestration.runs.local_run import Outcome


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(request)


def _check_priority(number: int) -> int:
    """Return a priority that the ledger's integer column can hold. Raise UserError for another."""
    if not -(2**31) <= number < 2**31:
        raise UserError(f"--priority {number}: choose a number from {-(2**31)} to {2**31 - 1}.")
    return number


def request(
    dataset: DatasetName,
    scope: ScopeId = None,
    format: Annotated[
        str,
        typer.Option(
            metavar="FORMAT[,FORMAT…]", help="Formats of the dataset.", autocompletion=complete_format
        ),
    ] = "csv",
    filter: Filters = None,
    column: Columns = None,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="A ready-made choice of columns, of the dataset.")
    ] = None,
    sort: Annotated[
        list[str] | None,
        typer.Option(metavar="[-]COLUMN", help="A column to sort by; with `-` before it, descending."),
    ] = None,
    option: Options = None,
    mail: Annotated[
        list[str] | None,
        typer.Option("--mail", "--to", metavar="ADDRESS", help="Send the files there by mail; repeatable."),
    ] = None,
    requested_by: Annotated[
        str | None,
        typer.Option(
            metavar="PERSON", help="Who asks; decides what guarded columns show.", show_default=False
        ),
    ] = None,
    priority: Annotated[
        int,
        typer.Option(
            metavar="NUMBER", callback=_check_priority, help="Waiting requests of higher priority run first."
        ),
    ] = 0,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="The same request under the same key is one export, however often it is made."
        ),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Stay until the files are there, and show progress.")] = True,
    as_json: Json = False,
    export_id: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Export a dataset.

    With a ledger (see `migrate`) each format becomes a job: a running daemon takes it. Without a daemon or a
    ledger this process does the work.

    Examples: `export-pipeline request takeoff --scope ID --format csv,pdf -o group_by=page`;
    `export-pipeline request records --scope ID --filter status=SUCCESSFUL --filter sale_date:from=2026-01-01
    --column item_name --column profit_cents`; `export-pipeline request takeoff --scope ID --no-wait --json`
    """
    settings = load_settings()
    _check_mail(settings, mail or ())
    chosen = dataset_of(dataset)
    formats = formats_of(chosen, format)
    if idempotency_key is not None and len(formats) > 1:
        raise UserError("--idempotency-key belongs to one export: request each format with a key of its own.")
    options = _options(chosen, filter, column, preset, sort, option, requested_by)
    try:
        check_parts(options, formats, chosen)
    except OptionError as error:
        raise UserError(str(error)) from None
    scope, scope_name = find_scope(settings, chosen, scope)
    from export_pipeline.orchestration.runs import submit

    ledger = submit.ledger_at(settings.jobs_url)
    if ledger is None and (mail or idempotency_key):
        what = "Mail" if mail else "--idempotency-key"
        raise UserError(f"{what} needs the ledger of requests: run `export-pipeline migrate` first.")
    jobs: list[Job] = []
    log = None
    with _canceled_if_interrupted(ledger, jobs):
        if ledger:
            with deferred_interrupts():
                jobs += submit.submit_request(
                    ledger,
                    dataset=dataset,
                    formats=formats,
                    scope=scope,
                    options=options,
                    requested_by=requested_by,
                    recipients=mail or (),
                    priority=priority,
                    idempotency_key=idempotency_key,
                    reuse_within=chosen.reuse_within,
                )
        run_id = export_id or str(uuid.uuid4())
        if ledger and (not wait or _wait_for_daemon(ledger, jobs, as_json)):
            exports = [export_of_job(ledger.get(job.id)) for job in jobs]
        elif not wait:
            log = _request_in_background(settings, run_id)
            exports = background_exports(run_id, dataset, scope, formats)
        else:
            waiting = [job for job in jobs if job.status not in ENDED]  # the others have a finished file
            names = [job.format for job in waiting] if ledger else formats
            here = list(dict.fromkeys(chosen.format_aliases.get(name, name) for name in names))
            outcome = _run_here(
                settings, chosen, scope, scope_name, here, options, run_id, ledger, waiting, as_json
            )
            if ledger:
                exports = [export_of_job(ledger.get(job.id)) for job in jobs]
            else:
                exports = exports_of_run(outcome, dataset, scope, here)
    print_result(settings, exports, as_json=as_json, log=log)
    if wait and any(export.status is not Status.COMPLETED for export in exports):
        raise typer.Exit(1)


def _options(
    dataset: Dataset,
    filter: Sequence[str] | None,
    column: Sequence[str] | None,
    preset: str | None,
    sort: Sequence[str] | None,
    option: Sequence[str] | None,
    requested_by: str | None,
) -> dict[str, Any]:
    """Return the options of an export, typed. Raise UserError if one is invalid."""
    given = arguments.options(option or [])
    if "requested_by" in given:
        raise UserError("--option requested_by: say who asks with --requested-by.")
    choice: dict[str, Any] = {
        "filters": arguments.filters(filter or []),
        "columns": column,
        "preset": preset,
        "sort": sort,
    }
    if "requested_by" in dataset.option_names():
        choice["requested_by"] = requested_by
    return typed_options(dataset, given | {name: value for name, value in choice.items() if value})


def _run_here(
    settings: Settings,
    dataset: Dataset,
    scope: str | None,
    scope_name: str | None,
    formats: Sequence[str],
    options: Mapping[str, Any],
    run_id: str,
    ledger: Ledger | None,
    jobs: Sequence[Job],
    as_json: bool,
) -> Outcome:
    """Export in this process, with a progress bar."""
    from export_pipeline.orchestration.runs.local_run import run_export

    definitions = load_definitions()
    with progress_bar(len(formats) + 3, quiet=as_json) as progress:
        return run_export(
            definitions,
            dataset=dataset.dataset,
            scope=scope,
            scope_name=scope_name,
            formats=formats,
            options=options,
            staging=settings.staging_folder,
            export_id=run_id,
            progress=progress,
            jobs=jobs,
            aliases=dataset.format_aliases,
            ledger=ledger,
        )


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
        summary = f"; {what} canceled." if canceled else "."
        raise InterruptedCommandError(f"Interrupted{summary}{problem}") from None


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


def _wait_for_daemon(ledger: Ledger, jobs: list[Job], as_json: bool) -> bool:
    """Wait until a daemon has ended these jobs. Return False if no daemon takes them."""
    import dagster as dg

    from export_pipeline.orchestration.instance import prepare_home
    from export_pipeline.orchestration.runs.submit import wait_for_jobs

    prepare_home()
    with dg.DagsterInstance.get() as instance, progress_bar(100 * len(jobs), quiet=as_json) as progress:
        return wait_for_jobs(ledger, instance, jobs, progress)


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
