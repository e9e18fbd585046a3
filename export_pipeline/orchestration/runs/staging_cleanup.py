"""Remove staged data that are no longer needed.

A successful run no longer needs its staged data. A failed or canceled run keeps the data of its completed
steps for a day, so that it can be re-executed from the failure without another read of the source. Data of
the failed step are removed at once, as they may have filled the disk, and so are data of requests that were
deleted. Rows that several runs share are removed when none of their jobs can use them any more.
"""

import math
import re
import shutil
import stat
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import dagster as dg

from export_pipeline.jobs import Ledger, LedgerError
from export_pipeline.orchestration.runs import run_lock, shared_reads
from export_pipeline.orchestration.runs.attempts import attempts_of
from export_pipeline.orchestration.runs.staging import EXTRA, REJECTED, is_whole

KEPT_SECONDS = 24 * 3600

_RUN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(\.lock)?")
_STEP = re.compile(rf"render_\w+|.+-result|{EXTRA}")


def clean_staging(
    instance: dg.DagsterInstance,
    folder: Path,
    ledger: Callable[[], Ledger] | None = None,
    *,
    dry_run: bool = False,
    until: float = math.inf,
) -> dict[str, int]:
    """Remove staged data of ended runs that no re-execution needs. Return the freed bytes by path.

    Args:
        folder: The staging folder. Files that are not staged data stay.
        ledger: Knows which jobs still need what is staged for them; None keeps it for a day.
        dry_run: Remove nothing.
        until: Deadline on the clock of `time.monotonic`. The next call continues.
    """
    staged = [path for path in folder.iterdir() if _is_staged(path)] if folder.is_dir() else []
    if not staged:
        return {}
    ids = [path.name.removesuffix(".lock") for path in staged]
    records = instance.get_run_records(dg.RunsFilter(run_ids=ids))
    runs = {record.dagster_run.run_id: record.dagster_run for record in records}
    removed: dict[str, int] = {}
    names: Counter[tuple[int, int]] = Counter()
    for path, run_id in zip(staged, ids, strict=True):
        if time.monotonic() >= until:
            return removed
        run = runs.get(run_id)
        if (run and not run.is_finished) or (path.suffix == ".lock" and run_lock.is_held(path)):
            continue
        with ExitStack() as stack:
            if shared_reads.is_read(path):
                try:  # so that no run reads anew into what is removed
                    stack.enter_context(run_lock.take_lock(run_lock.lock_of(folder, run_id), wait=False))
                except BlockingIOError:
                    continue
            try:
                leftovers = _leftovers(path, run, ledger)
            except LedgerError:
                ledger = None  # it would not answer for the others either, and each may wait for it
                leftovers = _leftovers(path, run, ledger)
            for part in leftovers:
                if time.monotonic() >= until:
                    return removed
                size = _bytes(part, names)
                if not dry_run:
                    names.clear()  # the file system counts the names that are left
                    shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)
                if dry_run or not part.exists():
                    removed[str(part.relative_to(folder))] = size
    return removed


def is_staged_key(key: str) -> bool:
    """Return whether a key in S3 is that of a file which a step of a run has staged."""
    run_id, _, rest = key.partition("/")
    step, _, name = rest.partition("/")
    return bool(name and _RUN.fullmatch(run_id) and _STEP.fullmatch(step))


def _is_staged(path: Path) -> bool:
    """Return whether a path has the name and the content of a run's staging folder."""
    if path.is_symlink() or not _RUN.fullmatch(path.name):
        return False
    try:
        return not path.is_dir() or all(_STEP.fullmatch(step.name) for step in path.iterdir())
    except OSError:  # it was removed just now, or is another user's
        return False


def _leftovers(path: Path, run: dg.DagsterRun | None, ledger: Callable[[], Ledger] | None) -> list[Path]:
    """Return the staged data that may be removed of a run that has ended or is unknown."""
    if (run and run.is_success) or _touched(path) < time.time() - KEPT_SECONDS:
        return [path]
    if ledger is not None and (_is_deleted(run, ledger) if run else _is_done(path, ledger)):
        return [path]
    if run is None or not path.is_dir():
        return []
    try:
        steps = list(path.iterdir())
    except FileNotFoundError:  # removed just now
        return []
    torn = [step for step in steps if not is_whole(step) and not (step / REJECTED).is_dir()]
    return [path] if torn == steps else torn


def _is_deleted(run: dg.DagsterRun, ledger: Callable[[], Ledger]) -> bool:
    """Return whether all requests of a run were deleted, so that it cannot be executed again."""
    requested = [attempt.job_id for attempt in attempts_of(run.tags, None)]
    return bool(requested) and not ledger().get_all(requested)


def _is_done(path: Path, ledger: Callable[[], Ledger]) -> bool:
    return shared_reads.is_read(path) and not shared_reads.is_needed(path, ledger)


def _bytes(path: Path, names: Counter[tuple[int, int]]) -> int:
    """Return how many bytes the removal of a path frees. A file with hard links elsewhere frees none.

    Args:
        names: Counts the names of each file in what is removed; those in the path are added.
    """
    size = 0
    for item in (path, *path.rglob("*")):
        with suppress(FileNotFoundError):
            status = item.lstat()
            names[status.st_dev, status.st_ino] += 1
            if stat.S_ISREG(status.st_mode) and names[status.st_dev, status.st_ino] == status.st_nlink:
                size += status.st_size
    return size


def _touched(path: Path) -> float:
    """Return the newest modification time in a folder, or the current time if the folder vanishes."""
    try:
        return max(item.lstat().st_mtime for item in (path, *path.rglob("*")))
    except FileNotFoundError:
        return time.time()
