"""The marker file of a folder store: a folder whose file system is not mounted has none.

A folder that was used before and has lost its marker is refused: what is written below a mount point
vanishes when the file system is mounted again. That a folder was used before is known to the ledger.
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
    """Remembers which stores were used."""

    def find(self, url: str) -> str | None:
        """Return the id of the store at a URL, None if none was used there or nothing is remembered.

        Raises:
            StoreUnavailableError: It cannot be asked now.
        """

    def record(self, url: str, store_id: str, prepare: Callable[[], None]) -> str | None:
        """Remember the id of the store at a URL, unless one is known; return the known one.

        Args:
            url: Where the store is.
            store_id: Its id.
            prepare: Called before the id is kept for good, if it is this one.

        Returns:
            The id that is known now; None where nothing can be remembered.

        Raises:
            StoreUnavailableError: It cannot be asked now.
        """


class FolderMarker:
    """Tells whether a folder is the store that it was.

    Args:
        root: The store's folder.
        registry: None demands nothing.
    """

    def __init__(self, root: Path, registry: StoreRegistry | None) -> None:
        self._file, self._url, self._registry = root / MARKER, root.as_uri(), registry
        self._expected: str | None = None

    def check(self) -> None:
        """Raise StoreError if the folder was used before and is another one now."""
        if self._registry is None:
            return
        there = self._read()
        if self._expected is None:
            try:
                self._expected = self._registry.find(self._url)
            except StoreUnavailableError:
                if there is None:
                    raise
                return  # most likely all is well, and files that are there can be used meanwhile
        if self._expected not in (None, there):
            raise StoreError(self._says(there))

    def make(self) -> None:
        """Mark the folder, which is there and was checked, at its first use. Raises as `check`."""
        if self._registry is None or self._expected is not None:
            return
        there = self._read()
        store_id = there or uuid.uuid4().hex
        try:
            self._expected = self._registry.record(
                self._url, store_id, lambda: None if there else self._write(store_id)
            )
        except StoreUnavailableError:
            return  # the next use marks it
        if self._expected is not None and self._expected != self._read():
            raise StoreError(self._says(self._read()))

    def _read(self) -> str | None:
        try:
            return str(json.loads(self._file.read_bytes())["store"])
        except (FileNotFoundError, NotADirectoryError):
            return None
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
