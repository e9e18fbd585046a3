"""Publishes an export: a file, and beside it the manifest that marks it as complete.

The manifest makes an export complete, so it is written last and removed first. Replacing an export:

1. All bytes of the new file and of its manifest are sent, and uploads of older attempts are cancelled.
   Readers still see the old file and its manifest.
2. The caller is asked whether the file is still requested.
3. The new file appears, then its manifest.

An export in parts has no file under its own key: its manifest lists the parts, whose keys no other attempt
has. They appear in step 3. What only the old export needs, such as its parts, is removed at the end.

A process that dies or is suspended between the steps changes nothing later: a newer attempt has cancelled its
uploads. Between the two halves of step 3 the SHA-256 in the manifest does not match the file, so the export
counts as incomplete. If the new file cannot be published, the old export stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator

from export_pipeline.store.base import (
    CHUNK_BYTES,
    NotFoundError,
    OnBytes,
    StoredFile,
    StoreError,
)
from export_pipeline.store.keys import manifest_key, whole_key
from export_pipeline.store.manifest import Manifest, ManifestError, read_manifest
from export_pipeline.store.parts import PartedUpload, hash_of_parts
from export_pipeline.store.store import Store
from export_pipeline.store.upload import Upload

log = logging.getLogger(__name__)

_MEDIA_TYPE = "application/json"


def publish(
    store: Store,
    upload: Upload | PartedUpload,
    manifest: Callable[[StoredFile], Manifest],
    *,
    before_visible: Callable[[], None] | None = None,
    progress: OnBytes | None = None,
) -> tuple[StoredFile, Manifest]:
    """Publish an upload and its manifest, and replace the old export.

    Args:
        store: The store.
        upload: The file, from `store.begin`, or the parts. If this function raises, the caller must abort it.
        manifest: Called with the file's size and SHA-256; returns the manifest to write.
        before_visible: Called when all bytes are sent and the old export is still visible. An exception
            from it is raised here, and the old export stays.
        progress: As for `Upload.stage`.

    Raises:
        StoreError: Publishing failed. If the new file has not appeared, the old export is unchanged.
    """
    content = manifest(upload.finish())
    upload.stage(progress)
    beside = manifest_key(upload.key)
    with store.stage_bytes(content.to_json(), beside, media_type=_MEDIA_TYPE) as staged:
        replaced = _files_replaced(store, upload.key, content)
        stored = upload.publish(before_visible=before_visible)
        staged.publish()
    if isinstance(upload, PartedUpload):
        upload.keep()

    def find_obsolete() -> list[str]:
        # An attempt that has replaced this export meanwhile removes only what this one listed.
        needed = read_manifest(store, upload.key).part_keys(upload.key) or [upload.key]
        return [file for file in replaced if file not in needed]

    try:
        if replaced and (obsolete := find_obsolete()):
            store.delete(*obsolete, still=lambda: find_obsolete() == obsolete)
    except StoreError as error:  # the new export is published, and a purge removes them
        log.warning("what the new %s replaces could not be removed: %s", upload.key, error)
    return stored, content


def _files_replaced(store: Store, key: str, content: Manifest) -> list[str]:
    """Return the keys of the files that only the old export needs.

    Parts that its manifest does not list may be those of a newer attempt; a purge removes orphaned ones.
    """
    files: list[str] = []
    with contextlib.suppress(NotFoundError, ManifestError):
        files = [part for part in read_manifest(store, key).part_keys(key) if whole_key(part) == key]
    if content.parts and store.exists(key):
        files.append(key)
    return files


def unpublish(store: Store, key: str, *, unless: Callable[[Manifest | None], bool] = lambda _: False) -> None:
    """Remove an export, the manifest first. A missing file is no error.

    Args:
        store: The store.
        key: Key of the file.
        unless: Called with the manifest, or None if there is no sound one, once no earlier attempt can
            publish the export any more. If it returns True, the export is kept.
    """

    def is_due() -> bool:
        manifest = None
        with contextlib.suppress(NotFoundError, ManifestError):
            manifest = read_manifest(store, key)
        return not unless(manifest)

    if is_due():  # asked first too, so that no upload of others is ended for nothing
        # An attempt that has shown parts cannot publish its manifest any more, so all of them are removed.
        store.delete(manifest_key(key), key, *sorted(_list_parts(store, key)), still=is_due)


def _list_parts(store: Store, key: str) -> set[str]:
    """Return the keys of all parts in the store, whether the manifest lists them or not."""
    return {file.key for file in store.list(f"{key}.parts/") if whole_key(file.key) == key}


def is_of_another_run(run_id: str | None) -> Callable[[Manifest | None], bool]:
    """Return a function for `unpublish` that keeps what another run has published."""
    return lambda manifest: manifest is not None and manifest.run_id != run_id


def is_whole(store: Store, key: str) -> bool:
    """Return whether the file of an export, or each of its parts, is in the store.

    Raises:
        StoreError: The store cannot be used.
        ValueError: The key is invalid.
    """
    parts: list[str] = []
    with contextlib.suppress(NotFoundError, ManifestError):
        parts = read_manifest(store, key).part_keys(key)
    return _list_parts(store, key).issuperset(parts) if parts else store.exists(key)


def verify_file(store: Store, key: str) -> list[str]:
    """Read a file again and compare it with its manifest.

    Returns:
        A sentence for each error; an empty list if the file is sound.

    Raises:
        StoreError: The store cannot be used.
    """
    problems, manifest = _compare(store, key)
    if not problems:
        return []
    # An export that is replaced while we read it is not damaged: repeat until the manifest stays the same.
    for _ in range(5):
        again, then = _compare(store, key)
        if not again or then == manifest:
            return again
        manifest = then
    return again


def _compare(store: Store, key: str) -> tuple[list[str], Manifest | None]:
    manifest, problems = None, []
    try:
        manifest = read_manifest(store, key)
    except NotFoundError:
        problems.append(f"{manifest_key(key)} is missing: the export is not complete.")
    except ManifestError as error:
        problems.append(str(error))
    if manifest is not None and manifest.parts:
        return [*problems, *_compare_parts(store, key, manifest)], manifest
    try:
        size, sha256 = _measure(store, key)
    except NotFoundError:
        return [*problems, f"{key} is missing."], manifest
    if manifest is not None:
        if manifest.path != (name := key.rpartition("/")[2]):
            problems.append(f"The manifest describes {manifest.path!r}, not {name!r}.")
        if size != manifest.bytes:
            problems.append(f"{key} has {size} bytes; its manifest says {manifest.bytes}.")
        if sha256 != manifest.sha256:
            problems.append(f"{key} has the SHA-256 {sha256}; its manifest says {manifest.sha256}.")
    return problems, manifest


def _compare_parts(store: Store, key: str, manifest: Manifest) -> Iterator[str]:
    """Yield the differences between the parts of an export and its manifest."""
    for part, of_part in zip(manifest.parts, manifest.part_keys(key), strict=True):
        try:
            size, sha256 = _measure(store, of_part)
        except NotFoundError:
            yield f"{of_part} is missing."
            continue
        if size != part.bytes:
            yield f"{of_part} has {size} bytes; its manifest says {part.bytes}."
        if sha256 != part.sha256:
            yield f"{of_part} has the SHA-256 {sha256}; its manifest says {part.sha256}."
    sums = (sum(part.bytes for part in manifest.parts), sum(part.rows for part in manifest.parts))
    if (*sums, hash_of_parts(manifest.parts)) != (manifest.bytes, manifest.rows, manifest.sha256):
        yield "The manifest's bytes, rows or hash are not those of its parts."


def _measure(store: Store, key: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with store.open(key) as source:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
