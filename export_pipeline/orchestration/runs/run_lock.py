"""Lock files of runs: they tell a launcher whether it has forked a run, and the id of its process.

Whether a run is alive is decided by its lease in the ledger instead (see `heartbeat`).
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import IO


def lock_of(folder: Path, run_id: str) -> Path:
    """Return the path of a run's lock file.

    Args:
        folder: The staging folder.
    """
    return folder / f"{run_id}.lock"


def take_lock(lock: Path, *, wait: bool = True) -> IO[str]:
    """Take a lock. It is held until the file is closed, here and in every process forked meanwhile.

    Raises:
        BlockingIOError: another process holds or tests the lock, and `wait` is False.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = lock.open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        handle.close()
        raise
    handle.truncate(0)  # remove what a dead holder has written
    return handle


def is_held(lock: Path) -> bool:
    """Return whether a living process holds a lock."""
    try:
        with lock.open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def sign_lock(handle: IO[str]) -> None:
    """Write the id of this process into the lock that it holds."""
    handle.write(f"{os.getpid()} {_machine()}")
    handle.flush()


def lock_holder(lock: Path) -> int | None:
    """Return the id of the process on this machine that holds and has signed a lock, or None."""
    if not is_held(lock):
        return None
    pid, _, machine = lock.read_text().partition(" ")
    return int(pid) if pid and machine == _machine() else None


def _machine() -> str:
    """Return an id of this machine or container, as several may share a folder."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()
