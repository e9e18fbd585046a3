"""Commands about what can be exported: `formats`, `datasets` and `introspect`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from export_pipeline.cli.console import UserError, print_json, print_table
from export_pipeline.cli.datasets import dataset_of, declared, scopes_of
from export_pipeline.cli.options import Json
from export_pipeline.project import defs_folder
from export_pipeline.settings import load_settings
from export_pipeline.store.file_modes import usual_umask


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (formats, datasets, introspect):
        app.command()(command)


def formats(as_json: Json = False) -> None:
    """List the formats there are.

    Example: `export-pipeline formats`
    """
    from export_pipeline.formats.registry import FORMATS

    rows = [
        {"format": f.name, "extension": f.extension, "type": f.media_type, "help": f.help}
        for f in FORMATS.values()
    ]
    print_json(rows) if as_json else print_table(rows)


def datasets(
    scopes: Annotated[str | None, typer.Option(help="List the scopes of this dataset instead.")] = None,
    as_json: Json = False,
) -> None:
    """List what can be exported, or whose rows.

    Examples: `export-pipeline datasets`, `export-pipeline datasets --scopes takeoff`
    """
    from export_pipeline.orchestration.partitions import ON_DEMAND

    if scopes:
        there = scopes_of(load_settings(), dataset_of(scopes))
        rows: list[dict[str, Any]] = [{"scope": id, "name": name} for id, name in there.items()]
    else:
        rows = [
            {
                "dataset": dataset.dataset,
                "description": dataset.attributes.description,
                "formats": list(dataset.formats),
                "cadences": [ON_DEMAND, *dataset.attributes.cadences.named()],
            }
            for dataset in declared().values()
        ]
    print_json(rows) if as_json else print_table(rows)


def introspect(
    table: Annotated[
        str, typer.Argument(help="Table or view of the source; schema.table where it needs that.")
    ],
    name: Annotated[
        str | None, typer.Option(help="What to call the dataset; by default like the table.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write it into the folder of datasets; never over one.")
    ] = False,
) -> None:
    """Write a working defs.yaml for a table, from the live schema: types, key, relations, filters, window.

    Examples: `export-pipeline introspect orders`, `export-pipeline introspect sales.orders --write`
    """
    from export_pipeline.datasets.table import DefsYamlError, check_yaml
    from export_pipeline.sources.introspection.introspect import introspect as inspect_table

    settings = load_settings()
    found = inspect_table(
        settings.source_url, table, dataset=name, statement_timeout=settings.statement_timeout_seconds
    )
    try:
        check_yaml(found.yaml)
    except DefsYamlError as error:
        raise UserError(str(error)) from None
    if not write:
        typer.echo(found.yaml, nl=False)
        return
    path = defs_folder() / found.dataset / "defs.yaml"
    if path.parent.exists():
        raise UserError(f"There is a dataset {found.dataset} already, in {path.parent}; choose a --name.")
    with usual_umask():  # the service's user may be another one
        path.parent.mkdir(parents=True)
        path.write_text(found.yaml, encoding="utf-8")
    typer.echo(f"Wrote {path}")
    typer.echo(f"Export it: export-pipeline request {found.dataset} --format csv,excel")
