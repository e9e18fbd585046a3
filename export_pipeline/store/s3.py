"""S3 (or a server that speaks it) as a store: files appear when their upload is completed."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

from export_pipeline.store.base import FileStat, Progress, Store, StoredFile, StoreError, check_lifetime
from export_pipeline.store.keys import check_key
from export_pipeline.store.local import LocalFile, local_file
from export_pipeline.store.names import content_disposition
from export_pipeline.store.s3_client import ClientFactory, default_factory, sign_links_v4
from export_pipeline.store.s3_errors import error_code, s3_errors
from export_pipeline.store.s3_upload import PART_BYTES, MultipartUpload, checksum, list_unfinished

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Encryption:
    """How the server encrypts new objects.

    Attributes:
        algorithm: "AES256" or "aws:kms".
        kms_key_id: For "aws:kms"; None takes the account's own key.
    """

    algorithm: str
    kms_key_id: str | None = None

    def __post_init__(self) -> None:
        if self.algorithm not in {"AES256", "aws:kms"}:
            raise StoreError(f"Unknown encryption {self.algorithm!r}: use AES256 or aws:kms.")
        if self.kms_key_id and self.algorithm != "aws:kms":
            raise StoreError("A KMS key id needs the encryption aws:kms.")

    def arguments(self) -> dict[str, str]:
        """As put_object and create_multipart_upload want them."""
        key = {"SSEKMSKeyId": self.kms_key_id} if self.kms_key_id else {}
        return {"ServerSideEncryption": self.algorithm, **key}


class S3Store(Store):
    """Export files below a prefix of a bucket.

    Args:
        bucket: Its name. It must exist.
        prefix: Below which all keys lie; "" for the whole bucket.
        endpoint_url: Of the server; None for Amazon's.
        public_endpoint_url: For which links are signed; None for `endpoint_url`.
        clients: Makes boto3 clients, each when first needed; None takes AWS's credentials chain.
        encryption: None leaves it to the bucket.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint_url: str | None = None,
        public_endpoint_url: str | None = None,
        clients: ClientFactory | None = None,
        encryption: Encryption | None = None,
    ) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._endpoint_url = endpoint_url
        self._public_endpoint_url = public_endpoint_url or endpoint_url
        self._clients = clients or default_factory()
        self._encryption = encryption

    @property
    def url(self) -> str:
        """s3://bucket/prefix"""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @cached_property
    def client(self) -> Any:
        """The boto3 client for everything but links."""
        return self._clients(self._endpoint_url)

    @cached_property
    def _link_client(self) -> Any:
        return sign_links_v4(self._clients(self._public_endpoint_url))

    def put(
        self,
        path: Path,
        key: str,
        *,
        media_type: str,
        file_name: str,
        progress: Progress | None = None,
        canceled: Callable[[], bool] | None = None,
        before_visible: Callable[[], None] | None = None,
    ) -> StoredFile:
        """See `Store.put`. Needs the right to list and abort multipart uploads to clean up after a crash."""
        headers = {"ContentType": media_type, "ContentDisposition": content_disposition(file_name)}
        with self._errors(f"Cannot store {key}"), local_file(path) as source:
            self._end_unfinished(key)
            if source.size <= PART_BYTES:
                data = b"".join(source.pieces(PART_BYTES, canceled))
                return self._put_once(data, key, headers, progress, before_visible)
            return self._put_parts(source, key, headers, progress, canceled, before_visible)

    def put_bytes(self, data: bytes, key: str, *, media_type: str) -> StoredFile:
        """See `Store.put_bytes`."""
        with self._errors(f"Cannot store {key}"):
            return self._put_once(data, key, {"ContentType": media_type}, None, None)

    def _put_once(
        self,
        data: bytes,
        key: str,
        headers: dict[str, str],
        progress: Progress | None,
        before_visible: Callable[[], None] | None,
    ) -> StoredFile:
        name = self._name(key)
        if before_visible is not None:
            before_visible()
        self.client.put_object(
            Bucket=self.bucket,
            Key=name,
            Body=data,
            ChecksumCRC32=checksum(data),
            **headers,
            **self._encryption_arguments(),
        )
        if progress is not None:
            progress(len(data))
        return self._stored(key, len(data), hashlib.sha256(data).hexdigest())

    def _put_parts(
        self,
        source: LocalFile,
        key: str,
        headers: dict[str, str],
        progress: Progress | None,
        canceled: Callable[[], bool] | None,
        before_visible: Callable[[], None] | None,
    ) -> StoredFile:
        upload = MultipartUpload.begin(
            self.client, self.bucket, self._name(key), headers | self._encryption_arguments()
        )
        try:
            digest = upload.send(source, progress, canceled)
            if before_visible is not None:
                before_visible()
            upload.complete()
        except BaseException:
            upload.abort()
            raise
        return self._stored(key, source.size, digest)

    def _end_unfinished(self, key: str) -> None:
        """Abort what an earlier put of this key, by a process now dead, left behind."""
        from botocore.exceptions import ClientError

        name = self._name(key)
        try:
            for found in list_unfinished(self.client, self.bucket, name):
                if found.name == name:
                    found.abort()
        except ClientError as error:
            if error_code(error) not in {"AccessDenied", "NotImplemented", "MethodNotAllowed"}:
                raise
            log.warning("unfinished uploads of %s cannot be listed (%s)", key, error_code(error))

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """See `Store.open`."""
        with self._errors(f"Cannot read {key}", key):
            body = self.client.get_object(Bucket=self.bucket, Key=self._name(key))["Body"]
            with contextlib.closing(body):
                yield cast(BinaryIO, body)

    def stat(self, key: str) -> FileStat:
        """See `Store.stat`."""
        with self._errors(f"Cannot read {key}", key):
            head = self.client.head_object(Bucket=self.bucket, Key=self._name(key))
        return FileStat(key, head["ContentLength"], head["LastModified"].astimezone(UTC))

    def list(self, prefix: str = "") -> Iterator[FileStat]:
        """See `Store.list`."""
        with self._errors(f"Cannot list {self.url}"):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    key = found["Key"].removeprefix(self.prefix)
                    if not key.startswith("."):
                        yield FileStat(key, found["Size"], found["LastModified"].astimezone(UTC))

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        with self._errors(f"Cannot delete {key}"):
            self.client.delete_object(Bucket=self.bucket, Key=self._name(key))

    def link(
        self, key: str, *, expires_seconds: int, file_name: str | None = None, media_type: str | None = None
    ) -> str:
        """See `Store.link`. Signed by temporary credentials, it ends with them if that is sooner."""
        check_lifetime(expires_seconds)
        self.stat(key)
        parameters = {"Bucket": self.bucket, "Key": self._name(key)}
        if file_name is not None:
            parameters["ResponseContentDisposition"] = content_disposition(file_name)
        if media_type is not None:
            parameters["ResponseContentType"] = media_type
        with self._errors(f"Cannot sign a link for {key}"):
            url = self._link_client.generate_presigned_url(
                "get_object", Params=parameters, ExpiresIn=expires_seconds
            )
        return str(url)

    def clean(self, older_than: timedelta, *, dry_run: bool = False) -> int:
        """See `Store.clean`. The server does not tell whether an upload's process lives: only its age."""
        latest = datetime.now(UTC) - older_than
        count = 0
        with self._errors(f"Cannot clean {self.url}"):
            for found in list_unfinished(self.client, self.bucket, self.prefix):
                # The server's clock may be ahead of ours: a limit of nothing means all, whatever it says.
                if older_than <= timedelta(0) or found.begun < latest:
                    if not dry_run:
                        found.abort()
                    count += 1
        return count

    def check(self) -> None:
        """See `Store.check`."""
        name, data = f"{self.prefix}.check-{uuid.uuid4().hex}", uuid.uuid4().bytes
        with self._errors(f"The store {self.url} cannot be used"):
            self.client.put_object(
                Bucket=self.bucket,
                Key=name,
                Body=data,
                ChecksumCRC32=checksum(data),
                **self._encryption_arguments(),
            )
            try:
                with contextlib.closing(self.client.get_object(Bucket=self.bucket, Key=name)["Body"]) as body:
                    if body.read() != data:
                        raise StoreError(f"The store {self.url} gives back other bytes than were written.")
            finally:
                self.client.delete_object(Bucket=self.bucket, Key=name)

    def _name(self, key: str) -> str:
        return self.prefix + check_key(key)

    def _stored(self, key: str, size: int, sha256: str) -> StoredFile:
        return StoredFile(key, size, sha256, f"s3://{self.bucket}/{self._name(key)}")

    def _encryption_arguments(self) -> dict[str, str]:
        return self._encryption.arguments() if self._encryption else {}

    def _errors(self, what: str, key: str | None = None) -> contextlib.AbstractContextManager[None]:
        return s3_errors(what, self.bucket, self._endpoint_url or "Amazon S3", key)
