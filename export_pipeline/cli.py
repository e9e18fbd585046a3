"""The command line: `export-pipeline --help` is the manual."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from dotenv import load_dotenv
from typer.exceptions import TyperException

from export_pipeline import arguments, cli_jobs, cli_operate, cli_schedules
from export_pipeline.cli_options import ViewerScopes, caller, viewer_of
from export_pipeline.console import (
    UserError,
    print_error,
    print_facts,
    print_json,
    print_table,
    progress_bar,
)
from export_pipeline.jobs import LedgerError
from export_pipeline.jobs.errors import ScheduleError
from export_pipeline.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    import dagster as dg

    from export_pipeline.components.dataset import Dataset
    from export_pipeline.jobs import Job, Ledger
    from export_pipeline.store import Store

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Exports of an application's database as files. Settings come from EXPORT_… variables or a .env "
    "file; without any, everything runs on a sample database and local folders.\n\n"
    "Begin with `export-pipeline demo`, then `export-pipeline datasets`.\n\n"
    "Exit codes: 0 done, 1 an export or a file is not right, 2 a wrong call or setting.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of text for people.")]


def main() -> None:
    """Entry point; ends with 0 for success, 1 for an export or file that is not right, 2 for a wrong call."""
    sys.exit(_run(sys.argv[1:] or ["--help"]))


def _run(arguments: list[str]) -> int:
    from export_pipeline.formats.registry import UnknownFormatError
    from export_pipeline.sources.snapshot import SourceError
    from export_pipeline.store import StoreError

    load_dotenv(Path(".env"))  # for DAGSTER_… and AWS_… too; what is set already stays
    try:
        return app(arguments, standalone_mode=False) or 0
    except (UserError, UnknownFormatError, SettingsError, ScheduleError) as error:
        print_error(str(error))
        return 2
    except (SourceError, StoreError, LedgerError) as error:
        print_error(str(error))
        return 1
    except (KeyboardInterrupt, typer.Abort):
        print_error("Interrupted.")
        return 1
    except TyperException as error:
        print_error(f"{error.format_message()} (`export-pipeline {arguments[0]} --help` shows how)")
        return 2


@app.command()
def formats(as_json: Json = False) -> None:
    """List the formats there are.

    Example: `export-pipeline formats`
    """
    from export_pipeline.formats.registry import FORMATS

    rows = [
        {"format": f.name, "extension": f.extension, "type": f.media_type, "help": f.help}
        for f in FORMATS.values()
    ]
    print_json(rows) if as_json else print_table(rows)


@app.command()
def datasets(
    scopes: Annotated[str | None, typer.Option(help="List the scopes of this dataset instead.")] = None,
    as_json: Json = False,
) -> None:
    """List what can be exported, or whose rows.

    Examples: `export-pipeline datasets`, `export-pipeline datasets --scopes takeoff`
    """
    from export_pipeline.orchestration.partitions import ON_DEMAND

    if scopes:
        there = _scopes(load_settings(), _dataset(scopes))
        rows: list[dict[str, Any]] = [{"scope": id, "name": name} for id, name in there.items()]
    else:
        rows = [
            {
                "dataset": dataset.dataset,
                "description": dataset.attributes.description,
                "formats": list(dataset.formats),
                "cadences": [ON_DEMAND, *dataset.attributes.cadences.named()],
            }
            for dataset in _declared().values()
        ]
    print_json(rows) if as_json else print_table(rows)


@app.command()
def request(
    dataset: Annotated[str, typer.Argument(help="What to export, e.g. takeoff.")],
    scope: Annotated[
        str | None, typer.Option(help="Whose rows: an id that `datasets --scopes DATASET` lists.")
    ] = None,
    format: Annotated[str, typer.Option(help="One or more of the formats, with commas.")] = "csv",
    filter: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE, or NAME:OPERATOR=VALUE with equals, in, from, to, contains, is_null."),
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
        list[str] | None, typer.Option(help="An address to send the files to; several may be given.")
    ] = None,
    requested_by: Annotated[
        str | None, typer.Option(help="Who asks; decides what guarded columns show.")
    ] = None,
    priority: Annotated[int, typer.Option(help="Higher goes first.")] = 0,
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
    chosen = _dataset(dataset)
    names = _formats(chosen, format)
    who = {"requested_by": requested_by} if requested_by and "requested_by" in chosen.option_names() else {}
    choice = who | {
        "filters": arguments.filters(filter or []),
        "columns": column,
        "preset": preset,
        "sort": sort,
    }
    options = _options(chosen, arguments.options(option or []) | {k: v for k, v in choice.items() if v})
    _check_scope(settings, chosen, scope)
    export_id = export_id or str(uuid.uuid4())
    from export_pipeline.orchestration import requesting

    ledger = requesting.ledger_at(settings.jobs_url)
    jobs = []
    if ledger:
        jobs = requesting.ask(
            ledger,
            dataset=dataset,
            formats=names,
            scope=scope,
            options=options,
            requested_by=requested_by,
            recipients=mail or (),
            priority=priority,
        )
        if not wait or _daemon_took(ledger, jobs, as_json):
            _say_what_became(settings, [ledger.get(job.id) for job in jobs], wait, as_json)
            return
    elif mail:
        raise UserError("Mail needs the ledger of requests: run `export-pipeline migrate` first.")
    if not wait:
        log = _request_in_background(settings, export_id)
        accepted = {"export_id": export_id, "log": str(log)}
        print_json(accepted) if as_json else print_facts(accepted)
        return
    from export_pipeline.orchestration.running import run_export

    definitions = _definitions()
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
            for file in files:  # a line each: a key that is wrapped cannot be copied
                typer.echo(
                    f"{file['format']:6}{file['rows']:>9,} rows {file['bytes']:>12,} bytes  {file['key']}"
                )
            typer.echo(f"Stored in {_store(settings).url}; `export-pipeline link KEY` links to a file.")
        for error in outcome.errors:
            print_error(error)
    if outcome.errors:
        raise typer.Exit(1)


@app.command()
def link(
    file: Annotated[
        str, typer.Argument(help="Id of a job, or key of an export file, as `request` and Dagster show it.")
    ],
    expires: Annotated[
        int | None, typer.Option(min=1, max=604_800, help="Seconds the link works; default: the setting.")
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
    job = cli_jobs.job_with_file(settings, file, viewer_of(viewer_scope), caller(None))
    if job is None:
        url = _store(settings).link(_key(file), expires_seconds=seconds)
    else:
        seconds = min(seconds, cli_jobs.seconds_left(job))
        url = _store(settings).link(job.file_key or "", expires_seconds=seconds, file_name=job.file_name)
    print_json({"link": url}) if as_json else typer.echo(url)


@app.command()
def verify(
    file: Annotated[str, typer.Argument(help="Key of an export file in the store, or a local file.")],
    as_json: Json = False,
) -> None:
    """Check a file against its manifest (size, SHA-256) and read it again: rows, totals, the format's rules.

    Examples: `export-pipeline verify exports/SCOPE/ID.xlsx`, `export-pipeline verify ./download.xml`
    """
    from export_pipeline.verify import verify as check

    report = check(_store(load_settings()), file if Path(file).is_file() else _key(file))
    if as_json:
        print_json(report)
    else:
        result = "not sound" if report["problems"] else "sound"
        if report["manifest"] == "none" and not report["problems"]:
            result = "readable; without a manifest nothing says how many rows there should be"
        print_facts({**report, "problems": None, "result": result})
        for problem in report["problems"]:
            print_error(problem)
    if report["problems"]:
        raise typer.Exit(1)


@app.command()
def introspect(
    table: Annotated[
        str, typer.Argument(help="Table or view of the source; schema.table where it needs that.")
    ],
    name: Annotated[
        str | None, typer.Option(help="What to call the dataset; by default like the table.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write it into the folder of datasets; never over one.")
    ] = False,
) -> None:
    """Write a working defs.yaml for a table, from the live schema: types, key, relations, filters, window.

    Examples: `export-pipeline introspect orders`, `export-pipeline introspect sales.orders --write`
    """
    from export_pipeline.introspection import run_introspect

    run_introspect(load_settings(), table, name=name, write=write)


@app.command()
def demo(
    measurements: Annotated[
        int, typer.Option(min=0, help="Also make a project with this many measurements.")
    ] = 0,
) -> None:
    """Make the sample database and export every sample dataset in every format; shows where the files lie.

    Examples: `export-pipeline demo`, `export-pipeline demo --measurements 200000`
    """
    from export_pipeline.demo_run import run_demo

    if not run_demo(load_settings(), _declared(), _definitions, measurements):
        raise typer.Exit(1)


@app.command()
def dev(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    host: Annotated[
        str, typer.Option(help="Address it listens on; it has no login, so keep it local.")
    ] = "127.0.0.1",
) -> None:
    """Start Dagster's UI and daemon on this project.

    Example: `export-pipeline dev --port 3001`
    """
    from export_pipeline.orchestration.instance import ROOT, prepare_home

    settings = load_settings()  # a wrong setting should be said here, not by a child process
    _prepare_ledger(settings)
    home = prepare_home()
    typer.echo(f"Dagster's data lie in {home}; the UI opens at http://{host}:{port}")
    workspace = str(ROOT / "workspace.yaml")
    sys.stdout.flush()
    os.execv(
        sys.executable,
        [sys.executable, "-m", "dagster", "dev", "-w", workspace, "-h", host, "-p", str(port)],
    )


cli_jobs.register(app)
cli_operate.register(app)
app.add_typer(cli_schedules.app, name="schedules")


# --- what commands share ---


def _prepare_ledger(settings: Settings) -> None:
    """Make the ledger's tables in the demo's own file; say what is missing elsewhere."""
    from export_pipeline.demo_run import is_sample
    from export_pipeline.jobs import migrate
    from export_pipeline.orchestration.requesting import ledger_at

    if is_sample(settings.jobs_url) and Path(settings.jobs_url.removeprefix("sqlite:///")).is_file():
        migrate(settings.jobs_url)
    elif ledger_at(settings.jobs_url) is None:
        typer.echo("There is no ledger of requests yet; `export-pipeline migrate` makes its tables.")


def _definitions() -> dg.Definitions:
    _declared()  # a wrong defs.yaml should be said in one line, not by Dagster
    from export_pipeline.orchestration.instance import prepare_home

    prepare_home()
    from export_pipeline.definitions import defs

    return defs()


def _store(settings: Settings) -> Store:
    from export_pipeline.orchestration.resources import store_of

    return store_of(settings).open()


def _key(text: str) -> str:
    """A key that somebody typed, or copied with the store's own URL before it."""
    from export_pipeline.store.keys import check_key

    try:
        return check_key(text)
    except ValueError as error:
        raise UserError(f"{error}; keys look like exports/SCOPE/ID.csv") from None


