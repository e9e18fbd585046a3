"""Who may read the files that we make: by default the user that runs us, nobody else."""

from __future__ import annotations

import contextlib
import grp
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from export_pipeline.store.base import StoreError

_USUAL = os.umask(0o077)
os.umask(_USUAL)


def keep_files_private() -> None:
    """Give every file that this process and its children make from now on to its user alone."""
    os.umask(0o077)


@contextlib.contextmanager
def usual_umask() -> Iterator[None]:
    """Make files as the user's shell would: for those meant for others, such as datasets and metrics."""
    previous = os.umask(_USUAL)
    try:
        yield
    finally:
        os.umask(previous)


def open_private(path: Path) -> BinaryIO:
    """Open a file for writing, unbuffered, which its user alone may read. What it held is gone."""
    return os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb", buffering=0)


def find_group(name: str) -> int:
    """Return the id of a group of this machine.

    Raises:
        StoreError: There is none of this name.
    """
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise StoreError(
            f"EXPORT_FILES_GROUP names {name!r}, and there is no such group here: make it, or name another."
        ) from None
