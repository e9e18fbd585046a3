"""Storing a whole file, for tests that are not about how it is written."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from export_pipeline.store import Store, StoredFile, Upload
from export_pipeline.store.base import OnBytes


def begin(
    store: Store, key: str, folder: Path, media_type: str = "text/csv", file_name: str = "a.csv"
) -> Upload:
    """An upload with a local copy of its own in a folder."""
    local = folder / f"upload-{os.urandom(4).hex()}"
    return store.begin(key, media_type=media_type, file_name=file_name, local=local)


def put(
    store: Store,
    path: Path,
    key: str,
    *,
    media_type: str = "text/csv",
    file_name: str = "a.csv",
    progress: OnBytes | None = None,
    before_visible: Callable[[], None] | None = None,
) -> StoredFile:
    """Write a local file into the store, a MiB at a time, and publish it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        path.open("rb") as source,
        begin(store, key, Path(folder), media_type, file_name) as upload,
    ):
        while piece := source.read(1 << 20):
            upload.write(piece)
        return upload.publish(before_visible=before_visible, progress=progress)