def _declared() -> dict[str, Dataset]:
    from export_pipeline.components.catalogue import DefsError, datasets

    try:
        return datasets()
    except DefsError as error:
        raise UserError(str(error)) from None


def _dataset(name: str) -> Dataset:
    there = _declared()
    if name not in there:
        raise UserError(f"There is no dataset {name!r}; there are {', '.join(there)}.")
    return there[name]


def _scopes(settings: Settings, dataset: Dataset) -> dict[str, str]:
    """Name by id of a dataset's scopes."""
    from importlib import import_module

    from export_pipeline.orchestration.resources import source_of

    with source_of(settings).snapshot() as snapshot:
        scopes: dict[str, str] = import_module(dataset.source).scopes(snapshot, dataset.spec)
    return scopes


def _formats(dataset: Dataset, text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := ", ".join(repr(name) for name in names if name not in dataset.formats):
        raise UserError(f"{dataset.dataset} has no format {unknown}; it has {', '.join(dataset.formats)}.")
    return names


def _check_scope(settings: Settings, dataset: Dataset, scope: str | None) -> None:
    """Refuse a scope that is not there, one too many, and one that is missing."""
    if not dataset.scoped:
        if scope is not None:
            raise UserError(f"{dataset.dataset} has no scopes; leave --scope out.")
        return
    there = _scopes(settings, dataset)
    known = f"`export-pipeline datasets --scopes {dataset.dataset}` lists the {len(there):,} there are."
    if scope is None:
        raise UserError(f"Say whose rows, with --scope; {known}")
    if scope not in there:
        raise UserError(f"{dataset.dataset} has no scope {scope!r}; {known}")


def _options(dataset: Dataset, given: dict[str, Any]) -> dict[str, Any]:
    from export_pipeline.orchestration.launch_config import OptionError

    try:
        return dataset.typed_options(given)
    except OptionError as error:
        raise UserError(str(error)) from None


def _daemon_took(ledger: Ledger, jobs: list[Job], as_json: bool) -> bool:
    """Wait until a daemon has ended these jobs; False if there is none to take them."""
    import dagster as dg

    from export_pipeline.orchestration.instance import prepare_home
    from export_pipeline.orchestration.requesting import follow

    prepare_home()
    with dg.DagsterInstance.get() as instance, progress_bar(100 * len(jobs), quiet=as_json) as progress:
        return follow(ledger, instance, jobs, progress)


def _say_what_became(settings: Settings, jobs: list[Job], wait: bool, as_json: bool) -> None:
    from export_pipeline.jobs import Status

    rows = [
        {"job": job.id, "format": job.format, "status": str(job.status), "rows": job.row_count,
         "bytes": job.file_size, "key": job.file_key, "error": job.error_message}
        for job in jobs
    ]  # fmt: skip
    if as_json:
        print_json({"jobs": rows})
    else:
        for row in rows:
            typer.echo(f"{row['format']:8}{row['status']:11}{row['job']}  {row['key'] or row['error'] or ''}")
        if wait:
            typer.echo(f"Stored in {_store(settings).url}; `export-pipeline link JOB` links to a file.")
        else:
            typer.echo("`export-pipeline show JOB` says what becomes of it.")
    if wait and any(job.status is not Status.COMPLETED for job in jobs):
        raise typer.Exit(1)


def _request_in_background(settings: Settings, export_id: str) -> Path:
    """The same command, waiting, in a process of its own that outlives this one; gives its log file."""
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


def _file_row(metadata: dict[str, Any]) -> dict[str, Any]:
    return {
        "rows": metadata["dagster/row_count"],
        "bytes": metadata["bytes"],
        "key": metadata["key"],
        "location": metadata["location"],
        "sha256": metadata["sha256"],
    }


if __name__ == "__main__":
    main()
