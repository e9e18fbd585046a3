"""Commands about what can be exported: `formats`, `datasets` and `introspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from export_pipeline.cli.completion import complete_dataset
from export_pipeline.cli.console import UserError, print_json, print_table
from export_pipeline.cli.jobs_view import print_lines
from export_pipeline.cli.lookups import dataset_of, declared, scopes_of
from export_pipeline.cli.options import Json
from export_pipeline.cli.output import DatasetOutput, FormatOutput, ScopeOutput, fields_of
from export_pipeline.project import defs_folder
from export_pipeline.settings import load_settings
from export_pipeline.store.file_modes import usual_umask


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (formats, datasets, introspect):
        app.command()(command)


def formats(as_json: Json = False) -> None:
    """List the file formats.

    Example: `export-pipeline formats`
    """
    from export_pipeline.formats.registry import FORMATS

    rows = [FormatOutput(f.name, f.extension, f.media_type, f.help) for f in FORMATS.values()]
    print_json(rows) if as_json else print_table(list(map(fields_of, rows)))


def datasets(
    scopes: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET",
            help="List this dataset with its scopes: the ids and names of those whose rows can be exported.",
            autocompletion=complete_dataset,
        ),
    ] = None,
    write_docs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Write a Markdown page about all datasets: columns, filters, presets, regular exports.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the datasets, or the scopes of one.

    Examples: `export-pipeline datasets`, `export-pipeline datasets --scopes takeoff`,
    `export-pipeline datasets --write-docs datasets.md`
    """
    from export_pipeline.orchestration.partitions import ON_DEMAND

    if write_docs is not None:
        _write_docs(write_docs)
        return
    chosen = [dataset_of(scopes)] if scopes else list(declared().values())
    there = scopes_of(load_settings(), chosen[0]) if scopes and chosen[0].scoped else {}
    listed = [ScopeOutput(id, name) for id, name in there.items()] if scopes else None
    rows = [
        DatasetOutput(
            dataset=dataset.dataset,
            description=dataset.attributes.description,
            formats=list(dataset.formats),
            cadences=[ON_DEMAND, *dataset.attributes.cadences.named()],
            scopes=listed,
        )
        for dataset in chosen
    ]
    if as_json:
        print_json(rows)
    elif scopes and not chosen[0].scoped:
        typer.echo(f"{scopes} has no scopes: export it without --scope.")
    elif listed is not None:
        print_lines(list(map(fields_of, listed)))  # an id that is wrapped cannot be copied
    else:
        print_table([{k: v for k, v in fields_of(row).items() if k != "scopes"} for row in rows])


def _write_docs(file: Path) -> None:
    from export_pipeline.datasets.markdown import page

    text = page(declared().values(), load_settings().timezone)
    try:
        with usual_umask():  # for the team, not for the service's user alone
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"--write-docs {file}: {error.strerror}; name a file in a folder that exists."
        ) from None
    typer.echo(f"Wrote {file}")


def introspect(
    table: Annotated[
        str,
        typer.Argument(metavar="TABLE", help="Table or view of the source; schema.table where needed."),
    ],
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the dataset. Default: made from the table's."),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write it into the folder of datasets; an existing one stays.")
    ] = False,
) -> None:
    """Write a working defs.yaml for a table, from the live schema: types, key, relations, filters, window.

    Examples: `export-pipeline introspect orders`, `export-pipeline introspect sales.orders --write`
    """
    from export_pipeline.datasets.table import DefsYamlError, check_yaml
    from export_pipeline.sources.introspection.introspect import introspect as inspect_table

    settings = load_settings()
    introspected = inspect_table(
        settings.source_url, table, dataset=name, statement_timeout=settings.statement_timeout_seconds
    )
    try:
        check_yaml(introspected.yaml)
    except DefsYamlError as error:
        raise UserError(str(error)) from None
    if not write:
        typer.echo(introspected.yaml, nl=False)
        return
    path = defs_folder() / introspected.dataset / "defs.yaml"
    if path.parent.exists():
        raise UserError(
            f"There is a dataset {introspected.dataset} already, in {path.parent}; choose a --name."
        )
    with usual_umask():  # the service's user may be another one
        path.parent.mkdir(parents=True)
        path.write_text(introspected.yaml, encoding="utf-8")
    typer.echo(f"Wrote {path}")
    typer.echo(f"Export it: export-pipeline request {introspected.dataset} --format csv,excel")
