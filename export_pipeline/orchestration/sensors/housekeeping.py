"""Removes staged data that are needed no more.

A run that succeeded needs its staged data no more. One that failed or was canceled keeps for a day those of
its steps that have ended, so that it can be executed again from its failure without reading the source anew.
What the step in which it failed has written by then goes at once: it may have filled the disk.
"""

import math
import re
import shutil
import stat
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import dagster as dg

from export_pipeline.orchestration.dagster_compat import NOT_PREVIEWED, is_preview
from export_pipeline.orchestration.io_managers import StagingIOManager
from export_pipeline.orchestration.runs import run_lock
from export_pipeline.orchestration.runs.staging import REFUSED, is_whole
from export_pipeline.orchestration.sensors.tick_deadline import tick_deadline

KEPT_SECONDS = 24 * 3600

_RUN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(\.lock)?")
_STEP = re.compile(r"render_\w+|.+-result")


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
    description="Removes staged data that are needed no more.",
)
def housekeeping_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Clean up, and say in the tick what was done."""
    if is_preview(context):
        return dg.SkipReason(NOT_PREVIEWED)
    until = tick_deadline()
    staging: StagingIOManager = context.resources.staging
    removed = clean_staging(context.instance, Path(staging.folder), until=until)
    freed = f"{len(removed)} leftovers with {sum(removed.values()):,} bytes removed from staging"
    return dg.SkipReason(f"{freed}.")
