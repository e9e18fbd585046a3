"""Shared reads: one read of the source for all runs of a schedule on this machine.

The first of these runs reads the rows of all scopes in one snapshot and stages an export for each. The others
take theirs from there. Each run stays what it is: it renders, proves, publishes, fails and is canceled alone.

A read serves the jobs that were in the ledger before its snapshot was opened, and no other: a later request
for the same rows must not get older ones. Its rows are removed when none of these jobs can use them any more.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.export_data import ExportData, Request, hash_spec
from export_pipeline.core.tables import Table
from export_pipeline.jobs import Job, Ledger
from export_pipeline.orchestration.runs.attempts import attempts_of
from export_pipeline.orchestration.runs.outages import retry_until_available
from export_pipeline.orchestration.runs.run_lock import lock_of, take_lock
from export_pipeline.orchestration.runs.staging import (
    Definition,
    StagingError,
    StagingGoneError,
    load,
    save,
    write_whole,
)
from export_pipeline.redaction import summarize_error
from export_pipeline.schedules.cadence_requests import CadenceWindow
from export_pipeline.sources.snapshot import SourceUnavailableError

_NAMESPACE = uuid.UUID("5d5f2f0e-8a1c-4f0b-b1de-6a3f9f1c7d20")
_JOBS = "jobs-result"
"""Name of the file with the jobs that a read serves, created_at by id. It is written first.

