"""Helpers of commands about jobs: options, the caller, the ledger."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from typing import Annotated

import typer

from export_pipeline.cli.completion import complete_dataset, complete_scope
from export_pipeline.jobs import Ledger, Viewer
from export_pipeline.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of text for people.")]
DatasetName = Annotated[
    str,
    typer.Argument(
        metavar="DATASET", help="What to export; `datasets` lists them.", autocompletion=complete_dataset
    ),
]
OnlyDataset = Annotated[
    str | None,
    typer.Option(metavar="DATASET", help="Only of this dataset.", autocompletion=complete_dataset),
]
ScopeId = Annotated[
    str | None,
    typer.Option(
        metavar="ID|NAME",
        help="Whose rows: an id, or a name that only one has; `datasets --scopes DATASET` lists them.",
        autocompletion=complete_scope,
    ),
]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME[:OPERATOR]=VALUE",
        help="Only rows that match; repeatable. Operators: equals (default), in, from, to, contains, "
        "is_null. `in` takes values with commas between them; a value with a comma in double quotes.",
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A column to export; repeatable, in this order. Default: the usual."),
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option", "-o", metavar="NAME=VALUE", help="An option, e.g. include_drawings=true; repeatable."
    ),
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of the job, as `jobs` lists it.")]
By = Annotated[
    str | None,
    typer.Option(metavar="PERSON", help="Who does it, for the job's record. Default: your login name."),
]
ViewerScopes = Annotated[
    list[str] | None,
    typer.Option(
        "--viewer-scope",
        metavar="ID",
        help="Act as a viewer limited to this scope; repeatable. Jobs of other scopes do not exist then.",
    ),
]


def viewer_of(
    scopes: Sequence[str] | None, *, only: str | None = None, requested_by: str | None = None
) -> Viewer:
    """Return a viewer of these scopes (default: all), optionally limited to one scope or person."""
    seen = list(scopes) if scopes else None
    if only is not None:
        seen = [only] if seen is None or only in seen else []
    return Viewer(seen, requested_by)


def caller(by: str | None) -> str | None:
    """Return the name to record, or None if the system has no login name."""
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user in a container may have no name
        return None


def ledger_of(settings: Settings) -> Ledger:
    """Open the ledger that the settings name. The caller closes it.

    Raises:
        LedgerError: the database cannot hold a ledger.
    """
    return Ledger(settings.jobs_url)
