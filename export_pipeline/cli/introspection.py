"""The command `introspect`: print the defs.yaml of a table, or write it into the folder of datasets."""

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
        settings: The database of `source_url` is only read.
        table: Table or view, as `schema.table` if needed.
        name: Name of the dataset; derived from the table's name by default.
        write: True to write it into the folder of datasets. Existing files are not overwritten.

    Returns:
        The file that was written, or None.

    Raises:
        UserError: the name is not valid for a dataset, or is taken.
        SourceError: the database cannot be read or has no such table.
    """
    from export_pipeline.sources.introspection.introspect import introspect

    found = introspect(
        settings.source_url, table, dataset=name, statement_timeout=settings.statement_timeout_seconds
    )
    check_yaml(found.yaml)
    if not write:
        typer.echo(found.yaml, nl=False)
        return None
    path = defs_folder() / found.dataset / "defs.yaml"
    if path.parent.exists():
        raise UserError(f"There is a dataset {found.dataset} already, in {path.parent}; choose a --name.")
    with usual_umask():  # the service may run as another user
        path.parent.mkdir(parents=True)
        path.write_text(found.yaml, encoding="utf-8")
    typer.echo(f"Wrote {path}")
    typer.echo(f"Export it: export-pipeline request {found.dataset} --format csv,excel")
    return path


def check_yaml(text: str) -> None:
    """Load a defs.yaml as Dagster would, so that no invalid file is written.

    Raises:
        UserError: it does not load. The message is one line.
    """
    import yaml  # type: ignore[import-untyped]
    from pydantic import ValidationError

    from export_pipeline.components.table_export import TableModel
    from export_pipeline.core.plain_errors import plain

    try:
        TableModel.model_validate(yaml.safe_load(text)["attributes"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{place}: {plain(first)}") from None
