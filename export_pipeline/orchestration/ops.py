"""The four stages of an export as Dagster ops: fetch, build, sanitize, render.

What passes between them is ExportData in staging (see io_managers); a re-execution from failure repeats only the
op that failed. A rendered file is read back and compared with what the database itself counted and added before
it is published, so a file that does not hold is never visible.
"""

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from typing import Any

import dagster as dg

from export_pipeline.formats.base import FileFacts, Format, Rendered, RenderError
from export_pipeline.formats.options import FormatOptions
from export_pipeline.formats.registry import FORMATS
from export_pipeline.model.export_data import ExportData
from export_pipeline.model.layout import Layout, Proof
from export_pipeline.model.sanitize import sanitize as sanitize_data
from export_pipeline.model.tables import Table
from export_pipeline.orchestration.export_file import ExportFile
from export_pipeline.orchestration.io_managers import run_staging
from export_pipeline.orchestration.launch_config import split_config
from export_pipeline.orchestration.partitions import PartitionError, chosen_scope
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError
from export_pipeline.store.keys import request_key, window_key
from export_pipeline.store.names import safe_file_name

EXPORT_ID_TAG = "export_pipeline/export_id"
PREVIEW_ROWS = 10

# Faults that pass by themselves (a database that restarts, a store that is busy) are tried again.
RETRIES = dg.RetryPolicy(max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


@dg.op(
    out=dg.Out(io_manager_key="staging", description="Rows as the source holds them"),
    config_schema={
        "source": dg.Field(str, description="Module that reads the application's tables."),
        "model": dg.Field(str, description="Module that knows the shape of the export."),
        "options": dg.Field(dg.Permissive(), description="What is to be exported."),
    },
    required_resource_keys={"source"},
    retry_policy=RETRIES,
    tags={"kind": "sqlalchemy"},
)
def fetch_project(context: dg.OpExecutionContext) -> Iterator[dg.Output[ExportData]]:
    """Read the project's rows in one consistent, read-only snapshot and spool them as Arrow batches."""
    source, model = (import_module(context.op_config[name]) for name in ("source", "model"))
    options, format_options = split_config(context.op_config["options"], model.Options, FormatOptions)
    try:
        scope, window = chosen_scope(context)
    except PartitionError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    try:
        with context.resources.source.snapshot() as snapshot:
            data = source.read(snapshot, scope, options, window and window.end)
            data = replace(data, options={**data.options, **format_options.model_dump()})
            context.log.info(f"Reading {data.source_rows:,} rows of {data.title!r}.")
            # The snapshot stays open while the IO manager reads the rows into staging.
            yield dg.Output(
                data, metadata={"rows": data.source_rows, "snapshot": data.snapshot_at.isoformat()}
            )
    except SourceUnavailableError:
        raise
    except SourceError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


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
        retry_policy=RETRIES,
        tags={"kind": format.name},
        required_resource_keys={"staging"},
        pool="render",
    )
    def render(context: dg.OpExecutionContext, data: ExportData) -> Iterator[Any]:
        asset_key = context.asset_key_for_output("file")
        folder = run_staging(context) / f"render_{format.name}"
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier try
        folder.mkdir(parents=True)
        path = folder / f"export{format.extension}"
        layout: Layout = import_module(data.model).layout(data)
        started = time.monotonic()
        rendered = _rendered(format, layout, data, path)
        seconds = time.monotonic() - started
        context.log.info(
            f"Rendered {rendered.rows:,} rows as {format.name} in {seconds:.2f} s; reading it back."
        )
        facts = format.read_back(path)
        results = list(_checks(asset_key, layout.proofs[format.name], rendered, facts))
        yield from results
        failed = [result for result in results if not result.passed]
        if failed:
            raise dg.Failure(
                f"The {format.name} file does not hold what the database holds, so it was not published: "
                + "; ".join(str(result.description) for result in failed),
                metadata={"kept for inspection": dg.MetadataValue.path(str(path))},
                allow_retries=False,
            )
        yield dg.Output(_file(context, format, data, layout, path, rendered, facts, seconds), "file")

    return render


def _rendered(format: Format, layout: Layout, data: ExportData, path: Any) -> Rendered:
    options = {name: data.options[name] for name in FormatOptions.model_fields if name in data.options}
    try:
        with path.open("wb") as out:
            return format.render(layout, out, FormatOptions(**options).of(format.name))
    except RenderError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def _checks(
    asset_key: dg.AssetKey, proof: Proof, rendered: Rendered, facts: FileFacts
) -> Iterator[dg.AssetCheckResult]:
    """Rows and totals found in the file against the source's own."""
    expected = proof.rows - rendered.left_out
    sound = not facts.problems and facts.rows == rendered.rows == expected
    yield dg.AssetCheckResult(
        passed=sound,
        check_name="rows",
        asset_key=asset_key,
        description="; ".join(
            [
                f"{facts.rows:,} rows in the file, {proof.rows:,} in the source, {rendered.left_out:,} left out by the format"
            ]
            + list(facts.problems[:5])
        ),
        metadata={
            "rows in file": facts.rows,
            "rows rendered": rendered.rows,
            "rows in source": proof.rows,
            "rows this format cannot express": rendered.left_out,
        },
    )
    compared = {
        column: (facts.totals.get(column, 0.0), total, tolerance)
        for column, (total, tolerance) in proof.totals.items()
    }
    wrong = {column: sums for column, sums in compared.items() if not abs(sums[0] - sums[1]) <= sums[2]}
    yield dg.AssetCheckResult(
        passed=not wrong,
        check_name="totals",
        asset_key=asset_key,
        description="; ".join(
            f"{column} adds up to {found!r} in the file and to {total!r} in the source"
            for column, (found, total, _) in (wrong or compared).items()
        ),
        metadata={
            f"{column} {what}": value
            for column, sums in compared.items()
            for what, value in zip(("in file", "in source", "tolerance"), sums, strict=True)
        },
    )


def _file(
    context: dg.OpExecutionContext,
    format: Format,
    data: ExportData,
    layout: Layout,
    path: Any,
    rendered: Rendered,
    facts: FileFacts,
    seconds: float,
) -> ExportFile:
    dataset, cadence, _ = context.asset_key_for_output("file").path
    _, window = chosen_scope(context)
    export_id = context.run.tags.get(EXPORT_ID_TAG) or context.run.root_run_id or context.run_id
    key = (
        request_key(data.scope, export_id, format.extension)
        if window is None
        else window_key(data.scope, dataset, cadence, window.name, format.extension)
    )
    moment = window.name if window else f"{data.snapshot_at:%Y%m%d_%H%M%S}"
    changed = Counter(data.changed)
    changed.update(rendered.changed)
    return ExportFile(
        path=path,
        key=key,
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
