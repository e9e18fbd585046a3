"""Reading the local file that a put stores, piece by piece."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from export_pipeline.store.base import CanceledError, StoreError


@dataclass(frozen=True, slots=True)
class LocalFile:
    """An open local file and the size it had when it was opened."""

    path: Path
    handle: BinaryIO
    size: int

    def pieces(self, piece_bytes: int, canceled: Callable[[], bool] | None) -> Iterator[bytes]:
        """Its content in pieces of `piece_bytes` bytes, the last shorter; an empty file gives none.

        Raises:
            CanceledError: `canceled`, asked before each piece and at the end, said so.
            StoreError: The file cannot be read, or grew or shrank meanwhile.
        """
        done = 0
        while True:
            if canceled is not None and canceled():
                raise CanceledError(f"Storing {self.path.name} was canceled.")
            try:
                piece = self.handle.read(piece_bytes)
            except OSError as error:
                raise StoreError(f"Cannot read {self.path}: {error.strerror}.") from error
            done += len(piece)
            if done > self.size or (not piece and done < self.size):
                raise StoreError(
                    f"{self.path} changed while it was being stored: write it first, then store."
                )
            if not piece:
                return
            yield piece


@contextlib.contextmanager
def local_file(path: Path) -> Iterator[LocalFile]:
    """Open a file to be stored; StoreError if it cannot be read."""
    try:
        handle = path.open("rb")
    except OSError as error:
        raise StoreError(f"Cannot read {path}: {error.strerror}.") from error
    with handle:
        yield LocalFile(path, handle, os.fstat(handle.fileno()).st_size)
