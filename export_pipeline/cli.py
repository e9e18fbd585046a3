"""The command line: `export-pipeline --help` is the manual."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from export_pipeline.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    import dagster as dg

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Exports of an application's database as files. Settings come from EXPORT_… variables or a .env file; "
    "without any, everything runs on a sample database and local folders.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of text for people.")]


class UserError(Exception):
    """Something the person at the keyboard can mend; printed as one line, exit code 1."""


def main() -> None:
    """Entry point: 0 for success, 1 for an export or file that is not right, 2 for a wrong call or setting."""
    from export_pipeline.formats.registry import UnknownFormatError
    from export_pipeline.sources.snapshot import SourceError
    from export_pipeline.store import StoreError

    try:
        app()
    except SettingsError as error:
        _fail(str(error), 2)
    except (UserError, SourceError, StoreError, UnknownFormatError) as error:
        _fail(str(error), 1)


def _fail(message: str, code: int) -> NoReturn:
    typer.secho(f"Error: {message}", fg="red", err=True)
    raise SystemExit(code)


@app.command()
def formats(as_json: Json = False) -> None:
    """List the formats there are."""
    from export_pipeline.formats.registry import FORMATS

    rows = [
        {"format": f.name, "extension": f.extension, "type": f.media_type, "help": f.help}
        for f in FORMATS.values()
    ]
    _print(rows, as_json)


@app.command()
def datasets(
    scopes: Annotated[str | None, typer.Option(help="List the scopes of this dataset instead.")] = None,
    as_json: Json = False,
) -> None:
    """List what can be exported, or whose rows: `export-pipeline datasets --scopes takeoff`."""
    if scopes:
        from export_pipeline.orchestration.resources import source_of

        with source_of(load_settings()).snapshot() as snapshot:
            names = _source_module(scopes).scopes(snapshot)
        _print([{"scope": id, "name": name} for id, name in names.items()], as_json)
        return
    found: dict[str, dict[str, Any]] = {}
    for key in _definitions().resolve_all_asset_keys():
        dataset, cadence, format = key.path
        row = found.setdefault(dataset, {"dataset": dataset, "cadences": [], "formats": []})
        for name, value in (("cadences", cadence), ("formats", format)):
            if value not in row[name]:
                row[name].append(value)
    _print(list(found.values()), as_json)


@app.command()
def request(
    dataset: Annotated[str, typer.Argument(help="What to export, e.g. takeoff.")],
    scope: Annotated[str, typer.Option(help="Whose rows: an id that `datasets --scopes` lists.")],
    format: Annotated[str, typer.Option(help="One or more of the formats, with commas.")] = "csv",
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="NAME=VALUE, e.g. include_drawings=true.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Stay until the files are there, and show progress.")] = True,
    as_json: Json = False,
) -> None:
    """Export one scope now.

    Example: `export-pipeline request takeoff --scope 6f9619ff-… --format csv,pdf -o group_by=page`
    """
    from export_pipeline.formats.registry import format_named

    names = [format_named(name.strip()).name for name in format.split(",")]
    options = dict(_option(text) for text in option or [])
    if not wait:
        _print([{"export_id": _request_in_background(sys.argv[1:])}], as_json)
        return
    outcome = _run(dataset, scope, names, options, quiet=as_json)
    rows = [{"format": name, **_file_row(metadata)} for name, metadata in outcome.files.items()]
    if as_json:
        typer.echo(json.dumps({"export_id": outcome.export_id, "run_id": outcome.run_id, "files": rows,
                               "errors": outcome.errors}, default=str))  # fmt: skip
    else:
        _print(rows, False)
        for error in outcome.errors:
            typer.secho(error, fg="red", err=True)
    if outcome.errors:
        raise typer.Exit(1)


@app.command()
def link(
    key: Annotated[str, typer.Argument(help="Key of an export file, as `request` and Dagster show it.")],
    expires: Annotated[int | None, typer.Option(help="Seconds the link works; default: the setting.")] = None,
    as_json: Json = False,
) -> None:
    """Sign a download link for an export file. Links are made anew at each call and never stored."""
    from export_pipeline.orchestration.resources import store_of

    settings = load_settings()
    url = store_of(settings).open().link(key, expires_seconds=expires or settings.link_ttl_seconds)
    typer.echo(json.dumps({"link": url}) if as_json else url)


@app.command()
def verify(
    file: Annotated[str, typer.Argument(help="Key of an export file in the store, or a local file.")],
    as_json: Json = False,
) -> None:
    """Check a file against its manifest (size, SHA-256) and read it again: rows, totals, the format's own rules."""
    from export_pipeline.orchestration.resources import store_of
    from export_pipeline.verify import verify as check

    report = check(store_of(load_settings()).open(), file)
    _print([report], as_json)
    if report["problems"]:
        raise typer.Exit(1)


