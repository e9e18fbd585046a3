"""The four stages of an export as Dagster ops: fetch, build, sanitize, render.

Ops pass ExportData through staging (see `staging_io_manager`), one for each partition of the run. So a
re-execution from failure repeats only the op that failed. A file is rendered straight into the store. It
becomes visible after it was read back and compared with the row count and totals of the database.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import dagster as dg

from export_pipeline.core.export_data import ExportData
from export_pipeline.datasets.branding import lay_out
from export_pipeline.datasets.export_file import ExportFile, Rendering, describe_file, file_name
from export_pipeline.datasets.file_checks import check_file
from export_pipeline.datasets.parts import limits_of, render_parts
from export_pipeline.formats.base import Format
from export_pipeline.formats.registry import FORMATS
from export_pipeline.orchestration.checks import asset_check_results
from export_pipeline.orchestration.dagster_compat.checks import check_evaluation
from export_pipeline.orchestration.file_metadata import content_tags
from export_pipeline.orchestration.partitions import (
    ON_DEMAND,
)
from export_pipeline.orchestration.runs.attempts import (
    ProgressReporter,
    attempts_of,
    deployment_of,
    start_jobs,
)
from export_pipeline.orchestration.runs.errors import translate_errors
from export_pipeline.orchestration.runs.extra_requests import export_extra
from export_pipeline.orchestration.runs.heartbeat import cancellable
from export_pipeline.orchestration.runs.outages import retry_until_available
from export_pipeline.orchestration.runs.priority import yield_to_small_runs
from export_pipeline.orchestration.runs.staging import REJECTED
from export_pipeline.orchestration.source_reads import (
    READING_RESOURCES,
    build,
    clean,
    ensure_not_held,
    read_again,
    reading,
)
from export_pipeline.orchestration.staging_io_manager import StagingIOManager
from export_pipeline.store import Store, Upload
from export_pipeline.store.keys import request_key, window_key
from export_pipeline.store.parts import PartedUpload


@dg.op(
    ins={"application": dg.In(dg.Nothing, description="The application's own tables")},
    out=dg.Out(io_manager_key="staging", description="Rows of the source, unchanged"),
    config_schema={
        "dataset": dg.Field(str, description="Name of the dataset."),
        "cadence": dg.Field(str, description="on_demand, daily, weekly or monthly."),
        "start": dg.Field(str, description="First day of the first window."),
        "timezone": dg.Field(str, description="Zone in which windows begin."),
        "scoped": dg.Field(bool, description="True if its rows belong to scopes."),
        "options": dg.Field(dict, description="Options of the request."),
        "window": dg.Field(dg.Noneable(dict), description="Window of an on-demand run: start and end."),
        "scope": dg.Field(
            dg.Noneable(str), is_required=False, description="Scope of a run whose partition is a window."
        ),
    },
    required_resource_keys=READING_RESOURCES,
    tags={"kind": "sqlalchemy"},
)
def fetch_source(context: dg.OpExecutionContext) -> Iterator[dg.Output[list[ExportData]]]:
    """Read the rows in one consistent, read-only snapshot and spool them as Arrow batches."""
    ledger = context.resources.ledger.open
    with ExitStack() as snapshot_open:
        with _cancellable(context), translate_errors(context.retry_number, context.log):
            retry_until_available(lambda: start_jobs(ledger, context.run), context.log)
            exports = snapshot_open.enter_context(reading(context, context.op_config))
        rows = sum(data.source_rows for data in exports)
        yield_to_small_runs(rows)
        # The snapshot stays open while the IO manager reads the rows into staging.
        yield dg.Output(
            exports,
            metadata={
                "rows": rows,
                "snapshot": exports[0].snapshot_at.isoformat(),
            },
        )


@dg.op(
    out=dg.Out(io_manager_key="staging", description="The export, with totals and computed columns"),
    required_resource_keys=READING_RESOURCES,
)
def build_export_data(context: dg.OpExecutionContext, exports: list[ExportData]) -> list[ExportData]:
    """Compute the export from the fetched rows: joins, totals and costs of these rows only."""
    with _cancellable(context):
        return build(_present(context, exports, "fetch_source"))


@dg.op(
    out=dg.Out(io_manager_key="staging", description="The export, without characters that break files"),
    required_resource_keys=READING_RESOURCES,
)
def sanitize(context: dg.OpExecutionContext, exports: list[ExportData]) -> list[ExportData]:
    """Replace characters and values that no file format allows, and count them."""
    with _cancellable(context):
        return clean(_present(context, exports, "build_export_data"))


def _present(context: dg.OpExecutionContext, exports: list[ExportData], step: str) -> list[ExportData]:
    """Return the exports that a step has staged; if another machine has them, read them again."""
    if exports:
        return exports
    with translate_errors(context.retry_number, context.log):
        return read_again(context, step)


def render_op(format: Format[Any]) -> dg.OpDefinition:
    """Build the op that renders one format, verifies the file and passes it to the store."""

    @dg.op(
        name=f"render_{format.name}",
        out={
            "file": dg.Out(list, io_manager_key="export_store", description=format.help),
            "rows": dg.Out(dg.Nothing, is_required=False),
            "totals": dg.Out(dg.Nothing, is_required=False),
        },
        description=f"Render {format.name} into the store, read it back and compare it with the source.",
        tags={"kind": format.name},
        required_resource_keys=READING_RESOURCES | {"store"},
    )
    def render(context: dg.OpExecutionContext, exports: list[ExportData]) -> Iterator[Any]:
        asset_key = context.asset_key_for_output("file")
        folder = _new_folder(context, format)
        has_partitions = context.has_partition_key or context.has_partition_key_range
        partitions = context.partition_keys if has_partitions else []
        files: list[ExportFile] = []
        results: list[list[dg.AssetCheckResult]] = []
        ledger = context.resources.ledger.open
        with ExitStack() as unpublished:
            with _cancellable(context), translate_errors(context.retry_number, context.log):
                if context.run.parent_run_id:  # a re-execution may repeat only this step
                    retry_until_available(lambda: start_jobs(ledger, context.run, format.name), context.log)
                exports = exports or read_again(context, "sanitize")
                yield_to_small_runs(sum(data.source_rows for data in exports))
                report = ProgressReporter(ledger, context.run, (50, 90), format.name)
                keys = [_key(context, format, data) for data in exports]
                ensure_not_held(context, keys)
                store: Store = context.resources.store.open()
                for number, data in enumerate(exports):
                    layout = lay_out(data)
                    if limits := limits_of(data.options, format):
                        data = replace(data, options=format.options_of_parts(data.options))
                    options = format.options_of(data.options)
                    proof = format.proof(layout, options)
                    report(f"Rendering {format.name}", number, len(exports))
                    started = time.monotonic()
                    key = keys[number]
                    names = {"media_type": format.media_type, "file_name": file_name(layout, format)}
                    upload: Upload | PartedUpload
                    if limits:
                        parts = PartedUpload(store, key, folder, deployment=deployment_of(ledger), **names)
                        upload = unpublished.enter_context(parts)
                        say = partial(report, f"Rendering {format.name}")
                        rendered, facts = render_parts(upload, layout, format, options, limits, say)
                        seconds = time.monotonic() - started
                        summary = (
                            f"Rendered {rendered.rows:,} rows as {len(upload.parts):,} {format.name} files"
                        )
                        context.log.info(f"{summary} and read them back in {seconds:.2f} s.")
                    else:
                        local = folder / f"{number}{format.extension}"
                        upload = unpublished.enter_context(store.begin(key, **names, local=local))
                        rendered = format.render(layout, cast(BinaryIO, upload), options)  # only writes
                        upload.finish()
                        seconds = time.monotonic() - started
                        summary = f"Rendered {rendered.rows:,} rows as {format.name} in {seconds:.2f} s"
                        context.log.info(f"{summary}; reading it back.")
                        report(f"Checking {format.name}", 2 * number + 1, 2 * len(exports))
                        facts = format.read_back(upload.path, options)
                    results.append(list(asset_check_results(asset_key, check_file(proof, rendered, facts))))
                    files.append(
                        describe_file(
                            Rendering(store, upload, data, layout, options, proof, rendered, facts),
                            format,
                            context.resources.datasets[asset_key.path[0]],
                            cadence=asset_key.path[1],
                            partition=partitions[number] if partitions else None,
                            run_id=context.run_id,
                            seconds=seconds,
                        )
                    )
            failed = [str(one.description) for of_file in results for one in of_file if not one.passed]
            if failed:
                yield from _checks(context, files, results, is_published=False)
                raise dg.Failure(
                    f"The {format.name} file does not hold what the database holds, so it was not published: "
                    + "; ".join(failed[:5]),
                    metadata={"kept for inspection": dg.MetadataValue.path(str(_kept(files, folder)))},
                    allow_retries=False,
                )
            # Before its checks, so that Dagster adds them to this materialization, not to the one before.
            yield dg.Output(files, "file", tags=content_tags(files[0].choices))
            yield from _checks(context, files, results, is_published=True)
        yield from export_extra(context, files[0])

    return render


def _checks(
    context: dg.OpExecutionContext,
    files: list[ExportFile],
    results: list[list[dg.AssetCheckResult]],
    *,
    is_published: bool,
) -> Iterator[dg.AssetCheckEvaluation]:
    for file, of_file in zip(files, results, strict=True):
        for result in of_file:
            yield check_evaluation(
                context, result, file.partition, file.upload.key, is_published=is_published
            )


def _cancellable(context: dg.OpExecutionContext) -> AbstractContextManager[None]:
    return cancellable(context.resources.ledger.open, context.run, context.instance, context.job_def)


def _new_folder(context: dg.OpExecutionContext, format: Format[Any]) -> Path:
    """Make and return an empty folder in which this run renders a format."""
    staging: StagingIOManager = context.resources.staging
    folder = staging.of_run(context.run_id) / f"render_{format.name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _key(context: dg.OpExecutionContext, format: Format[Any], data: ExportData) -> str:
    """Return the key of a file in the store."""
    dataset, cadence, _ = context.asset_key_for_output("file").path
    if data.window is None or cadence == ON_DEMAND:
        # A re-execution finishes the same request, so it gets the same key.
        asked = [attempt.job_id for attempt in attempts_of(context.run.tags, None, format.name)]
        export_id = asked[0] if asked else context.run.root_run_id or context.run_id
        return request_key(data.scope, export_id, format.extension)
    return window_key(data.scope, dataset, cadence, data.window.name, format.extension)


def _kept(files: list[ExportFile], folder: Path) -> Path:
    """Copy rejected files into a folder and return it, as the store drops them when the op ends."""
    kept = folder / REJECTED
    with suppress(OSError):  # the reason of the rejection matters more
        kept.mkdir()
        for file in files:
            if isinstance(file.upload, Upload):  # parts are too large to be kept twice
                shutil.copyfile(file.upload.path, kept / file.upload.path.name)
    return kept


RENDER_OPS = {name: render_op(format) for name, format in FORMATS.items()}
