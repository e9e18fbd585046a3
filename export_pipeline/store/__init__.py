"""Where export files live: a folder or S3, behind one small interface."""

from export_pipeline.store.base import (
    CanceledError,
    FileStat,
    NotFoundError,
    Store,
    StoredFile,
    StoreError,
    StoreUnavailableError,
)
from export_pipeline.store.keys import manifest_key, request_key, window_key
from export_pipeline.store.opening import open_store

__all__ = [
    "CanceledError",
    "FileStat",
    "NotFoundError",
    "Store",
    "StoreError",
    "StoreUnavailableError",
    "StoredFile",
    "manifest_key",
    "open_store",
    "request_key",
    "window_key",
]
