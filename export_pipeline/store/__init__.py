"""Storage of export files: a folder or S3, behind one small interface."""

from export_pipeline.store.base import (
    FileStat,
    NotFoundError,
    StoredFile,
    StoreError,
    StoreUnavailableError,
)
from export_pipeline.store.factory import open_store
from export_pipeline.store.keys import manifest_key, request_key, window_key
from export_pipeline.store.store import Store
from export_pipeline.store.upload import Upload

__all__ = [
    "FileStat",
    "NotFoundError",
    "Store",
    "StoreError",
    "StoreUnavailableError",
    "StoredFile",
    "Upload",
    "manifest_key",
    "open_store",
    "request_key",
    "window_key",
]
