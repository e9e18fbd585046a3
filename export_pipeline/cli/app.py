"""The command line: `export-pipeline --help` is the manual."""

from __future__ import annotations

import os
from importlib.metadata import version
from shutil import get_terminal_size
from typing import Annotated, Any

import typer
from dotenv import load_dotenv
from typer.exceptions import TyperException

from export_pipeline.cli import (
    backfill,
    datasets,
    deployment,
    files,
    health,
    jobs,
    keys,
    migrate,
    purge,
    request,
    schedules,
    serve,
    webhooks,
)
from export_pipeline.cli.console import NARROW, InterruptedCommandError, UserError, print_error
from export_pipeline.cli.interrupts import interrupted_code
from export_pipeline.jobs import LedgerError
from export_pipeline.jobs.errors import ScheduleError
from export_pipeline.settings import ENV_FILE, SettingsError, load_settings

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown" if get_terminal_size().columns >= NARROW else None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Exports of an application's database as files. Settings come from EXPORT_… variables or a .env "
    "file; without any, everything runs on a sample database and local folders.\n\n"
    "Begin with `export-pipeline demo`, then `export-pipeline datasets`.\n\n"
    "Exit codes: 0 done, 1 not done or something is not right, 2 a wrong call or setting, 130 Ctrl-C, "
    "143 SIGTERM.",
)

_TYPERS_CTRL_C = 130
"""The exit code that typer gives a KeyboardInterrupt."""
_WITHOUT_SETTINGS = {"-h", "--help", "--version"}
_COMPLETION = "_EXPORT_PIPELINE_COMPLETE"
"""Set by the shell's completion, in the middle of a line that is being typed."""


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"export-pipeline {version('export-pipeline')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass  # the help is that of the app


def run(arguments: list[str]) -> int:
    """Run a command and return its exit code."""
    from sqlalchemy.exc import SQLAlchemyError

    from export_pipeline.formats.registry import UnknownFormatError
    from export_pipeline.sources.snapshot import SourceError
    from export_pipeline.store import StoreError

    try:
        if not (_WITHOUT_SETTINGS.intersection(arguments) or _COMPLETION in os.environ):
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
    except SQLAlchemyError as error:  # errors of the source and of the ledger are translated
        print_error(
            f"Dagster's own database cannot be used: {getattr(error, 'orig', None) or error}. Look at the "
            "database of DAGSTER_POSTGRES_URL or, without it, at the disk of DAGSTER_HOME "
            f"({os.environ.get('DAGSTER_HOME')})."
        )
        return 1
    except (KeyboardInterrupt, InterruptedCommandError) as error:
        print_error(str(error) or "Interrupted.")
        return interrupted_code()
    except typer.Abort:  # somebody was asked, and said no
        print_error("Aborted.")
        return 1
    except TyperException as error:
        message = error.format_message().replace("Value error, ", "")
        print_error(f"{message} (`export-pipeline {_command_of(arguments)}--help` shows how)")
        return 2


def _command_of(arguments: list[str]) -> str:
    """Return the command that a line names, with a space after each word; empty if there is none."""
    group: Any = typer.main.get_command(app)
    words = ""
    for word in arguments:
        if (group := getattr(group, "commands", {}).get(word)) is None:
            break
        words += f"{word} "
    return words


for group in (deployment, datasets, request, backfill, files, jobs, migrate, purge, health):
    group.register(app)
app.command()(serve.serve)
app.add_typer(schedules.app, name="schedules")
app.add_typer(keys.app, name="keys")
app.add_typer(webhooks.app, name="webhooks")
