"""Locks that say which runs live: the kernel frees one when its process ends, however it does."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO


def lock_of(folder: Path, run_id: str) -> Path:
    """The lock's file.

    Args:
        folder: The staging folder.
    """
    return folder / f"{run_id}.lock"


def take(lock: Path, *, wait: bool = True) -> IO[str]:
    """Hold a lock until the file is closed, here and in every process forked meanwhile.

    Raises:
        BlockingIOError: another process holds it, or is just looking whether one does; not if this waits.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = lock.open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        handle.close()
        raise
    handle.truncate(0)  # of what one before wrote who has died
    return handle


def is_held(lock: Path) -> bool:
    """Whether a living process holds a lock."""
    try:
        with lock.open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def holder(lock: Path) -> int | None:
    """The id of the process that holds a lock and has written it there; None if none does."""
    if not is_held(lock):
        return None
    written = lock.read_text()
    return int(written) if written else None
