"""The command `backfill`: request the past windows of one scope."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Annotated

import typer

from export_pipeline.cli.completion import complete_format
from export_pipeline.cli.console import UserError, print_json
from export_pipeline.cli.lookups import dataset_of, find_scope, formats_of
from export_pipeline.cli.options import By, DatasetName, Json, ScopeId, caller, ledger_of
from export_pipeline.datasets.backfills import request_backfill
from export_pipeline.datasets.requests import RequestError
from export_pipeline.settings import load_settings


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(backfill)


def backfill(
    dataset: DatasetName,
    cadence: Annotated[str, typer.Option(metavar="CADENCE", help="daily, weekly or monthly.")],
    scope: ScopeId = None,
    first: Annotated[
        datetime | None,
        typer.Option(
            "--from", formats=["%Y-%m-%d"], help="Begin with this window. Default: the dataset's first."
        ),
    ] = None,
    last: Annotated[
        datetime | None,
        typer.Option(
            "--to", formats=["%Y-%m-%d"], help="End with this window. Default: the last that ended."
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT[,FORMAT…]",
            help="Formats of the cadence. Default: all of them.",
            autocompletion=complete_format,
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also windows whose file is there; it is replaced.")
    ] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Request the past days, weeks or months of one scope that have no file yet. The daemon exports them.

    Windows are those of the dataset's cadence, under the names and keys that its schedule makes. Failed ones
    are requested anew. Files under legal hold stay as they are. No mail is sent.

    Example: `export-pipeline backfill records --cadence daily --scope ID --from 2026-01-01 --to 2026-03-31`
    """
    settings = load_settings()
    chosen = dataset_of(dataset)
    formats = formats_of(chosen, format) if format else ()
    scope_id, _ = find_scope(settings, chosen, scope)
    with ledger_of(settings) as ledger:
        try:
            counts = request_backfill(
                ledger,
                chosen,
                settings.timezone,
                cadence=cadence,
                scope=scope_id,
                first=first and first.date(),
                last=last and last.date(),
                formats=formats,
                again=again,
                requested_by=caller(by),
            )
        except RequestError as error:
            raise UserError(str(error)) from None
    if as_json:
        print_json(counts)
        return
    parts = [f"{count:,} {name}" for name, count in dataclasses.asdict(counts).items() if count]
    typer.echo(f"{counts.requested:,} exports are requested ({', '.join(parts)}).")
    if counts.requested:
        typer.echo(f"`export-pipeline jobs --dataset {dataset}` lists them; a running daemon makes them.")
