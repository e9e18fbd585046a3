"""What runs leave behind: staged data of runs that ended, and runs whose process died without a word.

A run that succeeded needs its staged data no more. One that failed or was canceled keeps for a day those of
its steps that have ended, so that it can be executed again from its failure without reading the source anew.
What the step in which it failed has written by then goes at once: it may have filled the disk.

Dagster notices the death of processes that its daemon starts. A run in a process of our own (see `running`)
holds a lock for as long as it lives; once the lock is free, a run that still counts as started is ended here,
as it would otherwise take a place in the queue of runs for ever. A process that another one started holds it
from its first step on (see `watched`); if it and who started it die before that, only time tells.
"""

import math
import re
import shutil
import socket
import stat
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.code_pointer import ModuleCodePointer

from export_pipeline.orchestration import run_lock, warm_server
from export_pipeline.orchestration.dagster_compat import NOT_PREVIEWED, is_preview
from export_pipeline.orchestration.io_managers import StagingIOManager
from export_pipeline.orchestration.staging import REFUSED, is_whole
from export_pipeline.orchestration.tick_deadline import tick_deadline

KEPT_SECONDS = 24 * 3600
HOST_TAG = "export_pipeline/host"
NO_STEP = timedelta(minutes=5)
"""A run that has started takes its first step within seconds, unless its process has died."""

_RUN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(\.lock)?")
_STEP = re.compile(r"render_\w+|.+-result")
_STEPS = {
    dg.DagsterEventType.STEP_WORKER_STARTING,  # in a process of its own, which may take longer
    dg.DagsterEventType.STEP_START,
}
_RUNNING = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


@contextmanager
def living(folder: Path, run_id: str) -> Iterator[dict[str, str]]:
    """Hold the lock that says a run of this process lives; gives the tags the run must have.

    Args:
        folder: The staging folder.
    """
    lock = run_lock.lock_of(folder, run_id)
    with run_lock.take(lock):
        yield {HOST_TAG: socket.gethostname()}
        lock.unlink(missing_ok=True)


def end_dead_runs(instance: dg.DagsterInstance, folder: Path) -> list[str]:
    """Mark runs as failed whose process on this host has died; gives their ids."""
    ours = dg.RunsFilter(statuses=_RUNNING, tags={HOST_TAG: socket.gethostname()})
    dead = [run for run in instance.get_runs(ours) if _has_died(run, run_lock.lock_of(folder, run.run_id))]
    for run in dead:
        instance.report_run_failed(run, "The process of this run has died or was killed; re-execute the run.")
        run_lock.lock_of(folder, run.run_id).unlink(missing_ok=True)
    return [run.run_id for run in dead]


def end_stepless_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs as failed that have started and took no step for minutes; gives their ids."""
    long_ago = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.STARTED], updated_before=datetime.now(UTC) - NO_STEP
    )
    dead = [
        run
        for run in instance.get_runs(long_ago)
        if HOST_TAG not in run.tags
        and _is_of_this_code(run)
        and not instance.get_records_for_run(run.run_id, of_type=_STEPS, limit=1).records
    ]
    for run in dead:
        instance.report_run_failed(
            run, "The process of this run has died before its first step; re-execute the run."
        )
    return [run.run_id for run in dead]


def _is_of_this_code(run: dg.DagsterRun) -> bool:
    if run.job_code_origin is None:
        return False
    pointer = run.job_code_origin.repository_origin.code_pointer
    return isinstance(pointer, ModuleCodePointer) and pointer.module == warm_server.LOCATION


def _has_died(run: dg.DagsterRun, lock: Path) -> bool:
    """Whether a run has lost its lock. One that is executed again has another's tags before it has a lock."""
    return not run_lock.is_held(lock) and (lock.exists() or run.parent_run_id is None)


def clean_staging(
    instance: dg.DagsterInstance, folder: Path, *, dry_run: bool = False, until: float = math.inf
) -> dict[str, int]:
    """Remove what ended runs staged and no re-execution needs; return how many bytes that frees, by path.

    Args:
        folder: The staging folder. What others keep there stays.
        dry_run: Only look.
        until: Stop then, by `time.monotonic`; the next call goes on.
    """
    found = [path for path in folder.iterdir() if _is_staged(path)] if folder.is_dir() else []
    if not found:
        return {}
    ids = [path.name.removesuffix(".lock") for path in found]
    runs = {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=ids))}
    removed: dict[str, int] = {}
    for path, run_id in zip(found, ids, strict=True):
        run = runs.get(run_id)
        if (run and not run.is_finished) or (path.suffix == ".lock" and run_lock.is_held(path)):
            continue
        for part in _leftovers(path, run):
            if time.monotonic() >= until:
                return removed
            size = _bytes(part)
            if not dry_run:
                shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)
            if dry_run or not part.exists():
                removed[str(part.relative_to(folder))] = size
    return removed


def _is_staged(path: Path) -> bool:
    """Return whether a path has the name and the parts of what a run stages."""
    if path.is_symlink() or not _RUN.fullmatch(path.name):
        return False
    return not path.is_dir() or all(_STEP.fullmatch(step.name) for step in path.iterdir())


def _leftovers(path: Path, run: dg.DagsterRun | None) -> list[Path]:
    """Return what may go of the data that a run which has ended, or is not known, has staged."""
    if (run and run.is_success) or _touched(path) < time.time() - KEPT_SECONDS:
        return [path]
    if run is None or not path.is_dir():
        return []
    steps = list(path.iterdir())
    torn = [step for step in steps if not is_whole(step) and not (step / REFUSED).is_dir()]
    return [path] if torn == steps else torn


def _bytes(path: Path) -> int:
    """Return how many bytes the removal of a path frees: none of a file with another name elsewhere."""
    names: Counter[tuple[int, int]] = Counter()
    size = 0
    for item in (path, *path.rglob("*")):
        with suppress(FileNotFoundError):
            status = item.lstat()
            names[status.st_dev, status.st_ino] += 1
            if stat.S_ISREG(status.st_mode) and names[status.st_dev, status.st_ino] == status.st_nlink:
                size += status.st_size
    return size


def _touched(path: Path) -> float:
    """When anything in a folder was last changed; now, if it vanishes meanwhile."""
    try:
        return max(item.lstat().st_mtime for item in (path, *path.rglob("*")))
    except FileNotFoundError:
        return time.time()


@dg.sensor(
    name="housekeeping_sensor",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    required_resource_keys={"staging"},
    description="Removes staged data that are needed no more, and ends runs whose process has died.",
)
def housekeeping_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Clean up, and say in the tick what was done."""
    if is_preview(context):
        return dg.SkipReason(NOT_PREVIEWED)
    until = tick_deadline()
    staging: StagingIOManager = context.resources.staging
    folder = Path(staging.folder)
    dead = end_dead_runs(context.instance, folder) + end_stepless_runs(context.instance)
    removed = clean_staging(context.instance, folder, until=until)
    freed = f"{len(removed)} leftovers with {sum(removed.values()):,} bytes removed from staging"
    return dg.SkipReason(f"{len(dead)} dead runs ended, {freed}.")
