"""Checks of disks: the staging folder, the staging disks of workers, and free space."""

from __future__ import annotations

import errno
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from export_pipeline.health.findings import Finding, FindingCode
from export_pipeline.jobs.leases import Disk
from export_pipeline.jobs.stats import Statistics
from export_pipeline.settings import Settings

_LEAST_FREE_BYTES = 1 << 30
_LEAST_FREE_SHARE = 0.05
_RECENT = timedelta(minutes=10)


def worker_disk_findings(statistics: Statistics, settings: Settings) -> Iterator[Finding]:
    """Find workers on other machines whose staging disk is nearly full, as their leases have reported it."""
    own = None
    with suppress(OSError):  # `staging_findings` reports that
        own = (socket.gethostname(), shutil.disk_usage(settings.staging_folder).total)
    for worker, (disk, since) in statistics.staging_disks(_RECENT).items():
        if worker != own and _is_nearly_full(disk):
            yield Finding(
                "staging_full",
                f"Only {_room_text(disk)} are free on the staging disk of worker {worker[0]}.",
                "Free other space there, or let EXPORT_STAGING_URL name a larger disk. It has removed "
                "what its ended runs have left.",
                since,
            )


def staging_findings(settings: Settings, dagster: bool) -> Iterator[Finding]:
    """Check that runs can write to the staging folder, and that it has free space."""
    folder = settings.staging_folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"check")
            file.flush()
    except OSError as error:
        wrong = f"The staging folder {folder} cannot be written: {error.strerror or error}."
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            yield Finding("staging_full", wrong, _how_to_free(settings, dagster))
        else:
            yield Finding("staging_unusable", wrong, "Let this user write there, or set EXPORT_STAGING_URL.")
        return
    for finding in room_findings("staging_full", folder, ""):
        yield replace(finding, do=_how_to_free(settings, dagster))


def _how_to_free(settings: Settings, dagster: bool) -> str:
    """Return a sentence on how to free space on the disk of the staging folder."""
    free_other = "Free other space there, or let EXPORT_STAGING_URL name a larger disk."
    try:
        freed = _freed_by_purge(settings) if dagster else 0
    except Exception:  # an unusable instance is reported by another check
        return free_other
    if freed:
        return f"Run `export-pipeline purge`, which frees {freed:,} bytes of ended runs there."
    held = _held_bytes(settings.staging_folder)
    return (
        f"`export-pipeline purge` frees nothing there: {held:,} bytes are of runs under way, or of failed "
        f"ones of the last day, which can be executed again. {free_other}"
    )


def _held_bytes(folder: Path) -> int:
    """Return the size of all files in a folder. Hard links to a file count once."""
    sizes: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # runs add and remove files meanwhile
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())


def _freed_by_purge(settings: Settings) -> int:
    from export_pipeline.orchestration.instance import prepare_home

    prepare_home()
    import dagster as dg

    from export_pipeline.orchestration.resources import ledger_resource
    from export_pipeline.orchestration.runs.staging_cleanup import clean_staging

    ledger = ledger_resource(settings)
    with dg.DagsterInstance.get() as instance:
        return sum(clean_staging(instance, settings.staging_folder, ledger.open, dry_run=True).values())


def room_findings(code: FindingCode, folder: Path, do: str) -> Iterator[Finding]:
    """Check that the disk of a folder has free space.

    Args:
        code: Code of the finding.
        do: The cure, in one sentence.
    """
    usage = shutil.disk_usage(folder)
    disk = Disk(usage.free, usage.total)
    if _is_nearly_full(disk):
        yield Finding(code, f"Only {_room_text(disk)} are free on the disk of {folder}.", do)


def _is_nearly_full(disk: Disk) -> bool:
    return disk.free < max(_LEAST_FREE_BYTES, _LEAST_FREE_SHARE * disk.size)


def _room_text(disk: Disk) -> str:
    return f"{disk.free / (1 << 30):.1f} GiB ({disk.free / disk.size:.0%})"
