"""Opens a store by its URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from export_pipeline.store.base import StoreError
from export_pipeline.store.store import Store

if TYPE_CHECKING:
    from export_pipeline.store.folder_marker import StoreRegistry
    from export_pipeline.store.s3_client import ClientFactory

_LONGEST_PREFIX = 100
_WANTED = "expected file:///folder, a path, or s3://bucket/prefix"


def open_store(
    url: str,
    *,
    endpoint_url: str | None = None,
    public_endpoint_url: str | None = None,
    region: str | None = None,
    encryption: str | None = None,
    kms_key_id: str | None = None,
    checksums: bool = True,
    group: str | None = None,
    registry: StoreRegistry | None = None,
    clients: ClientFactory | None = None,
) -> Store:
    """Open the store at a URL. Nothing is read or written yet: `Store.check` proves that it works.

    Args:
        url: `file:///folder`, a path, or `s3://bucket/prefix`.
        endpoint_url: URL of an S3-compatible server, e.g. "https://minio.internal:9000"; None for Amazon's.
        public_endpoint_url: URL at which browsers reach the same server; links are signed for it.
        region: The AWS region; None uses AWS's own configuration.
        encryption: "AES256" or "aws:kms"; None uses the bucket's default.
        kms_key_id: The key for "aws:kms".
        checksums: True if the server accepts S3's checksum headers; if not, each file is read again.
        group: For a folder: the group that may read its files; None for our user only.
        registry: For a folder: remembers that it was used; None requires no marker file.
        clients: Makes a boto3 S3 client for an endpoint URL (None: Amazon's); None makes clients here,
            with AWS's default credentials chain.

    Raises:
        StoreError: The URL, the encryption or the group is invalid.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        if not url.strip():
            raise StoreError(f"The store's URL is empty: {_WANTED}.")
        return _folder(Path(url).expanduser(), group, registry)
    if scheme == "file":
        if not rest.startswith("/"):
            raise StoreError(f"The store's URL {url!r} names a host: {_WANTED} (three slashes for a file).")
        return _folder(Path(unquote(rest)), group, registry)
    if scheme != "s3":
        raise StoreError(f"The store's URL begins with {scheme[:20]!r}: {_WANTED}.")

    from export_pipeline.store.s3 import Encryption, S3Store
    from export_pipeline.store.s3_client import default_factory

    bucket, prefix = _bucket_and_prefix(url)
    return S3Store(
        bucket,
        prefix,
        endpoint_url=endpoint_url or None,
        public_endpoint_url=public_endpoint_url or None,
        clients=clients or default_factory(region or None, checksums=checksums, transfers=False),
        checksums=checksums,
        encryption=Encryption(encryption, kms_key_id or None) if encryption else None,
    )


def _folder(path: Path, group: str | None, registry: StoreRegistry | None) -> Store:
    from export_pipeline.store.folder import FolderStore

    return FolderStore(path, group=group, registry=registry)


def _bucket_and_prefix(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    if "@" in parts.netloc:  # do not print the URL: it contains a secret
        raise StoreError("The store's URL holds credentials: leave them to AWS's own credentials chain.")
    bucket, prefix = parts.netloc, parts.path.strip("/")
    if not bucket or ":" in bucket or parts.query or parts.fragment:
        raise StoreError(f"The store's URL {url!r} names no bucket: {_WANTED}.")
    if "//" in prefix or any(part in {".", ".."} for part in prefix.split("/")):
        raise StoreError(f"The store's URL {url!r} has an empty, '.' or '..' part in its prefix.")
    if len(prefix.encode()) > _LONGEST_PREFIX:
        raise StoreError(f"The prefix in the store's URL is longer than {_LONGEST_PREFIX} bytes.")
    return bucket, prefix
