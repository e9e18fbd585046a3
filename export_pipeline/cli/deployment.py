"""Commands that create and start a deployment: `init`, `demo` and `dev`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from export_pipeline.cli.console import UserError
from export_pipeline.cli.interrupts import run_quietly_ended
from export_pipeline.cli.lookups import declared, load_definitions
from export_pipeline.project import shared_file
from export_pipeline.project.new_project import ProjectError, write_project
from export_pipeline.settings import Settings, load_settings
from export_pipeline.store.file_modes import usual_umask

API_PORT = 8000


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (init, demo, dev):
        app.command()(command)


def init(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder.")]) -> None:
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
    enter = f"cd {shlex.quote(str(folder))}"
    typer.echo(f"Next: {enter}, copy .env.example to .env, then `export-pipeline introspect TABLE --write`")


def demo(
    measurements: Annotated[
        int, typer.Option(metavar="NUMBER", min=0, help="Also make a project with this many measurements.")
    ] = 0,
) -> None:
    """Create the sample database and export every sample dataset in every format; show where the files are.

    Examples: `export-pipeline demo`, `export-pipeline demo --measurements 200000`
    """
    from export_pipeline.cli.demo import run_demo

    with _links_to(f"http://127.0.0.1:{API_PORT}"):  # where `dev` will serve the files
        succeeded = run_demo(load_settings(), declared(), load_definitions, measurements)
    if not succeeded:
        raise typer.Exit(1)


def dev(
    port: Annotated[int, typer.Option(metavar="NUMBER", min=1, max=65_535, help="Port of the UI.")] = 3000,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where it listens; it has no login, so keep it local.")
    ] = "127.0.0.1",
    api_port: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, max=65_535, help="Port of the HTTP service.")
    ] = API_PORT,
) -> None:
    """Start Dagster's UI and daemon on this project, and the HTTP service beside them.

    With another port than 3000 also set EXPORT_UI_URL, for all commands: `show` prints links to the UI there.

    Example: `EXPORT_UI_URL=http://127.0.0.1:3001 export-pipeline dev --port 3001`
    """
    from export_pipeline.orchestration.instance import prepare_home

    settings = load_settings()
    _check_free(host, port, "--port")
    _prepare_ledger(settings)
    home = prepare_home()
    typer.echo(f"Dagster's data is in {home}; the UI opens at http://{host}:{port}")
    links = urlsplit(settings.ui_url)
    if links.hostname in (host, "127.0.0.1", "localhost") and links.port != port:
        typer.echo(f"`show` links to {settings.ui_url}; set EXPORT_UI_URL=http://{host}:{port} to link here.")
    if Path("dagster.yaml").is_file() and home != Path.cwd():
        typer.echo("Dagster warns about an unused dagster.yaml; that is expected.")
    workspace = str(shared_file("workspace.yaml"))
    sys.stdout.flush()
    quiet = ["--log-level", "warning"]  # else each tick of each sensor is a line
    calm = ["-W", "ignore::FutureWarning"]  # Dagster's advice to write `dg dev`
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # as in deploy/: memory of ended work goes back
    listening = ["-h", host, "-p", str(port)]
    with _http_service(settings, api_port), _links_to(f"http://127.0.0.1:{api_port}"):
        run_quietly_ended(
            [sys.executable, *calm, "-m", "dagster", "dev", "-w", workspace, *listening, *quiet]
        )


@contextmanager
def _http_service(settings: Settings, port: int) -> Iterator[None]:
    """Run the HTTP service beside a block, if there is a ledger."""
    import subprocess

    from export_pipeline.orchestration.runs.submit import ledger_at

    if ledger_at(settings.jobs_url) is None:
        yield
        return
    _check_free("127.0.0.1", port, "--api-port")
    _make_first_key(settings)
    command = [sys.executable, "-m", "export_pipeline.cli", "serve", "--port", str(port)]
    # In a session of its own: Ctrl-C reaches this process alone, which ends it.
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            yield
        finally:
            process.terminate()


@contextmanager
def _links_to(api_url: str) -> Iterator[None]:
    """Let runs of a block link their files to this address, unless EXPORT_API_URL is set."""
    if load_settings().api_url is not None:
        yield
        return
    os.environ["EXPORT_API_URL"] = api_url
    try:
        yield
    finally:
        del os.environ["EXPORT_API_URL"]


def _make_first_key(settings: Settings) -> None:
    """Make a key for the HTTP service of the sample deployment, and show it, if there is none yet."""
    from export_pipeline.cli.demo import is_sample
    from export_pipeline.jobs.api_keys import create_key, list_keys
    from export_pipeline.jobs.database import opened_engine
    from export_pipeline.rights import RIGHTS

    if not is_sample(settings.jobs_url):
        return
    with opened_engine(settings.jobs_url) as engine:
        if not list_keys(engine):
            _, token = create_key(engine, "development", RIGHTS)
            typer.echo(f"A key for the HTTP service, shown once: {token}")


def _check_free(host: str, port: int, option: str) -> None:
    """Refuse a port that is taken: the daemon would run without a UI, often as a second one."""
    import socket

    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex((host, port)) == 0:
            raise UserError(
                f"Something listens on {host}:{port} already; end it if it is another `export-pipeline dev`, "
                f"else choose another port: {option} {port + 1}."
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
