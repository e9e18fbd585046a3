"""S3 (or a compatible server) as a store: a file appears when its upload is completed."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from export_pipeline.store.base import (
    FileStat,
    NotFoundError,
    OwnKeys,
    StagedFile,
    StoreError,
    check_lifetime,
    name_keys,
)
from export_pipeline.store.file_names import content_disposition
from export_pipeline.store.keys import MANIFEST_SUFFIX, check_key, whole_key
from export_pipeline.store.s3_client import ClientFactory, default_factory, sign_links_v4
from export_pipeline.store.s3_errors import error_code, s3_errors
from export_pipeline.store.s3_multipart import NOT_OFFERED, Target, list_unfinished
from export_pipeline.store.s3_upload import S3Bytes, S3Upload
from export_pipeline.store.store import Store
from export_pipeline.store.upload import Upload

PARTS_IN_FLIGHT = 3
_REMOVED = "removed"
"""Metadata key of an object that marks a removed file; only the deletion of the mark is missing."""


@dataclass(frozen=True, slots=True)
class Encryption:
    """Server-side encryption of new objects.

    Attributes:
        algorithm: "AES256" or "aws:kms".
        kms_key_id: The key for "aws:kms"; None uses the account's default key.
    """

    algorithm: str
    kms_key_id: str | None = None

    def __post_init__(self) -> None:
        if self.algorithm not in {"AES256", "aws:kms"}:
            raise StoreError(f"Unknown encryption {self.algorithm!r}: use AES256 or aws:kms.")
        if self.kms_key_id and self.algorithm != "aws:kms":
            raise StoreError("A KMS key id needs the encryption aws:kms.")

    def arguments(self) -> dict[str, str]:
        """Return the arguments for put_object and create_multipart_upload."""
        key = {"SSEKMSKeyId": self.kms_key_id} if self.kms_key_id else {}
        return {"ServerSideEncryption": self.algorithm, **key}


class S3Store(Store):
    """Keeps export files below a prefix of a bucket.

    Args:
        bucket: Name of an existing bucket.
        prefix: Prefix of all keys; "" for the whole bucket.
        endpoint_url: URL of the server; None for Amazon's.
        public_endpoint_url: URL for which links are signed; None for `endpoint_url`.
        clients: Makes boto3 clients, each when first needed; None uses AWS's default credentials chain.
        encryption: Encryption of new objects; None uses the bucket's default.
        checksums: True if the server accepts S3's checksum headers.
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
        checksums: bool = True,
    ) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._endpoint_url = endpoint_url
        self._public_endpoint_url = public_endpoint_url or endpoint_url
        self._clients = clients or default_factory(checksums=checksums, transfers=False)
        self._encryption = encryption
        self._checksums = checksums

    @property
    def url(self) -> str:
        """The URL of the store: `s3://bucket/prefix`."""
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
        """See `Store.begin`. Requires permission to list and abort multipart uploads."""
        headers = {"ContentType": media_type, "ContentDisposition": content_disposition(file_name)}
        target = self._target(self._name(key), headers)
        location = f"s3://{self.bucket}/{target.name}"
        return S3Upload(target, key, location, partial(self._storing, key), local, self._senders)

    def stage_bytes(self, data: bytes, key: str, *, media_type: str) -> StagedFile:
        """See `Store.stage_bytes`."""
        target = self._target(self._name(key), {"ContentType": media_type})
        return S3Bytes(target, key, data, partial(self._storing, key))

    def _target(self, name: str, headers: dict[str, str]) -> Target:
        encryption = self._encryption.arguments() if self._encryption else {}
        return Target(self.client, self.bucket, name, headers | encryption, self._checksums)

    def _storing(self, key: str) -> contextlib.AbstractContextManager[None]:
        return self._errors(f"Cannot store {key}")

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """See `Store.open`."""
        with self._errors(f"Cannot read {key}", key):
            answer = self.client.get_object(Bucket=self.bucket, Key=self._name(key))
            with contextlib.closing(answer["Body"]) as body:
                self._must_not_be_removed(answer, key)
                yield cast(BinaryIO, body)

    def stat(self, key: str) -> FileStat:
        """See `Store.stat`."""
        with self._errors(f"Cannot read {key}", key):
            head = self.client.head_object(Bucket=self.bucket, Key=self._name(key))
        self._must_not_be_removed(head, key)
        return FileStat(key, head["ContentLength"], head["LastModified"].astimezone(UTC))

    def _must_not_be_removed(self, answer: Mapping[str, Any], key: str) -> None:
        if _REMOVED in answer["Metadata"]:
            raise NotFoundError(f"No file {key} in bucket {self.bucket!r}: it has been removed.")

    def list(self, prefix: str = "") -> Iterator[FileStat]:
        """See `Store.list`."""
        with self._errors(f"Cannot list {self.url}"):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for page in pages:
                for object in page.get("Contents", ()):
                    key = object["Key"].removeprefix(self.prefix)
                    if not key.startswith(".") and not self._is_removed(object):
                        yield FileStat(key, object["Size"], object["LastModified"].astimezone(UTC))

    def _is_removed(self, object: Mapping[str, Any]) -> bool:
        """Return whether a listed object is the mark of an interrupted deletion."""
        if object["Size"] != len(_mark()):
            return False
        head = self.client.head_object(Bucket=self.bucket, Key=object["Key"])
        return _REMOVED in head["Metadata"]

    def delete(self, *keys: str, still: Callable[[], bool] = lambda: True) -> None:
        """See `Store.delete`. A delete request that arrives late never removes a newer file.

        The file is first replaced by a mark whose ETag is unique, and the delete is conditional on that ETag.
        A server without conditional deletes cannot guarantee this. Parts of exports are deleted last, in a
        request each: their keys are never used again.
        """
        reused = [self._name(key) for key in keys if whole_key(key) == key]
        parts = [self._name(key) for key in keys if whole_key(key) != key]
        self._delete(reused, partial(self._errors, f"Cannot delete {name_keys(keys)}"), still, parts)

    def _delete(
        self,
        names: Sequence[str],
        translate_errors: Callable[[], contextlib.AbstractContextManager[None]],
        still: Callable[[], bool] = lambda: True,
        parts: Sequence[str] = (),
    ) -> None:
        targets = [self._target(name, {"ContentType": "text/plain"}) for name in names]
        with contextlib.ExitStack() as staged:
            staged.enter_context(translate_errors())
            marks = [
                staged.enter_context(
                    S3Bytes(target, target.name, _mark(), translate_errors, {_REMOVED: "yes"})
                )
                for target in targets
            ]
            if not still():
                return
            for target, mark in zip(targets, marks, strict=True):
                if (etag := mark.complete()) is not None:
                    target.remove(etag)
            for _ in self._senders.map(
                lambda name: self.client.delete_object(Bucket=self.bucket, Key=name), parts
            ):
                pass

    def signed_url(
        self, key: str, *, expires_seconds: int, file_name: str | None = None, media_type: str | None = None
    ) -> str:
        """See `Store.signed_url`. With temporary credentials it expires when they do, if that is sooner."""
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
        """See `Store.clean`. Only age counts: the server cannot tell whether an upload's process is alive.

        Nothing is aborted on a server that cannot list uploads; `check` reports it.
        """
        from botocore.exceptions import ClientError

        latest = datetime.now(UTC) - older_than
        with self._errors(f"Cannot clean {self.url}"):
            try:
                # The server's clock may be ahead of ours: a limit of zero means all uploads.
                old = [
                    upload
                    for upload in list_unfinished(self.client, self.bucket, self.prefix)
                    if older_than <= timedelta(0) or upload.begun < latest
                ]
            except ClientError as error:
                if error_code(error) not in NOT_OFFERED:
                    raise
                return 0
        files = [upload.name.removeprefix(self.prefix).removesuffix(MANIFEST_SUFFIX) for upload in old]
        ours = own(files)
        removable = [upload for upload, file in zip(old, files, strict=True) if file in ours]
        if not dry_run:
            with self._errors(f"Cannot clean {self.url}"):
                for upload in removable:
                    upload.abort()
        return len(removable)

    def check(self) -> str | None:
        """See `Store.check`. Tries every kind of request that exports need."""
        from botocore.exceptions import ClientError

        name, data = f"{self.prefix}.check-{uuid.uuid4().hex}", uuid.uuid4().bytes
        translate_errors = partial(self._errors, f"The store {self.url} cannot be used")
        target = self._target(name, {})
        with translate_errors(), S3Bytes(target, name, data, translate_errors) as staged:
            is_fenced = staged.is_fenced
            staged.publish()
            try:
                with contextlib.closing(self.client.get_object(Bucket=self.bucket, Key=name)["Body"]) as body:
                    if body.read() != data:
                        raise StoreError(
                            f"The store {self.url} gives back other bytes than were written: look for a "
                            "cache or a proxy before it that changes them."
                        )
                self.client.list_objects_v2(Bucket=self.bucket, Prefix=name, MaxKeys=1)
                try:
                    self.client.delete_object(Bucket=self.bucket, Key=name, IfMatch='"none"')
                    is_conditional = False
                except ClientError as error:
                    is_conditional = error_code(error) in {"PreconditionFailed", "412"}
            finally:
                self._delete([name], translate_errors)
        if not is_fenced:
            return (
                "The server cannot list multipart uploads, or has none: a request that a killed run left on "
                "its way may replace a newer file."
            )
        if not is_conditional:
            return (
                "The server ignores conditions on a delete: one that hangs on its way may remove a newer "
                "file of the same key."
            )
        return None

    def _name(self, key: str) -> str:
        return self.prefix + check_key(key)

    def _errors(self, what: str, key: str | None = None) -> contextlib.AbstractContextManager[None]:
        return s3_errors(what, self.bucket, self._endpoint_url or "Amazon S3", key, self._checksums)


def _mark() -> bytes:
    """Return content that replaces a file before its deletion: unique, and always of the same length."""
    return f"This file has been removed. {uuid.uuid4().hex}\n".encode()
