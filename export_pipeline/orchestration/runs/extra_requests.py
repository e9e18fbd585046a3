"""Extra requests: small ones that a run takes on after its own.

A run costs Dagster ten times the processor time of a small export. So a run whose own export was small goes
on with requests of its dataset that wait, for a few seconds, in the order of the queue. It claims one at a
time, so nobody waits behind others, and a process that dies has at most one.

A request stays pending until its file is proven. Whatever goes wrong before puts it back, and it gets a run
of its own, with that run's waiting, messages and retries.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import dagster as dg

from export_pipeline.core.messages import sentence
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.export_file import (
    ExportFile,
    Rendering,
    manifest_of,
    published_file,
    summarize_file,
)
from export_pipeline.datasets.file_checks import CheckResult, check_file
from export_pipeline.datasets.requests import check_target, config_of, within_time_limit
from export_pipeline.datasets.scopes import Scopes
from export_pipeline.datasets.small_export import MAX_ROWS, STATEMENT_SECONDS, read_small, render_small
from export_pipeline.formats.registry import FORMATS
from export_pipeline.jobs import (
    Attempt,
    Job,
    LeaseLostError,
    Ledger,
    LedgerError,
    RefusedError,
    UnknownJobError,
)
from export_pipeline.jobs.claims import ScopeLimits
from export_pipeline.jobs.materializations import Materializations
from export_pipeline.jobs.states import Status
from export_pipeline.orchestration.checks import asset_check_results
from export_pipeline.orchestration.dagster_compat.checks import check_evaluation
from export_pipeline.orchestration.dagster_compat.launchers import run_limits
from export_pipeline.orchestration.file_metadata import content_tags, download_link, file_metadata
from export_pipeline.orchestration.partitions import ON_DEMAND, SCOPE_TAG, add_scope
from export_pipeline.orchestration.runs.attempts import CODE_TAG, attempts_of
from export_pipeline.orchestration.runs.heartbeat import cancellable, ensure_lease
from export_pipeline.orchestration.runs.outages import retry_until_available
from export_pipeline.orchestration.runs.staging import EXTRA
from export_pipeline.redaction import redacted_errors, summarize_error
from export_pipeline.settings import load_settings
from export_pipeline.sources.snapshot import SourceUnavailableError
from export_pipeline.sources.tables import read as tables
from export_pipeline.store import Store, StoreError
from export_pipeline.store.base import StoredFile
from export_pipeline.store.publish import is_of_another_run, publish, unpublish

MAX_EXTRA = 100
"""Maximum number of requests that a run takes on, so that people can read its log."""
MAX_SECONDS = 30.0
"""Maximum time that a run goes on by itself, e.g. after its own request has waited for the source."""
MAX_TABLE_BYTES = 16 << 20
"""Maximum size of the tables of an export after a stage. Two stages are held, so 32 MB at most."""
_OUTAGES = (LedgerError, StoreError, SourceUnavailableError, OSError)
"""Errors that the next request would meet too."""

Events = Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]


def export_extra(context: dg.OpExecutionContext, own: ExportFile) -> Events:
    """Export pending small requests of the run's dataset, and yield their events for Dagster.

    The run has done its own request, so no error of another one fails it.

    Args:
        own: The file of the run's own request.
    """
    try:
        with redacted_errors():
            yield from _export_extra(context, own)
    except Exception as error:
        context.log.warning(f"This run takes on no more requests: {summarize_error(error)}")


def _export_extra(context: dg.OpExecutionContext, own: ExportFile) -> Events:
    seconds = load_settings().extra_seconds
    if not seconds or not _may_take_on(context, own):
        return
    extra = _ExtraExports(context, context.resources.datasets[own.dataset])
    # A busy machine needs longer for each.
    until = time.monotonic() + max(seconds, min(extra.own_seconds(), MAX_SECONDS))
    ledger = context.resources.ledger.open
    with _frozen_garbage():
        for _ in range(MAX_EXTRA):
            if time.monotonic() >= until or (job := extra.claim()) is None:
                return
            try:
                with cancellable(ledger, context.run, context.instance, context.job_def, is_done=True):
                    made = extra.export(job)
            except _OUTAGES as error:
                context.log.warning(f"This run takes on no more requests: {sentence(str(error))}")
                return
            if made is not None:
                yield from extra.events(job, made)
            del made
            gc.collect()  # nothing of an export stays


@contextmanager
def _frozen_garbage() -> Iterator[None]:
    """Let garbage collections look at new objects only. To look at Dagster's takes longer than an export."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _may_take_on(context: dg.OpExecutionContext, own: ExportFile) -> bool:
    """Return whether the daemon started this run for a small export of a table."""
    run = context.run
    dataset: Dataset = context.resources.datasets[own.dataset]
    return (
        own.cadence == ON_DEMAND
        and own.window is None
        and own.total_rows <= MAX_ROWS
        and dataset.source is tables
        and len(context.selected_asset_keys) == 1
        and run.parent_run_id is None
        and bool(attempts_of(run.tags, None))
        and CODE_TAG in run.tags
    )


