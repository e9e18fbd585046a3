"""Who may read the files that we make: by default the user that runs us, nobody else."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_usual_umask: int | None = None


def keep_files_private() -> None:
    """Give every file that this process and its children make from now on to its user alone."""
    global _usual_umask
    previous = os.umask(0o077)
    if _usual_umask is None:
        _usual_umask = previous


@contextlib.contextmanager
def usual_umask() -> Iterator[None]:
    """Make files as the user's shell would: for those meant for others, such as datasets and metrics."""
    previous = os.umask(_usual_umask if _usual_umask is not None else 0o077)
    if _usual_umask is None:
        os.umask(previous)
    try:
        yield
    finally:
        os.umask(previous)


def open_private(path: Path) -> BinaryIO:
    """Open a file for writing, unbuffered, which its user alone may read. What it held is gone."""
    return os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb", buffering=0)
