"""The four stages of an export as Dagster ops: fetch, build, sanitize, render.

What passes between them is ExportData in staging (see io_managers); a re-execution from failure repeats only
the op that failed. A rendered file is read back and compared with what the database itself counted and added
before it is published, so a file that does not hold is never visible.
"""

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg

from export_pipeline.formats.base import FileFacts, Format, Rendered
from export_pipeline.formats.options import FormatOptions
from export_pipeline.formats.registry import FORMATS
from export_pipeline.model.export_data import ExportData
from export_pipeline.model.layout import Layout
from export_pipeline.model.sanitize import sanitize as sanitize_data
from export_pipeline.model.tables import Table
from export_pipeline.orchestration.checks import evaluate
from export_pipeline.orchestration.export_file import ExportFile
from export_pipeline.orchestration.faults import told
from export_pipeline.orchestration.io_managers import StagingIOManager
from export_pipeline.orchestration.launch_config import parse_options
from export_pipeline.orchestration.partitions import chosen_scope
from export_pipeline.store.keys import request_key, window_key
from export_pipeline.store.names import safe_file_name

PREVIEW_ROWS = 10


@dg.op(
    ins={"application": dg.In(dg.Nothing, description="The application's own tables")},
    out=dg.Out(io_manager_key="staging", description="Rows as the source holds them"),
    config_schema={
        "source": dg.Field(str, description="Module that reads the application's tables."),
        "model": dg.Field(str, description="Module that knows the shape of the export."),
        "spec": dg.Field(dg.Permissive(), description="What the defs.yaml says of the shape."),
        "dataset": dg.Field(str, description="Name of the dataset."),
        "scoped": dg.Field(bool, description="Whether its rows belong to scopes."),
        "options": dg.Field(dict, description="What is to be exported."),
    },
    required_resource_keys={"source"},
    tags={"kind": "sqlalchemy"},
)
def fetch_project(context: dg.OpExecutionContext) -> Iterator[dg.Output[ExportData]]:
    """Read the project's rows in one consistent, read-only snapshot and spool them as Arrow batches."""
    source, model = (import_module(context.op_config[name]) for name in ("source", "model"))
    with told(context.retry_number):
        options, format_options = parse_options(context.op_config["options"], model.Options, FormatOptions)
        scope, window = chosen_scope(context)
        as_of = window.end.astimezone(UTC) if window else None
        with context.resources.source.snapshot() as snapshot:
            data = source.read(snapshot, scope, options, as_of)
            data = replace(data, options={**data.options, **format_options.model_dump()})
            context.log.info(f"Reading {data.source_rows:,} rows of {data.title!r}.")
            # The snapshot stays open while the IO manager reads the rows into staging.
            yield dg.Output(
                data, metadata={"rows": data.source_rows, "snapshot": data.snapshot_at.isoformat()}
            )


@dg.op(out=dg.Out(io_manager_key="staging", description="The export, with totals and costs"))
def build_export_data(data: ExportData) -> ExportData:
    """Compute the export from the fetched rows: joins, totals and costs of exactly these rows."""
    built: ExportData = import_module(data.model).build(data)
    return built


@dg.op(out=dg.Out(io_manager_key="staging", description="The export, without characters that break files"))
def sanitize(data: ExportData) -> ExportData:
    """Replace what no file format may hold, and count it."""
    return sanitize_data(data)


def render_op(format: Format) -> dg.OpDefinition:
    """The op that renders one format, proves the file and hands it to the store."""

    @dg.op(
        name=f"render_{format.name}",
        out={
            "file": dg.Out(ExportFile, io_manager_key="export_store", description=format.help),
            "rows": dg.Out(dg.Nothing, is_required=False),
            "totals": dg.Out(dg.Nothing, is_required=False),
        },
        description=f"Render {format.name}, read the file back, compare it with the source and publish it.",
        tags={"kind": format.name},
        required_resource_keys={"staging"},
    )
    def render(context: dg.OpExecutionContext, data: ExportData) -> Iterator[Any]:
        with told(context.retry_number):
            path = _new_file(context, format)
            layout: Layout = import_module(data.model).layout(data)
            started = time.monotonic()
            rendered = _rendered(format, layout, data, path)
            seconds = time.monotonic() - started
            said = f"Rendered {rendered.rows:,} rows as {format.name} in {seconds:.2f} s; reading it back."
            context.log.info(said)
            facts = format.read_back(path)
            asset_key = context.asset_key_for_output("file")
            results = list(evaluate(asset_key, layout.proofs[format.name], rendered, facts))
            yield from results
            if failed := [str(result.description) for result in results if not result.passed]:
                raise dg.Failure(
                    f"The {format.name} file does not hold what the database holds, so it was not published: "
                    + "; ".join(failed),
                    metadata={"kept for inspection": dg.MetadataValue.path(str(path))},
                    allow_retries=False,
                )
            yield dg.Output(_file(context, format, data, layout, path, rendered, facts, seconds), "file")

    return render


def _new_file(context: dg.OpExecutionContext, format: Format) -> Path:
    """Where this run renders a format; nothing of an earlier try is left there."""
    staging: StagingIOManager = context.resources.staging
    folder = staging.of_run(context.run_id) / f"render_{format.name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder / f"export{format.extension}"


def _rendered(format: Format, layout: Layout, data: ExportData, path: Path) -> Rendered:
    options = FormatOptions(**{name: data.options[name] for name in FormatOptions.model_fields})
    with path.open("wb") as out:
        return format.render(layout, out, options.of(format.name))


def _file(
    context: dg.OpExecutionContext,
    format: Format,
    data: ExportData,
    layout: Layout,
    path: Path,
    rendered: Rendered,
    facts: FileFacts,
    seconds: float,
) -> ExportFile:
    dataset, cadence, _ = context.asset_key_for_output("file").path
    _, window = chosen_scope(context)
    if window is None:
        # A re-execution finishes the same request, so it gives the same key.
        key = request_key(data.scope, context.run.root_run_id or context.run_id, format.extension)
    else:
        key = window_key(data.scope, dataset, cadence, window.name, format.extension)
    moment = window.name if window else f"{data.snapshot_at:%Y%m%d_%H%M%S}"
    changed = Counter(data.changed)
    changed.update(rendered.changed)
    return ExportFile(
        path=path,
        key=key,
        title=data.title,
        file_name=safe_file_name(f"{data.title}_{dataset}_{moment}{format.extension}"),
        format=format.name,
        dataset=dataset,
        scope=data.scope,
        cadence=cadence,
        window=window.name if window else None,
        columns=layout.main.columns,
        rendered=rendered,
        preview=tuple(preview(layout.main)),
        totals={column: facts.totals.get(column, 0.0) for column in layout.proofs[format.name].totals},
        options=dict(data.options),
        snapshot_at=data.snapshot_at,
        run_id=context.run_id,
        seconds=seconds,
        warnings=(*data.warnings, *rendered.warnings),
        changed=dict(changed),
    )


def preview(table: Table, rows: int = PREVIEW_ROWS) -> list[dict[str, str]]:
    """The first rows as short texts by header, for people who look at a materialization."""
    for batch in table.open():
        head = batch.slice(0, rows).to_pylist()
        return [{column.header: _short(row[column.name]) for column in table.columns} for row in head]
    return []


def _short(value: Any) -> str:
    text = "" if value is None else value.isoformat() if isinstance(value, datetime) else str(value)
    return text if len(text) <= 80 else text[:79] + "…"


RENDER_OPS = {name: render_op(format) for name, format in FORMATS.items()}
