"""File permissions: by default only our own user may read the files that we create."""

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
    """Make all files that this process and its children create from now on private to the user."""
    os.umask(0o077)


@contextlib.contextmanager
def usual_umask() -> Iterator[None]:
    """Create files with the user's usual umask: for files meant for others, e.g. datasets, metrics."""
    previous = os.umask(_USUAL)
    try:
        yield
    finally:
        os.umask(previous)


def open_private(path: Path) -> BinaryIO:
    """Open a file for unbuffered writing that only the user may read. Old content is truncated."""
    return os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb", buffering=0)


def find_group(name: str) -> int:
    """Return the id of a group of this machine.

    Raises:
        StoreError: No group has this name.
    """
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise StoreError(
            f"EXPORT_FILES_GROUP names {name!r}, and there is no such group here: make it, or name another."
        ) from None
