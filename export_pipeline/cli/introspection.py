"""`export-pipeline introspect`: print the defs.yaml of a table, or put it where datasets are declared."""

from __future__ import annotations

from pathlib import Path

import typer

from export_pipeline.cli.console import UserError
from export_pipeline.project import defs_folder
from export_pipeline.settings import Settings
from export_pipeline.store.file_modes import usual_umask


def run_introspect(
    settings: Settings, table: str, *, name: str | None = None, write: bool = False
) -> Path | None:
    """Print a working defs.yaml for a table of `source_url`, or write it.

    Args:
        settings: `source_url` is looked at and only read.
        table: Table or view, `schema.table` where it needs that.
        name: The dataset's name; by default made from the table's.
        write: Put it into the folder of datasets; what is there already stays.

    Returns:
        The file that was written, if one was.

    Raises:
        UserError: the name is no dataset's, or is taken.
        SourceError: the database cannot be read or has no such table.
    """
    from export_pipeline.components.table_model import DefsYamlError, check_yaml
    from export_pipeline.sources.introspection.introspect import introspect

    found = introspect(
        settings.source_url, table, dataset=name, statement_timeout=settings.statement_timeout_seconds
    )
    try:
        check_yaml(found.yaml)
    except DefsYamlError as error:
        raise UserError(str(error)) from None
    if not write:
        typer.echo(found.yaml, nl=False)
        return None
    path = defs_folder() / found.dataset / "defs.yaml"
    if path.parent.exists():
        raise UserError(f"There is a dataset {found.dataset} already, in {path.parent}; choose a --name.")
    with usual_umask():  # the service's user may be another one
        path.parent.mkdir(parents=True)
        path.write_text(found.yaml, encoding="utf-8")
    typer.echo(f"Wrote {path}")
    typer.echo(f"Export it: export-pipeline request {found.dataset} --format csv,excel")
    return path
