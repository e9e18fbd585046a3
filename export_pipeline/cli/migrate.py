"""The command `migrate`: creates the ledger's tables, or brings them up to date."""

from __future__ import annotations

import typer

from export_pipeline.cli.console import print_json
from export_pipeline.cli.options import Json
from export_pipeline.cli.output import MigrateOutput
from export_pipeline.database_url import parse_database_url
from export_pipeline.jobs import migrate as migrate_ledger
from export_pipeline.redaction import hide_credentials
from export_pipeline.settings import load_settings


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(migrate)


def migrate(as_json: Json = False) -> None:
    """Create the ledger's tables, or bring them up to date. It is safe to run twice, and at any time.

    Example: `export-pipeline migrate`
    """
    settings = load_settings()
    done = migrate_ledger(settings.jobs_url)
    where = hide_credentials(parse_database_url(settings.jobs_url).render_as_string(hide_password=True))
    if as_json:
        print_json(MigrateOutput(where, done))
    else:
        typer.echo(f"The tables of requests in {where} {'are' if done == 'up to date' else 'were'} {done}.")
