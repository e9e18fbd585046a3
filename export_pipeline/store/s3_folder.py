"""Plain files below a prefix in S3, copied whole from and to local files; for data that is no export."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from export_pipeline.store.s3 import Encryption
from export_pipeline.store.s3_client import ClientFactory
from export_pipeline.store.s3_errors import s3_errors

_DELETED_AT_ONCE = 1000


@dataclass(frozen=True)
class S3Folder:
    """A prefix in a bucket. Every method raises StoreError; reading a missing file raises NotFoundError.

    Attributes:
        bucket: Name of the bucket.
        prefix: Prefix of all keys, with a slash at its end; "" for the whole bucket.
        endpoint_url: URL of the server; None for Amazon's.
        clients: Makes the client, when it is first needed.
        encryption: Encryption of new files; None uses the bucket's default.
    """

    bucket: str
    prefix: str
    endpoint_url: str | None
    clients: ClientFactory
    encryption: Encryption | None = None

    @cached_property
    def _client(self) -> Any:
        return self.clients(self.endpoint_url)

    def upload(self, path: Path, key: str) -> None:
        """Copy a local file. A large one goes in parts, which are aborted if it fails."""
        with self._errors(f"Cannot store {key}"):
            more = self.encryption.arguments() if self.encryption else {}
            self._client.upload_file(str(path), self.bucket, self.prefix + key, ExtraArgs=more)

    def download(self, key: str, path: Path) -> None:
        """Copy a file to a local path."""
        with self._errors(f"Cannot read {key}", key):
            self._client.download_file(self.bucket, self.prefix + key, str(path))

    def files(self, prefix: str = "") -> Iterator[tuple[str, datetime]]:
        """Yield the key of each file below a prefix, and when it was written."""
        with self._errors(f"Cannot list {prefix or self.prefix}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for page in pages:
                for file in page.get("Contents", ()):
                    yield file["Key"].removeprefix(self.prefix), file["LastModified"]

    def delete(self, keys: Sequence[str]) -> None:
        """Remove files. A missing one is no error."""
        with self._errors("Cannot remove staged data"):
            for start in range(0, len(keys), _DELETED_AT_ONCE):
                chunk = [{"Key": self.prefix + key} for key in keys[start : start + _DELETED_AT_ONCE]]
                self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": chunk, "Quiet": True})

    def _errors(self, what: str, key: str | None = None) -> AbstractContextManager[None]:
        return s3_errors(what, self.bucket, self.endpoint_url or "Amazon S3", key)
