"""What commands about jobs share: options, who calls, the ledger."""

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
    """Who looks: at the scopes given, or all; of them at `only` one, and one person's jobs."""
    seen = list(scopes) if scopes else None
    if only is not None:
        seen = [only] if seen is None or only in seen else []
    return Viewer(seen, requested_by)


def caller(by: str | None) -> str | None:
    """A name for the record; None where the system knows none."""
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return None


def ledger_of(settings: Settings) -> Ledger:
    """The ledger that the settings name; to be closed.

    Raises:
        LedgerError: no ledger can be kept there.
    """
    return Ledger(settings.jobs_url)
