"""An export in parts: several files that are published together, and that one manifest lists and proves."""

from __future__ import annotations

import hashlib
import logging
import uuid
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export_pipeline.store.base import (
    CHUNK_BYTES,
    NotFoundError,
    OnBytes,
    StagedFile,
    StoredFile,
    StoreError,
)
from export_pipeline.store.file_names import safe_file_name
from export_pipeline.store.keys import attempt_name, manifest_key, part_key
from export_pipeline.store.manifest import Manifest, Part, read_manifest
from export_pipeline.store.store import Store
from export_pipeline.store.upload import Upload

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

log = logging.getLogger(__name__)

MAX_PARTS = 9_999
"""Maximum number of parts of an export: the order of their names, with four digits, is that of their rows."""


@dataclass(frozen=True, slots=True)
class RenderedPart:
    """A part that is rendered and proven, and not visible yet."""

    upload: Upload
    first_row: int
    rows: int


class PartedUpload(StagedFile):
    """The parts of one export. They become visible together, right before the manifest that lists them.

    Several threads may write parts at once. Their keys show the deployment, so that `purge` can remove those
    of a run that was killed before the manifest was there.

    Attributes:
        key: Key of the export; no file has it, but its manifest lies beside this place.
        path: Folder in which parts can be read back.
    """

    def __init__(
        self,
        store: Store,
        key: str,
        folder: Path,
        *,
        media_type: str,
        file_name: str,
        deployment: str | None = None,
    ) -> None:
        self.key, self.path = key, folder
        self._store, self._media_type, self._file_name = store, media_type, file_name
        self._attempt = attempt_name(key, deployment)
        self._begun: list[Upload] = []
        self._parts: list[RenderedPart] = []
        self._shown: list[str] = []
        self._ended = False

    def begin(self, first_row: int) -> Upload:
        """Begin the part whose first row has this number, from 1. Raises as `Store.begin`."""
        key = part_key(self.key, self._attempt, first_row)
        upload = self._store.begin(
            key,
            media_type=self._media_type,
            file_name=self._file_name,
            local=self.path / f"{uuid.uuid4().hex}-{key.rpartition('/')[2]}",
        )
        self._begun.append(upload)
        if self._ended:  # meanwhile, by another thread
            upload.abort()
        return upload

    def add(self, part: RenderedPart) -> None:
        """Add a proven part, and free the local disk of it where the store already has all its bytes."""
        part.upload.release()
        self._parts.append(part)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts in the order of their rows, as the manifest lists them."""
        folder = self.key.rpartition("/")[0]
        return tuple(
            Part(
                path=stored.key.removeprefix(f"{folder}/"),
                bytes=stored.bytes,
                hash=f"sha256:{stored.sha256}",
                rows=part.rows,
            )
            for part in self._in_order()
            for stored in [part.upload.finish()]
        )

    def finish(self) -> StoredFile:
        """Return all parts as one file: the sum of their sizes, and the hash of the list of their hashes."""
        parts = self.parts
        location = self._in_order()[0].upload.finish().location.rpartition("/")[0]
        return StoredFile(self.key, sum(part.bytes for part in parts), hash_of_parts(parts), location)

    def stage(self, progress: OnBytes | None = None) -> None:
        """Cancel the uploads of older attempts that make one file. No other upload has the keys of the parts.

        `add` has sent what can be sent of the parts before they are visible.
        """
        self._store.delete(self.key, still=lambda: False)
        if progress is not None:
            progress(self.finish().bytes)

    def publish(self, *, before_visible: Callable[[], None] | None = None) -> StoredFile:
        """Make the parts visible under their keys. No manifest names them yet, so `abort` removes them.

        Args:
            before_visible: Called before the first part appears; an exception from it is raised here.
        """
        if before_visible is not None:
            before_visible()
        for part in self._in_order():
            self._shown.append(part.upload.key)
            part.upload.publish()
        return self.finish()

    def keep(self) -> None:
        """Let `abort` do nothing any more: the manifest that lists the parts is visible."""
        self._ended = True

    def abort(self) -> None:
        """See `StagedFile.abort`. Also removes visible parts that the manifest does not list."""
        if self._ended:
            return
        self._ended = True
        for upload in list(self._begun):
            upload.abort()
        if self._shown:
            try:
                self._store.delete(*self._shown, still=self._is_unlisted)
            except StoreError as error:  # a purge removes them, if no manifest names them
                log.warning("the parts of %s could not be removed: %s", self.key, error)

    def _is_unlisted(self) -> bool:
        """Return whether no manifest lists the parts."""
        try:  # a server may have stored it and answered with an error
            return read_manifest(self._store, self.key).parts != self.parts
        except NotFoundError:
            return True

    def _in_order(self) -> Sequence[RenderedPart]:
        return sorted(self._parts, key=lambda part: part.first_row)


def name_part(file_name: str, number: int) -> str:
    """Return the name under which people save a part, e.g. "orders-0001.csv"; numbers begin with 1.

    Names of parts differ: one that is too long is cut before the number.
    """
    return safe_file_name(file_name, f"-{number:04}")


def download_parts(store: Store, key: str, manifest: Manifest, folder: Path, file_name: str) -> list[Path]:
    """Copy all parts of an export into a folder, and its manifest last; return the paths of the parts.

    Raises:
        NotFoundError: The store lacks a part.
        StoreError: The store or the folder cannot be used.
    """
    paths = []
    for number, part in enumerate(manifest.part_keys(key), start=1):
        paths.append(folder / name_part(file_name, number))
        store.download(part, paths[-1])
    store.download(manifest_key(key), folder / manifest_key(safe_file_name(file_name)))
    return paths


def zip_parts(store: Store, key: str, manifest: Manifest, file_name: str) -> Iterator[bytes]:
    """Yield a ZIP of all parts of an export, not compressed, and its manifest; in constant memory.

    Raises:
        StoreError: The store cannot be used.
    """
    out: Any = _Pipe()  # ZipFile needs no more of a file that it cannot seek in
    time = manifest.snapshot_at.astimezone(UTC).timetuple()[:6]
    with zipfile.ZipFile(out, "w") as archive:
        for number, part in enumerate(manifest.part_keys(key), start=1):
            member = zipfile.ZipInfo(name_part(file_name, number), time)
            with store.open(part) as source, archive.open(member, "w", force_zip64=True) as target:
                while chunk := source.read(CHUNK_BYTES):
                    target.write(chunk)
                    yield out.take()
        # The one that lists these parts: the store's may be that of a newer export by now.
        archive.writestr(zipfile.ZipInfo(manifest_key(safe_file_name(file_name)), time), manifest.to_json())
    yield out.take()


class _Pipe:
    """A file that keeps what is written until it is taken."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, data: ReadableBuffer) -> int:
        self._held += data
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Do nothing: the reader takes what there is."""

    def take(self) -> bytes:
        """Return the bytes that were written since the last call."""
        held, self._held = self._held, bytearray()
        return bytes(held)


def hash_of_parts(parts: Sequence[Part]) -> str:
    """Return the SHA-256 of the list of parts, as `sha256sum` prints it: hash and path of each in a line."""
    lines = "".join(f"{part.sha256}  {part.path}\n" for part in parts)
    return hashlib.sha256(lines.encode()).hexdigest()