class OwnRunError(Exception):
    """Raised when a request needs its own run."""


@dataclass(frozen=True, slots=True)
class _Made:
    file: ExportFile
    rendering: Rendering
    stored: StoredFile
    expires_at: datetime


def _checks(rendering: Rendering) -> list[CheckResult]:
    return check_file(rendering.proof, rendering.rendered, rendering.facts)


class _ExtraExports:
    """Makes the exports that a run takes on, one after another."""

    def __init__(self, context: dg.OpExecutionContext, dataset: Dataset) -> None:
        resources = context.resources
        self._context, self._dataset = context, dataset
        self._ledger: Callable[[], Ledger] = resources.ledger.open
        self._scopes = Scopes(resources.source, resources.datasets)
        limit = resources.source.statement_timeout_seconds or STATEMENT_SECONDS
        self._source = replace(resources.source, statement_timeout_seconds=min(limit, STATEMENT_SECONDS))

    @cached_property
    def _store(self) -> Store:
        store: Store = self._context.resources.store.open()
        return store

    @cached_property
    def _scope_limits(self) -> ScopeLimits:
        return run_limits(self._context.instance, SCOPE_TAG)

    @cached_property
    def _deployment(self) -> str:
        return self._ledger().deployment()

    @cached_property
    def _folder(self) -> Path:
        folder: Path = self._context.resources.staging.of_run(self._context.run_id) / EXTRA
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def own_seconds(self) -> float:
        """Return the time that the run's own request took from its start; 0 if it is not known."""
        (own, *_) = attempts_of(self._context.run.tags, None)
        with suppress(LedgerError):
            job = self._ledger().get(own.job_id)
            if job.started_at and job.completed_at:
                return (job.completed_at - job.started_at).total_seconds()
        return 0.0

    def claim(self) -> Job | None:
        """Return the next request for this run; None if there is none, or the ledger is away."""
        with suppress(LedgerError):
            code = self._context.run.tags[CODE_TAG]
            return self._ledger().claim_extra(
                self._dataset.dataset, self._context.run_id, code, self._scope_limits
            )
        return None

    def export(self, job: Job) -> _Made | None:
        """Make the export of a request. None if it was canceled or requeued.

        Raises:
            LedgerError, StoreError, SourceUnavailableError, OSError: the next one would meet it too.
        """
        try:
            return self._make(job)
        except BaseException as error:
            if isinstance(error, (RefusedError, UnknownJobError)) and not isinstance(error, LeaseLostError):
                return None  # canceled, deleted, or taken over
            self._put_back(job)
            if isinstance(error, _OUTAGES) or not isinstance(error, Exception):
                raise
            why = summarize_error(error)
            self._context.log.info(f"Export job {job.id} gets a run of its own. {why}")
            return None

    def events(self, job: Job, made: _Made) -> Events:
        """Yield the events of an export for Dagster, the same as those of its own run."""
        file, rendering = made.file, made.rendering
        settings, ledger_url = load_settings(), self._context.resources.ledger.url
        link = partition = None
        if job.scope is not None:
            key = self._scopes.key(job.dataset, job.scope)
            partition = add_scope(self._context.instance, job.dataset, key)
        with suppress(LedgerError):  # the file is whole without it
            link = download_link(ledger_url, settings.api_url, job.id)
        has_preview = self._dataset.attributes.preview
        summary = summarize_file(file, made.stored, made.expires_at, has_preview=has_preview)
        asset_key = dg.AssetKey([file.dataset, ON_DEMAND, file.format])
        yield dg.AssetMaterialization(
            asset_key,
            metadata=file_metadata(summary, link),
            partition=partition,
            tags=content_tags(file.choices),
        )
        with suppress(LedgerError):  # otherwise a sensor asks Dagster
            Materializations.sharing(self._ledger()).forget(job.id)
        for result in asset_check_results(asset_key, _checks(rendering)):
            yield check_evaluation(self._context, result, partition, made.stored.key, is_published=True)

    def _make(self, job: Job) -> _Made | None:
        dataset, ledger = self._dataset, self._ledger()
        if any(other.status is Status.PROCESSING for other in ledger.identical_in_flight(job)):
            raise OwnRunError("Another run works at the same request; it joins that one.")
        self._scopes.read(job)
        config = within_time_limit(partial(self._checked_config, job))
        if "window" in config or any((config.get("parts") or {}).values()):
            raise OwnRunError("It has a window or parts.")
        if dataset.reuse_within is not None and ledger.reuse(job, dataset.reuse_within) is not None:
            return None
        format = FORMATS[dataset.format_aliases.get(job.format, job.format)]
        opening = self._source.snapshot()
        data = read_small(opening, dataset, format, job.scope, config, MAX_TABLE_BYTES)
        with render_small(
            self._store,
            data,
            dataset,
            format,
            export_id=job.id,
            run_id=self._context.run_id,
            local=self._folder / f"{job.id}{format.extension}",
        ) as (file, rendering):
            return self._publish(job, file, rendering)

    def _checked_config(self, job: Job) -> dict[str, Any]:
        check_target(self._context.resources.datasets, self._scopes.of, job)
        return config_of(self._dataset, job)

    def _publish(self, job: Job, file: ExportFile, rendering: Rendering) -> _Made:
        attempt = Attempt(job.id, job.attempt, self._context.run_id)
        days = self._dataset.attributes.retention_days or self._context.resources.ledger.retention_days
        expires_at = datetime.now(UTC) + timedelta(days=days)

        def start() -> None:
            ensure_lease(self._ledger, self._context.run_id)
            stored = file.upload.finish()
            summary = summarize_file(
                file,
                stored,
                expires_at,
                has_preview=self._dataset.attributes.preview,
                checks=_checks(rendering),
            ).model_dump(mode="json")
            self._ledger().started_extra(attempt, job.claimed_at or job.created_at, summary)

        stored, _ = publish(
            file.store,
            file.upload,
            lambda stored: manifest_of(file, stored, expires_at, self._deployment),
            before_visible=start,
        )
        published = published_file(file, stored)
        try:
            retry_until_available(
                lambda: self._ledger().completed(attempt, published, expires_at), self._context.log
            )
        except (RefusedError, UnknownJobError):
            unpublish(file.store, stored.key, unless=is_of_another_run(attempt.run_id))
            raise
        return _Made(file, rendering, stored, expires_at)

    def _put_back(self, job: Job) -> None:
        """Requeue a request for its own run; as another attempt if its file was about to appear."""
        with suppress(LedgerError):  # the reconciler does it when this run has ended
            ledger = self._ledger()
            attempt = Attempt(job.id, job.attempt, self._context.run_id)
            ledger.requeue(attempt)
            ledger.restart(attempt, "worker_lost", "Its file could not be stored. It is tried again.")
