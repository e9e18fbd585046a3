"""The interface of a store: it keeps whole export files under keys, and gives them back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from export_pipeline.store.base import (
    CHUNK_BYTES,
    FileStat,
    NotFoundError,
    OwnKeys,
    StagedFile,
    StoredFile,
    StoreError,
)
from export_pipeline.store.upload import Upload


class Store(ABC):
    """Keeps whole files under keys (see `export_pipeline.store.keys`).

    A file is visible only when it is complete, and it is replaced in one step: readers see either the old
    content or the new. Each key has one writer at a time: staging an upload, or deleting a file, cancels
    all earlier uploads of the same key, including requests of a dead process that are still in flight.
    Methods may be called from several threads.

    Every method raises StoreError, and ValueError for an invalid key.
    """

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL of the store, without credentials."""

    @abstractmethod
    def begin(self, key: str, *, media_type: str, file_name: str, local: Path) -> Upload:
        """Begin an upload: the file is written in pieces, read back, and only then published.

        Memory use does not depend on the file's size. S3 receives parts of the file while a local copy is
        written; a folder store writes the file itself.

        Args:
            key: The key of the file; an older file there is replaced.
            media_type: The Content-Type, e.g. "text/csv; charset=utf-8". A folder store ignores it.
            file_name: The name under which people save the file. A folder store ignores it.
            local: Path at which the file can be read back before it is published. It must not exist yet.

        Raises:
            StoreError: The store cannot be used.
            OSError: The path `local` cannot be written.
        """

    @abstractmethod
    def stage_bytes(self, data: bytes, key: str, *, media_type: str) -> StagedFile:
        """Send a small file, such as a manifest, to the store without making it visible."""

    def put_bytes(self, data: bytes, key: str, *, media_type: str) -> StoredFile:
        """Store a small file."""
        with self.stage_bytes(data, key, media_type=media_type) as staged:
            return staged.publish()

    @abstractmethod
    def open(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for reading as a stream; only `read(size)` is supported. Raises NotFoundError."""

    @abstractmethod
    def stat(self, key: str) -> FileStat:
        """Return the size and time of a file. Raises NotFoundError."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[FileStat]:
        """Yield the files whose key starts with `prefix`, in no particular order."""

    @abstractmethod
    def delete(self, *keys: str, still: Callable[[], bool] = lambda: True) -> None:
        """Remove files, in this order. A file that does not exist or is replaced meanwhile is no error.

        Args:
            keys: The keys of the files.
            still: Called once no earlier upload can appear under any of the keys. If it returns False, the
                files are kept.
        """

    @abstractmethod
    def signed_url(
        self, key: str, *, expires_seconds: int, file_name: str | None = None, media_type: str | None = None
    ) -> str:
        """Return a URL with which anybody can download the file until it expires.

        Args:
            key: The key of the file.
            expires_seconds: Lifetime in seconds, at most seven days. A folder's file:// link does not expire.
            file_name: The name to save as; None uses the one given to `begin`.
            media_type: The Content-Type of the response; None uses the one given to `begin`.

        Raises:
            NotFoundError: No file has this key.
            ValueError: The lifetime is below one second or over seven days.
        """

    @abstractmethod
    def clean(self, older_than: timedelta, *, own: OwnKeys = lambda keys: keys, dry_run: bool = False) -> int:
        """Remove the leftovers of unfinished uploads; return their number.

        Args:
            older_than: Minimum age of the uploads to remove, so that running uploads are kept.
            own: Selects this deployment's keys where other programs may also upload to the same place.
            dry_run: Count the leftovers, but remove nothing.
        """

    @abstractmethod
    def check(self) -> str | None:
        """Write, read and delete a tiny file, to prove that the store works.

        Returns:
            A sentence about a guarantee that the server cannot give; None if it gives all of them.
        """

    def exists(self, key: str) -> bool:
        """Return whether a file has this key."""
        try:
            self.stat(key)
        except NotFoundError:
            return False
        return True

    def download(self, key: str, path: Path) -> None:
        """Copy a file to a local path. The path is complete or absent afterwards. Raises NotFoundError."""
        partial = path.with_name(f".{path.name}.part")
        try:
            with self.open(key) as source, partial.open("wb") as target:
                while chunk := source.read(CHUNK_BYTES):
                    target.write(chunk)
            partial.replace(path)
        except OSError as error:
            raise StoreError(f"Cannot write {path}: {error.strerror or error}.") from error
        finally:
            partial.unlink(missing_ok=True)
