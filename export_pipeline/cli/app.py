"""The command line: `export-pipeline --help` is the manual."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from dotenv import load_dotenv
from typer.exceptions import TyperException

from export_pipeline.cli import jobs, operate, request, schedules
from export_pipeline.cli.console import (
    InterruptedCommandError,
    UserError,
    print_error,
    print_facts,
    print_json,
    print_table,
)
from export_pipeline.cli.datasets import (
    checked_key,
    dataset_of,
    declared,
    load_definitions,
    scopes_of,
    store_at,
)
from export_pipeline.cli.interrupts import interrupted_code, run_quietly_ended
from export_pipeline.cli.options import ViewerScopes, caller, viewer_of
from export_pipeline.jobs import LedgerError
from export_pipeline.jobs.errors import ScheduleError
from export_pipeline.project import ProjectError, shared_file, write_project
from export_pipeline.settings import ENV_FILE, Settings, SettingsError, load_settings
from export_pipeline.store.file_modes import usual_umask

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Exports of an application's database as files. Settings come from EXPORT_… variables or a .env "
    "file; without any, everything runs on a sample database and local folders.\n\n"
    "Begin with `export-pipeline demo`, then `export-pipeline datasets`.\n\n"
    "Exit codes: 0 done, 1 an export or a file is not right, 2 a wrong call or setting, 130 Ctrl-C.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of text for people.")]


_TYPERS_CTRL_C = 130
"""The exit code that typer gives a KeyboardInterrupt."""


def run(arguments: list[str]) -> int:
    """Run a command and return its exit code."""
    from export_pipeline.formats.registry import UnknownFormatError
    from export_pipeline.sources.snapshot import SourceError
    from export_pipeline.store import StoreError

    try:
        if not {"-h", "--help"}.intersection(arguments):
            load_settings()  # a wrong one is said at once, also where a command would not need it
            load_dotenv(ENV_FILE)  # for DAGSTER_… and AWS_… too; what is set already stays
        code = app(arguments, standalone_mode=False) or 0
        if code == _TYPERS_CTRL_C:
            raise KeyboardInterrupt
        return int(code)
    except UserError as error:
        for line in error.args:
            print_error(line)
        return 2
    except (UnknownFormatError, SettingsError, ScheduleError) as error:
        print_error(str(error))
        return 2
    except (SourceError, StoreError, LedgerError) as error:
        print_error(str(error))
        return 1
    except (KeyboardInterrupt, InterruptedCommandError) as error:
        print_error(str(error) or "Interrupted.")
        return interrupted_code()
    except typer.Abort:  # somebody was asked, and said no
        print_error("Aborted.")
        return 1
    except TyperException as error:
        known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
        about = f"{arguments[0]} " if arguments[0] in known else ""
        print_error(f"{error.format_message()} (`export-pipeline {about}--help` shows how)")
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
        there = scopes_of(load_settings(), dataset_of(scopes))
        rows: list[dict[str, Any]] = [{"scope": id, "name": name} for id, name in there.items()]
    else:
        rows = [
            {
                "dataset": dataset.dataset,
                "description": dataset.attributes.description,
                "formats": list(dataset.formats),
                "cadences": [ON_DEMAND, *dataset.attributes.cadences.named()],
            }
            for dataset in declared().values()
        ]
    print_json(rows) if as_json else print_table(rows)


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
    job = jobs.job_with_file(settings, file, viewer_of(viewer_scope), caller(None))
    if job is None:
        url = store_at(settings).link(checked_key(file), expires_seconds=seconds)
    else:
        seconds = min(seconds, jobs.seconds_left(job))
        url = store_at(settings).link(job.file_key or "", expires_seconds=seconds, file_name=job.file_name)
    print_json({"link": url}) if as_json else typer.echo(url)


@app.command()
def verify(
    file: Annotated[
        str, typer.Argument(help="Id of a job, key of an export file in the store, or a local file.")
    ],
    as_json: Json = False,
) -> None:
    """Check a file against its manifest (size, SHA-256) and read it again: rows, totals, the format's rules.

    Examples: `export-pipeline verify exports/SCOPE/ID.xlsx`, `export-pipeline verify ./download.xml`
    """
    from export_pipeline.verify import verify as check

    settings = load_settings()
    if not Path(file).is_file():
        file = checked_key(jobs.key_of(settings, file))
    report = check(store_at(settings), file)
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
    from export_pipeline.cli.introspection import run_introspect

    run_introspect(load_settings(), table, name=name, write=write)


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="A new or empty folder.")]) -> None:
    """Write a project of your own: a folder for datasets and settings that uses the installed package.

    Example: `export-pipeline init my-exports`
    """
    try:
        with usual_umask():  # the service's user may be another one
            files = write_project(folder)
    except ProjectError as error:
        raise UserError(str(error)) from None
    for file in files:
        typer.echo(f"Wrote {file}")
    typer.echo(
        f"Next: cd {folder}, copy .env.example to .env, then `export-pipeline introspect TABLE --write`"
    )


@app.command()
def demo(
    measurements: Annotated[
        int, typer.Option(min=0, help="Also make a project with this many measurements.")
    ] = 0,
) -> None:
    """Make the sample database and export every sample dataset in every format; shows where the files lie.

    Examples: `export-pipeline demo`, `export-pipeline demo --measurements 200000`
    """
    from export_pipeline.cli.demo import run_demo

    if not run_demo(load_settings(), declared(), load_definitions, measurements):
        raise typer.Exit(1)


@app.command()
def dev(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    host: Annotated[
        str, typer.Option(help="Address it listens on; it has no login, so keep it local.")
    ] = "127.0.0.1",
) -> None:
    """Start Dagster's UI and daemon on this project.

    With another port than 3000 also set EXPORT_UI_URL, for all commands: `show` prints links to the UI there.

    Example: `EXPORT_UI_URL=http://127.0.0.1:3001 export-pipeline dev --port 3001`
    """
    from export_pipeline.orchestration.instance import prepare_home

    settings = load_settings()
    _check_free(host, port)
    _prepare_ledger(settings)
    home = prepare_home()
    typer.echo(f"Dagster's data lie in {home}; the UI opens at http://{host}:{port}")
    links = urlsplit(settings.ui_url)
    if links.hostname in (host, "127.0.0.1", "localhost") and links.port != port:
        typer.echo(f"`show` links to {settings.ui_url}; set EXPORT_UI_URL=http://{host}:{port} to link here.")
    if Path("dagster.yaml").is_file() and home != Path.cwd():
        typer.echo("Dagster's warning about a dagster.yaml that is not used is as it should be.")
    workspace = str(shared_file("workspace.yaml"))
    sys.stdout.flush()
    quiet = ["--log-level", "warning"]  # else each tick of each sensor is a line
    calm = ["-W", "ignore::FutureWarning"]  # Dagster's advice to write `dg dev`
    run_quietly_ended(
        [sys.executable, *calm, "-m", "dagster", "dev", "-w", workspace, "-h", host, "-p", str(port), *quiet]
    )


request.register(app)
jobs.register(app)
operate.register(app)
app.add_typer(schedules.app, name="schedules")


# --- what commands share ---


def _check_free(host: str, port: int) -> None:
    """Refuse a port that is taken: the daemon would run without a UI, often as a second one."""
    import socket

    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex((host, port)) == 0:
            raise UserError(
                f"Something listens on {host}:{port} already; end it if it is another `export-pipeline dev`, "
                f"else choose another port: --port {port + 1}."
            )


def _prepare_ledger(settings: Settings) -> None:
    """Make the ledger's tables in the demo's own file; say what is missing elsewhere."""
    from export_pipeline.cli.demo import is_sample
    from export_pipeline.database_url import parse_database_url, sqlite_file
    from export_pipeline.jobs import migrate
    from export_pipeline.orchestration.runs.submit import ledger_at

    file = sqlite_file(parse_database_url(settings.jobs_url))
    if is_sample(settings.jobs_url) and file is not None and file.is_file():
        migrate(settings.jobs_url)
    elif ledger_at(settings.jobs_url) is None:
        typer.echo("There is no ledger of requests yet; `export-pipeline migrate` makes its tables.")
