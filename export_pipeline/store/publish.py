"""An export as others find it: a file, and beside it the manifest that says it is complete.

The manifest is what makes an export complete, so it is written last and removed first. Replacing goes:

1. Every byte of the new file and of its manifest is sent, and what older attempts have on its way is ended;
   readers still see the old file and its manifest.
2. Somebody is asked whether the file is still wanted.
3. The new file appears, then its manifest.

A process that dies or stops between the steps changes nothing later: a newer attempt has ended its uploads.
Between the two of step 3 the SHA-256 in the manifest is not the file's, so the export is seen as incomplete.
If the new file cannot appear, the old export stands.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable

from export_pipeline.store.base import CHUNK_BYTES, NotFoundError, Progress, Store, StoredFile
from export_pipeline.store.keys import manifest_key
from export_pipeline.store.manifest import Manifest, ManifestError
from export_pipeline.store.upload import Upload

_MEDIA_TYPE = "application/json"
_LARGEST_MANIFEST = 64 << 20


def publish(
    store: Store,
    upload: Upload,
    manifest: Callable[[StoredFile], Manifest],
    *,
    before_visible: Callable[[], None] | None = None,
    progress: Progress | None = None,
) -> tuple[StoredFile, Manifest]:
    """Make an upload and its manifest visible, replacing what the key held.

    Args:
        store: Where.
        upload: The file, of `store.begin`. It is the caller's to abort, should this raise.
        manifest: Called with what is to be stored (size, SHA-256); gives the manifest to write.
        before_visible: Called when every byte is there and the old export still stands. What it raises is
            raised here, and the old export stays.
        progress: As for `Upload.stage`.

    Raises:
        StoreError: It failed. If the new file has not appeared, the old export stands as it was.
    """
    content = manifest(upload.finish())
    upload.stage(progress)
    beside = manifest_key(upload.key)
    with store.stage_bytes(content.to_json(), beside, media_type=_MEDIA_TYPE) as staged:
        stored = upload.publish(before_visible=before_visible)
        staged.publish()
    return stored, content


def unpublish(store: Store, key: str, *, run_id: str | None = None) -> None:
    """Remove an export, the manifest first; what is not there is no error.

    Args:
        store: Where.
        key: The file.
        run_id: If given, an export that another run has put there since stays.
    """
    others = False

    def is_of_run() -> bool:
        nonlocal others
        with contextlib.suppress(NotFoundError, ManifestError):
            others = run_id is not None and read_manifest(store, key).run_id != run_id
        return not others

    store.delete(manifest_key(key), still=is_of_run)
    if not others:
        store.delete(key)


def read_manifest(store: Store, key: str) -> Manifest:
    """The manifest of the file `key`.

    Raises:
        NotFoundError: It has none: the export is not complete.
        ManifestError: It is damaged.
    """
    return Manifest.from_json(_read_small(store, manifest_key(key)))


def verify_file(store: Store, key: str) -> list[str]:
    """Read a file again and compare it with its manifest.

    Returns:
        Sentences about what is wrong; none for a sound file.

    Raises:
        StoreError: The store itself cannot be used.
    """
    problems, manifest = _compare(store, key)
    if not problems:
        return []
    # An export replaced while we read it is sound: look again until the manifest stays the same.
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


def _measure(store: Store, key: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with store.open(key) as source:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _read_small(store: Store, key: str) -> bytes:
    with store.open(key) as source:
        return source.read(_LARGEST_MANIFEST)