The id of a window's job is computed: it has the same id when it is deleted and requested again.
"""
_WHOLE, _ALONE = "whole-result", "alone-result"
"""Names of files that mark the end of a read: all scopes are staged; each run has to read on its own."""
_LOOK_SECONDS = 0.2

ReadScopes = Callable[[list[str]], Iterator[ExportData]]
"""Reads the exports of scopes, one after the other, with the scope of each row in the first column."""


def take_export(
    folder: Path,
    own: Path,
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
        folder: The staging folder. What is read has the form of a run's folder there.
        own: A folder for the staged export of this run. As the run's own it stays when the read is removed.
        datasets: The datasets by name.
        read: Reads the rows of all scopes in one snapshot.

    Returns:
        None if the run has to read on its own: nothing was requested together with it, it was requested after
        a read that others still use, the rows cannot be read together, or each run has a staging folder of
        its own, as on Kubernetes.

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
    while not _is_served(jobs, _served_by(place)):
        try:
            lock = take_lock(lock_of(folder, name), wait=False)
        except BlockingIOError:
            time.sleep(_LOOK_SECONDS)  # not inside flock, so that a canceled run ends at once
            continue
        with lock:
            if not _serve(jobs, place, ledger, read, log):
                return None
    if (place / _ALONE).exists():
        return None
    data = _take(place / _name_of_scope(request.scope), own, datasets)
    return None if data is None else own_rows(data, request.scope)


def is_read(place: Path) -> bool:
    """Return whether a folder holds a shared read."""
    return (place / _JOBS).exists()


def is_needed(place: Path, ledger: Callable[[], Ledger]) -> bool:
    """Return whether a run may still take rows from a read."""
    return _is_any_left(_jobs_of(place), ledger())


def _name_of_read(request: Request, job: Job) -> str | None:
    """Return the name of the read that serves a job, equal for all scopes; None if it is requested alone."""
    if (job.window_key if job.schedule_id is None else job.scheduled_for) is None:
        return None
    options = request.options.model_dump(mode="json", by_alias=True)
    window = request.window and [request.window.start.isoformat(), request.window.end.isoformat()]
    facts = [request.dataset, hash_spec(request.spec), options, window, job.shared_read_key]
    return str(uuid.uuid5(_NAMESPACE, json.dumps(facts, sort_keys=True)))


def _name_of_scope(scope: str) -> str:
    return f"{hashlib.sha256(scope.encode('utf-8', 'surrogatepass')).hexdigest()}-result"


def _served_by(place: Path) -> dict[str, str]:
    """Return the jobs that a read serves, created_at by id; empty until it has ended."""
    if not (place / _WHOLE).exists() and not (place / _ALONE).exists():
        return {}
    return _jobs_of(place)


def _jobs_of(place: Path) -> dict[str, str]:
    """Return the jobs for which a read was begun, created_at by id; empty if its file is gone or torn."""
    try:
        return dict(json.loads((place / _JOBS).read_text()))
    except (FileNotFoundError, ValueError, TypeError):  # it is being removed, or torn
        return {}


def _is_of_cadence(job: Job) -> bool:
    """Return whether a job exports the window that its window_key names; others export all rows."""
    return CadenceWindow.of(job) is not None


def _creations(jobs: Sequence[Job]) -> dict[str, str]:
    return {job.id: job.created_at.isoformat() for job in jobs}


def _is_served(jobs: Sequence[Job], served: Mapping[str, str]) -> bool:
    return _creations(jobs).items() <= served.items()


def _is_any_left(served: Mapping[str, str], ledger: Ledger) -> bool:
    """Return whether one of the jobs that a read serves has not ended, and is in its first attempt."""
    left = ledger.in_first_attempt([*served])
    return any(created_at.isoformat() == served[id] for id, created_at in left.items())


def _serve(
    jobs: Sequence[Job], place: Path, ledger: Callable[[], Ledger], read: ReadScopes, log: logging.Logger
) -> bool:
    """Let a read serve the jobs of a run. Return False if it cannot: they have ended, or came too late."""
    served = _served_by(place)
    if _is_served(jobs, served):
        return True
    if retry_until_available(lambda: _is_any_left(served, ledger()), log):
        return False
    asked = retry_until_available(lambda: ledger().requested_with(jobs[0]), log)
    together = [job for job in asked if _is_of_cadence(job) == _is_of_cadence(jobs[0])]
    if not _is_served(jobs, _creations(together)):
        return False
    _stage(place, together, read, log)
    return True


def _stage(place: Path, jobs: Sequence[Job], read: ReadScopes, log: logging.Logger) -> None:
    """Stage the exports of the scopes of jobs, or note that each has to be read on its own."""
    scopes = sorted({job.scope for job in jobs if job.scope is not None})
    _begin(place, jobs)
    if len(scopes) > 1:
        try:
            for data in read(scopes):
                save(data, place / _name_of_scope(str(data.scope)))
        except BaseException as error:
            shutil.rmtree(place, ignore_errors=True)
            # Of one scope's rows that cannot be read, or that fill the disk or the time of a query, only that
            # scope's run shall fail. So shall it by a fault of this program.
            if isinstance(error, SourceUnavailableError) or not isinstance(error, Exception):
                raise
            why = summarize_error(error)
            log.warning(f"The rows of {len(scopes):,} scopes are read for each run on its own. {why}")
            _begin(place, jobs)
        else:
            (place / _WHOLE).touch()
            return
    (place / _ALONE).touch()


def _begin(place: Path, jobs: Sequence[Job]) -> None:
    shutil.rmtree(place, ignore_errors=True)  # of a run that was killed, or of a read that served other jobs
    place.mkdir()
    try:
        write_whole(place / _JOBS, json.dumps(_creations(jobs)))
    except OSError:
        shutil.rmtree(place, ignore_errors=True)
        raise


def _take(staged: Path, own: Path, datasets: Mapping[str, Definition]) -> ExportData | None:
    """Return a staged export from a folder of its own; None if it is gone, or was never staged."""
    shutil.rmtree(own, ignore_errors=True)  # of a try that has failed
    try:
        shutil.copytree(staged, own, copy_function=_link)
        data = load(own, datasets)
    except (FileNotFoundError, shutil.Error, StagingGoneError):
        return None
    return data if all(file.exists() for table in data.tables.values() for file in table.files) else None


def _link(path: str, new: str) -> None:
    try:
        os.link(path, new)
    except OSError:  # no hard links here
        shutil.copyfile(path, new)


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
