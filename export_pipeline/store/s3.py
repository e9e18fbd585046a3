"""S3 (or a server that speaks it) as a store: files appear when their upload is completed."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import uuid
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

from export_pipeline.store.base import FileStat, OwnKeys, Store, StoredFile, StoreError, check_lifetime
from export_pipeline.store.keys import check_key
from export_pipeline.store.names import content_disposition
from export_pipeline.store.s3_client import ClientFactory, default_factory, sign_links_v4
from export_pipeline.store.s3_errors import error_code, s3_errors
from export_pipeline.store.s3_multipart import checksum, crc32, list_unfinished
from export_pipeline.store.s3_upload import S3Upload, Target
from export_pipeline.store.upload import Upload

log = logging.getLogger(__name__)

PARTS_IN_FLIGHT = 3


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

    @cached_property
    def _senders(self) -> Executor:
        return ThreadPoolExecutor(PARTS_IN_FLIGHT, thread_name_prefix="upload")

    def begin(self, key: str, *, media_type: str, file_name: str, local: Path) -> Upload:
        """See `Store.begin`. Cleaning up after a crash needs the right to list and abort uploads."""
        headers = {"ContentType": media_type, "ContentDisposition": content_disposition(file_name)}
        target = self._target(key, headers)

        def told() -> contextlib.AbstractContextManager[None]:
            return self._errors(f"Cannot store {key}")

        with told():
            self._end_unfinished(key)
            return S3Upload(target, key, f"s3://{self.bucket}/{target.name}", told, local, self._senders)

    def put_bytes(self, data: bytes, key: str, *, media_type: str) -> StoredFile:
        """See `Store.put_bytes`."""
        target = self._target(key, {"ContentType": media_type})
        with self._errors(f"Cannot store {key}"):
            target.put(data, checksum(crc32(data)))
        digest = hashlib.sha256(data).hexdigest()
        return StoredFile(key, len(data), digest, f"s3://{self.bucket}/{target.name}")

    def _target(self, key: str, headers: dict[str, str]) -> Target:
        return Target(self.client, self.bucket, self._name(key), headers | self._encryption_arguments())

    def _end_unfinished(self, key: str) -> None:
        """Abort what an earlier upload of this key, by a process now dead, left behind."""
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

    def clean(self, older_than: timedelta, *, own: OwnKeys = lambda keys: keys, dry_run: bool = False) -> int:
        """See `Store.clean`. The server does not tell whether an upload's process lives: only its age."""
        latest = datetime.now(UTC) - older_than
        with self._errors(f"Cannot clean {self.url}"):
            # The server's clock may be ahead of ours: a limit of nothing means all, whatever it says.
            old = [
                found
                for found in list_unfinished(self.client, self.bucket, self.prefix)
                if older_than <= timedelta(0) or found.begun < latest
            ]
        ours = own([found.name.removeprefix(self.prefix) for found in old])
        removable = [found for found in old if found.name.removeprefix(self.prefix) in ours]
        if not dry_run:
            with self._errors(f"Cannot clean {self.url}"):
                for found in removable:
                    found.abort()
        return len(removable)

    def check(self) -> None:
        """See `Store.check`."""
        name, data = f"{self.prefix}.check-{uuid.uuid4().hex}", uuid.uuid4().bytes
        with self._errors(f"The store {self.url} cannot be used"):
            Target(self.client, self.bucket, name, self._encryption_arguments()).put(
                data, checksum(crc32(data))
            )
            try:
                with contextlib.closing(self.client.get_object(Bucket=self.bucket, Key=name)["Body"]) as body:
                    if body.read() != data:
                        raise StoreError(f"The store {self.url} gives back other bytes than were written.")
            finally:
                self.client.delete_object(Bucket=self.bucket, Key=name)

    def _name(self, key: str) -> str:
        return self.prefix + check_key(key)

    def _encryption_arguments(self) -> dict[str, str]:
        return self._encryption.arguments() if self._encryption else {}

    def _errors(self, what: str, key: str | None = None) -> contextlib.AbstractContextManager[None]:
        return s3_errors(what, self.bucket, self._endpoint_url or "Amazon S3", key)
