"""Read the exports of a run from the source, and again if staged data are missing in a re-execution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg

from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.core.sanitize import sanitize
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.options import parse_options
from export_pipeline.datasets.requests import config_of
from export_pipeline.datasets.scopes import ScopeNameError, look_up_scope
from export_pipeline.formats.registry import FORMATS
from export_pipeline.jobs import Job, Ledger, NoLedgerError, RefusedError
from export_pipeline.jobs.known_files import KnownFiles
from export_pipeline.orchestration.dagster_compat.runs import add_run_tags
from export_pipeline.orchestration.dagster_compat.steps import config_of_op
from export_pipeline.orchestration.partitions import (
    ON_DEMAND,
    SCOPE_NAME_TAG,
    SCOPE_TAG,
    WINDOW_TAG,
    PartitionError,
    Target,
    scope_tag,
    targets,
)
from export_pipeline.orchestration.runs.attempts import attempts_of, deleted_error
from export_pipeline.orchestration.runs.outages import retry_until_available
from export_pipeline.orchestration.runs.shared_reads import take_export
from export_pipeline.orchestration.runs.staging import load_all, save_all
from export_pipeline.orchestration.staging_io_manager import StagingIOManager
from export_pipeline.sources.tables import read as tables
from export_pipeline.sources.tables.multi_scope_read import read_rows_by_scope
from export_pipeline.store.keys import window_key

READING_RESOURCES = {"source", "ledger", "datasets", "staging"}
"""Resources of an op that calls `reading` or `read_again`."""


@contextmanager
def reading(context: dg.OpExecutionContext, config: Mapping[str, Any]) -> Iterator[list[ExportData]]:
    """Open a snapshot, and yield the exports of the run, one for each partition; their rows are streamed.

    Args:
        config: The config of `fetch_source`. A request says itself what is exported on demand.

    Raises:
        PartitionError, OptionError, RequestError: the run or its request does not say what to export.
        SourceError: the source cannot be read.
    """
    dataset: Dataset = context.resources.datasets[config["dataset"]]
    ledger = context.resources.ledger.open
    job = retry_until_available(lambda: _requested(ledger, context.run), context.log)
    if job is not None and config["cadence"] == ON_DEMAND:
        chosen = config_of(dataset, job)
        config = {**config, "window": chosen.pop("window", None)}
        config["options"] = {**dataset.attributes.options, **chosen}
    options, format_options = parse_options(config["options"], *dataset.option_models())
    run_targets = targets(
        context,
        **{name: config[name] for name in ("cadence", "start", "timezone", "scoped", "window")},
        chosen_scope=lambda: _chosen_scope(context, dataset, config.get("scope")),
    )
    if job is not None and {target.scope for target in run_targets} != {job.scope}:
        raise PartitionError(
            f"This run was started for export job {job.id}, which is of the scope {job.scope!r}, but with a "
            "partition of another scope. Request the export of that scope instead of changing this run."
        )
    _tag_run(context, run_targets)
    _check_holds(context, config["cadence"], run_targets)
    requests = [
        Request(dataset.dataset, dataset.shape, dataset.spec, target.scope, options, target.window)
        for target in run_targets
    ]

    def complete(data: ExportData) -> ExportData:
        context.log.info(f"Reading {data.source_rows:,} rows of {data.dataset}.")
        return replace(data, options={**data.options, **format_options.model_dump()})

    if len(requests) == 1 and (data := _shared(context, dataset, requests[0])) is not None:
        yield [complete(data)]
        return
    with context.resources.source.snapshot() as snapshot:
        yield [complete(dataset.source.read(snapshot, request)) for request in requests]


def _shared(context: dg.OpExecutionContext, dataset: Dataset, request: Request) -> ExportData | None:
    """Return the export that was read together with those of other scopes; None if it is read on its own."""
    if dataset.source is not tables:
        return None

    def read(scopes: list[str]) -> Iterator[ExportData]:
        context.log.info(f"Reading the rows of {len(scopes):,} scopes together, for the runs of all of them.")
        with context.resources.source.snapshot() as snapshot:
            yield from read_rows_by_scope(snapshot, request, scopes)

    resources = context.resources
    staging, ledger = resources.staging, resources.ledger.open
    own = staging.of_run(context.run_id) / "shared_read-result"
    return take_export(
        staging.folder, own, resources.datasets, ledger, context.run, request, read, context.log
    )


def ensure_not_held(context: dg.OpExecutionContext, keys: Sequence[str]) -> None:
    """Raise before work is done on a file that would replace one under legal hold.

    Raises:
        RefusedError: one of the keys is such a file.
    """

    def ensure() -> None:
        with suppress(NoLedgerError):
            known = KnownFiles.sharing(context.resources.ledger.open())
            for key in keys:
                known.ensure_not_held(key)

    retry_until_available(ensure, context.log)


def _check_holds(context: dg.OpExecutionContext, cadence: str, run_targets: Sequence[Target]) -> None:
    """Reject a run before it reads rows if no format of it may be published, because of a legal hold."""
    if cadence == ON_DEMAND:  # each file has a key of its own
        return
    refused = None
    for asset in context.selected_asset_keys:
        dataset, _, format = asset.path
        keys = [
            window_key(target.scope, dataset, cadence, target.window.name, FORMATS[format].extension)
            for target in run_targets
            if target.window is not None
        ]
        try:
            ensure_not_held(context, keys)
        except RefusedError as error:
            refused = error
        else:
            return
    if refused is not None:
        raise refused


def build(exports: Sequence[ExportData]) -> list[ExportData]:
    """Compute exports from their fetched rows."""
    return [data.shape.build(data) for data in exports]


def clean(exports: Sequence[ExportData]) -> list[ExportData]:
    """Replace characters that no file format allows."""
    return [sanitize(data) for data in exports]


def read_again(context: dg.OpExecutionContext, step: str) -> list[ExportData]:
    """Repeat the steps of the parent run up to this one, as its staged data are missing on this machine.

    Args:
        step: Name of the last op to do: fetch_source, build_export_data or sanitize.
    """
    staging: StagingIOManager = context.resources.staging
    folder, datasets = staging.of_run(context.run_id), context.resources.datasets

    def staged(name: str) -> Path:
        return folder / f"{name}-result"

    if not staging.has(staged(step)):  # the op of another format may have staged it
        context.log.warning("What was staged is not on this machine any more; the rows are read again.")
        with reading(context, config_of_op(context, "fetch_source")) as exports:
            save_all(exports, staged("fetch_source"))
        done = "fetch_source"
        for name, work in (("build_export_data", build), ("sanitize", clean)):
            if done != step:
                save_all(work(load_all(staged(done), datasets)), staged(name))
                done = name
    return load_all(staged(step), datasets)


def _chosen_scope(
    context: dg.OpExecutionContext, dataset: Dataset, given: str | None
) -> tuple[str, str | None] | None:
    """Return id and name of the scope in a run's config, else in its tag; None if neither names one.

    Raises:
        PartitionError: there is no such scope, several have this name, or the run serves requests of another.
    """
    tagged = context.run.tags.get(SCOPE_TAG)
    is_requested = bool(attempts_of(context.run.tags, context.run_id))
    if is_requested and tagged and (given is None or scope_tag(given) == tagged):  # checked before the run
        return given or tagged, context.run.tags.get(SCOPE_NAME_TAG)
    if not (given := given or tagged):
        return None
    if is_requested:
        raise PartitionError(
            f"The config of this run names the scope {given!r}, and its request {tagged!r}: start it from a "
            "request of that scope."
        )
    try:
        return look_up_scope(context.resources.source, dataset, given)
    except ScopeNameError as error:
        raise PartitionError(str(error)) from None


def _tag_run(context: dg.OpExecutionContext, run_targets: list[Target]) -> None:
    """Add scope and window to the tags of a run that the UI has started, so that its run list shows them."""
    first, scopes = run_targets[0], {target.scope for target in run_targets}
    known: dict[str, str | None] = {}
    if len(scopes) == 1 and first.scope:
        known = {SCOPE_TAG: scope_tag(first.scope), SCOPE_NAME_TAG: first.scope_name}
    if len(run_targets) == 1 and first.window:
        known[WINDOW_TAG] = first.window.name
    tags = context.run.tags
    if changed := {tag: value for tag, value in known.items() if value and tags.get(tag) != value}:
        add_run_tags(context.instance, context.run, changed)


def _requested(ledger: Callable[[], Ledger], run: dg.DagsterRun) -> Job | None:
    """Return the request that says what a run exports; None if nobody requested it in the ledger.

    A run's config does not say it. Dagster would keep it after the request was deleted, and anybody who may
    start runs in the UI could name another requester there.

    Raises:
        RefusedError: all requests of the run were deleted.
    """
    requested = [attempt.job_id for attempt in attempts_of(run.tags, None)]
    if not requested:
        return None
    there = ledger().get_all(requested)
    if not there:
        raise deleted_error(requested[0])
    return next(iter(there.values()))
