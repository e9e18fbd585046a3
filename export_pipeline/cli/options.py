"""Helpers of commands about jobs: options, the caller, the ledger."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from typing import Annotated

import typer

from export_pipeline.jobs import Ledger, Viewer
from export_pipeline.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of text for people.")]
JobId = Annotated[str, typer.Argument(help="Id of the job, as `jobs` lists it.")]
By = Annotated[
    str | None, typer.Option(help="Who does it, for the job's record; by default whose shell this is.")
]
ViewerScopes = Annotated[
    list[str] | None,
    typer.Option(
        "--viewer-scope",
        help="Look with the eyes of who may see this scope only (or these); others' jobs do not exist then.",
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
