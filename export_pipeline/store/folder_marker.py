"""The marker file of a folder store. It is missing if the folder's file system is not mounted.

A folder that was used before and has no marker is refused: files written below a mount point vanish when
the file system is mounted again. The ledger knows whether a folder was used before.
"""

from __future__ import annotations

import json
import os
import shlex
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from export_pipeline.store.base import StoreError, StoreUnavailableError

MARKER = ".export-store.json"


class StoreRegistry(Protocol):
    """Remembers which stores have been used."""

    def find(self, url: str) -> str | None:
        """Return the id of the store at a URL; None if it is unused or nothing can be remembered.

        Raises:
            StoreUnavailableError: The registry cannot be reached now.
        """

    def record(self, url: str, store_id: str, prepare: Callable[[], None]) -> str | None:
        """Record the id of the store at a URL unless one is known; return the known id.

        Args:
            url: URL of the store.
            store_id: Id of the store.
            prepare: Called before the id is committed, if it is the new one.

        Returns:
            The id that is recorded now; None if nothing can be remembered.

        Raises:
            StoreUnavailableError: The registry cannot be reached now.
        """


class FolderMarker:
    """Detects whether a folder is still the store that was used before.

    Args:
        root: Folder of the store.
        registry: Remembers used stores; None skips the check.
    """

    def __init__(self, root: Path, registry: StoreRegistry | None) -> None:
        self._file, self._url, self._registry = root / MARKER, root.as_uri(), registry
        self._expected: str | None = None

    def check(self) -> None:
        """Raise StoreError if the folder was used before and is now a different one."""
        if self._registry is None:
            return
        if self._expected is None:
            try:
                self._expected = self._registry.find(self._url)
            except StoreUnavailableError:
                if self._read() is None:
                    raise
                return  # the folder is most likely the right one, and its files can be used meanwhile
        there = self._read()  # after the id: another process may write both now, the marker first
        if self._expected not in (None, there):
            raise StoreError(self._says(there))

    def make(self) -> None:
        """Write the marker at the first use of a folder that exists and was checked. Raises as `check`."""
        if self._registry is None or self._expected is not None:
            return
        there = self._read()
        store_id = there or uuid.uuid4().hex
        try:
            self._expected = self._registry.record(
                self._url, store_id, lambda: None if there else self._write(store_id)
            )
        except StoreUnavailableError:
            return  # the next use writes the marker
        if self._expected is not None and self._expected != self._read():
            raise StoreError(self._says(self._read()))

    def _read(self) -> str | None:
        try:
            return str(json.loads(self._file.read_bytes())["store"])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:  # such as that of a server of a network file system that is gone
            raise StoreError(
                f"The folder {self._file.parent} cannot be used, as {MARKER} in it cannot be read "
                f"({error.strerror}): see whether its file system is mounted, and whose the file is."
            ) from error
        except (ValueError, TypeError, KeyError):
            return "nothing that can be read"

    def _write(self, store_id: str) -> None:
        partial = self._file.with_name(f"{MARKER}.{uuid.uuid4().hex}")
        try:
            descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(_content(store_id))
                file.flush()
                os.fsync(descriptor)
            partial.replace(self._file)
        finally:
            partial.unlink(missing_ok=True)

    def _says(self, there: str | None) -> str:
        if there is None:
            wrong = f"its {MARKER} is missing, most likely because its file system is not mounted"
        else:
            wrong = f"its {MARKER} names another store ({there})"
        restore = f"echo {shlex.quote(_content(str(self._expected)))} > {shlex.quote(str(self._file))}"
        return (
            f"The folder {self._file.parent} is not the store that was used before: {wrong}. Mount the right "
            f"one; if the folder was emptied or replaced on purpose, run: {restore}"
        )


def _content(store_id: str) -> str:
    return json.dumps({"store": store_id})