@app.command()
def demo(
    measurements: Annotated[int, typer.Option(help="Also make a project with this many measurements.")] = 0,
) -> None:
    """Make the sample database and export every sample project in every format; shows where the files lie."""
    from export_pipeline.demo_run import run_demo

    if not run_demo(load_settings(), _definitions, measurements):
        raise typer.Exit(1)


@app.command()
def dev(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    host: Annotated[
        str, typer.Option(help="Address it listens on; it has no login, so keep it local.")
    ] = "127.0.0.1",
) -> None:
    """Start Dagster's UI and daemon on this project."""
    from export_pipeline.orchestration.instance import ROOT, prepare_home

    load_settings()  # a wrong setting should be said here, not by a child process
    home = prepare_home()
    typer.echo(f"Dagster's data lie in {home}; the UI opens at http://{host}:{port}")
    command = [
        sys.executable,
        "-m",
        "dagster",
        "dev",
        "-w",
        str(ROOT / "workspace.yaml"),
        "-h",
        host,
        "-p",
        str(port),
    ]
    os.execv(command[0], command)


# --- helpers ---


def _definitions() -> dg.Definitions:
    from export_pipeline.orchestration.instance import prepare_home

    prepare_home()
    from export_pipeline.definitions import defs

    return defs()


def _source_module(dataset: str) -> Any:
    """The module that reads a dataset's application, from its defs.yaml."""
    from importlib import import_module

    import yaml

    path = Path(__file__).parent / "defs" / dataset / "defs.yaml"
    if not path.is_file():
        known = ", ".join(sorted(found.parent.name for found in path.parents[1].glob("*/defs.yaml")))
        raise UserError(f"There is no dataset {dataset!r}; there are {known}.")
    return import_module(yaml.safe_load(path.read_text())["attributes"]["source"])


def _run(dataset: str, scope: str, formats: list[str], options: dict[str, Any], quiet: bool) -> Any:
    from dagster import DagsterInvalidConfigError
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from export_pipeline.orchestration.running import run_export

    definitions = _definitions()
    columns = (
        SpinnerColumn(),
        *Progress.get_default_columns()[1:3],
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, disable=quiet or not sys.stderr.isatty(), transient=True) as bars:
        bar = bars.add_task("Starting", total=len(formats) + 3)
        try:
            return run_export(
                definitions, dataset=dataset, scope=scope, formats=formats, options=options,
                progress=lambda said, done, steps: bars.update(bar, description=said, completed=done),
            )  # fmt: skip
        except DagsterInvalidConfigError as error:
            raise UserError(f"Wrong options: {'; '.join(e.message for e in error.errors)}") from error


def _request_in_background(arguments: list[str]) -> int:
    """The same command, waiting, in a process of its own that outlives this one."""
    kept = [argument for argument in arguments if argument not in ("--no-wait",)]
    child = subprocess.Popen(
        [sys.executable, "-m", "export_pipeline.cli", *kept],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    return child.pid


def _option(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value as JSON where it is JSON, else as text; a,b for lists of ids."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--option {text}: write it as NAME=VALUE.")
    if name in ("condition_ids", "page_ids"):
        return name, [id for id in value.split(",") if id]
    try:
        parsed = json.loads(value.lower() if value.lower() in ("true", "false") else value)
    except ValueError:
        parsed = value
    return name, parsed


def _file_row(metadata: dict[str, Any]) -> dict[str, Any]:
    return {
        "rows": metadata.get("dagster/row_count"),
        "bytes": metadata.get("bytes"),
        "key": metadata.get("key"),
        "where": metadata.get("location"),
        "sha256": metadata.get("sha256"),
    }


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows, default=str, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    if not rows:
        typer.echo("Nothing.")
        return
    table = Table()
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    Console().print(table)


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


if __name__ == "__main__":
    main()
