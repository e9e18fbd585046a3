"""One read of the source for all runs on this machine that a schedule has requested together.

The first of these runs reads the rows of all scopes in one snapshot and stages an export for each. The others
take theirs from there. Each run stays what it is: it renders, proves, publishes, fails and is canceled alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.export_data import ExportData, Request, hash_spec
from export_pipeline.core.tables import Table
from export_pipeline.jobs import Job, Ledger
from export_pipeline.orchestration.runs.attempts import attempts_of
from export_pipeline.orchestration.runs.retries import retry_until_available
from export_pipeline.orchestration.runs.run_lock import lock_of, take_lock
from export_pipeline.orchestration.runs.staging import (
    Definition,
    StagingError,
    StagingGoneError,
    load,
    save,
)
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError

_NAMESPACE = uuid.UUID("5d5f2f0e-8a1c-4f0b-b1de-6a3f9f1c7d20")
_WHOLE, _ALONE = "whole-result", "alone-result"
"""Names of files that mark the folder of a read: all scopes are staged; each run has to read on its own."""
_LOOK_SECONDS = 0.2

ReadScopes = Callable[[list[str]], Iterator[ExportData]]
"""Reads the exports of scopes, one after the other, with the scope of each row in the first column."""


def take_export(
    folder: Path,
    datasets: Mapping[str, Definition],
    ledger: Callable[[], Ledger],
    run: dg.DagsterRun,
    request: Request,
    read: ReadScopes,
    log: logging.Logger,
) -> ExportData | None:
    """Return the export of a request from the read that its run shares with others.

    The first run reads, and the others wait for it. Only first attempts share: a retry shall see what has
    been corrected since.

    Args:
        folder: The staging folder. What is read has the form of a run's folder there, so it is removed like
            one that nobody has touched for a day.
        datasets: The datasets by name.
        read: Reads the rows of all scopes in one snapshot.

    Returns:
        None if the run has to read on its own: nothing was requested together with it, the rows cannot be
        read together, or each run has a staging folder of its own, as on Kubernetes.

    Raises:
        SourceUnavailableError: the source cannot be reached.
        StagingError: the staged rows are not those of the request's scope.
    """
    if (
        request.scope is None
        or run.parent_run_id
        or "KUBERNETES_SERVICE_HOST" in os.environ
        or not attempts_of(run.tags, run.run_id)
    ):
        return None
    jobs = retry_until_available(lambda: ledger().of_run(run.run_id), log)
    if not jobs or any(job.attempt > 1 for job in jobs):
        return None
    name = _name_of_read(request, jobs[0])
    if name is None:
        return None
    place = folder / name
    while not (place / _WHOLE).exists():
        if (place / _ALONE).exists():
            return None
        try:
            lock = take_lock(lock_of(folder, name), wait=False)
        except BlockingIOError:
            time.sleep(_LOOK_SECONDS)  # not inside flock, so that a canceled run ends at once
            continue
        with lock:
            if not (place / _WHOLE).exists() and not (place / _ALONE).exists():
                scopes = retry_until_available(lambda: ledger().scopes_requested_with(jobs[0]), log)
                _stage(place, scopes, read)
    try:
        return own_rows(load(place / _name_of_scope(request.scope), datasets), request.scope)
    except StagingGoneError:  # its scope was requested later
        return None


def _name_of_read(request: Request, job: Job) -> str | None:
    """Return the name of the read that serves a job, equal for all scopes; None if it is requested alone."""
    if job.schedule_id is not None and job.scheduled_for is not None:
        together = [job.schedule_id, job.scheduled_for.isoformat()]
    elif job.schedule_id is None and job.window_key is not None:
        together = [job.window_key]
    else:
        return None
    options = request.options.model_dump(mode="json", by_alias=True)
    window = request.window and [request.window.start.isoformat(), request.window.end.isoformat()]
    facts = [request.dataset, hash_spec(request.spec), options, window, job.options, *together]
    return str(uuid.uuid5(_NAMESPACE, json.dumps(facts, sort_keys=True)))


def _name_of_scope(scope: str) -> str:
    return f"{hashlib.sha256(scope.encode('utf-8', 'surrogatepass')).hexdigest()}-result"


def _stage(place: Path, scopes: list[str], read: ReadScopes) -> None:
    """Stage the exports of scopes, or note that each has to be read on its own."""
    shutil.rmtree(place, ignore_errors=True)  # of a run that was killed
    place.mkdir()
    try:
        if len(scopes) < 2:
            raise SourceError("No other scope waits for the same window.")
        for data in read(scopes):
            save(data, place / _name_of_scope(str(data.scope)))
        (place / _WHOLE).touch()
    except BaseException as error:
        shutil.rmtree(place)
        # Of one scope's rows that cannot be read, or that fill the disk or the time of a query, only that
        # scope's run shall fail.
        if isinstance(error, SourceUnavailableError) or not isinstance(
            error, (SourceError, StagingError, OSError)
        ):
            raise
        place.mkdir()
        (place / _ALONE).write_text(str(error))


def own_rows(data: ExportData, scope: str) -> ExportData:
    """Return an export without the first column of its table, which has to hold the scope in each row."""
    (name, table), *_ = data.tables.items()
    columns = table.columns[1:]

    def rows() -> Iterator[pa.RecordBatch]:
        for batch in table.open():
            if pc.unique(batch.column(0)).to_pylist() not in ([], [scope]):
                raise StagingError(f"{data.dataset}: a row of another scope than {scope!r} was read for it.")
            yield batch.select([column.name for column in columns])

    if data.scope != scope:
        raise StagingError(f"{data.dataset}: the rows of another scope than {scope!r} were staged for it.")
    return replace(data, tables={name: Table(name, columns, table.rows, rows)})
