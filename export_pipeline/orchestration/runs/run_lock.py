"""Locks that tell a launcher whether it has forked a run, and which process on its own machine that is.

They say nothing about whether a run lives: leases in the ledger do (see `heartbeat`).
"""

from __future__ import annotations

import fcntl
import os
import socket
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
    """Return True if a living process holds a lock."""
    try:
        with lock.open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def sign(handle: IO[str]) -> None:
    """Write into a lock which process holds it."""
    handle.write(f"{os.getpid()} {_machine()}")
    handle.flush()


def holder(lock: Path) -> int | None:
    """Return the id of the process on this machine that holds a lock and has signed it; None if none does."""
    if not is_held(lock):
        return None
    pid, _, machine = lock.read_text().partition(" ")
    return int(pid) if pid and machine == _machine() else None


def _machine() -> str:
    """Return what tells apart the machines, and the containers of one, that may share a folder."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()
