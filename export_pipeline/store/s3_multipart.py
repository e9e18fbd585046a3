"""Multipart uploads: every byte under a checksum, and no request of a dead process that counts later.

A request that hangs on its way may reach the server minutes after its process has died, when a newer
attempt has stored its file. So an object appears by one kind of request only, the completing of a multipart
upload, and every upload begins by ending all others of its object: a completing request that comes late finds
its upload gone. Two that begin at the same time see each other, so one of them survives at most.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from export_pipeline.store.base import CHUNK_BYTES, StoreError
from export_pipeline.store.s3_errors import error_code

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

log = logging.getLogger(__name__)

_TOKEN = "put-id"
NOT_OFFERED = frozenset({"NotImplemented", "MethodNotAllowed", "405", "501"})
"""Error codes of a server that does not know a request."""


def crc32(data: ReadableBuffer, so_far: int = 0) -> int:
    """CRC-32 of what had `so_far`, followed by `data`."""
    from isal import isal_zlib  # ten times as fast as zlib's

    return int(isal_zlib.crc32(data, so_far))


def checksum(crc: int) -> str:
    """A CRC-32 as S3 wants it: big-endian, base64."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


@dataclass(frozen=True, slots=True)
class Content:
    """Size and checksums of a whole object; `crc` as `checksum` gives it."""

    size: int
    crc: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Target:
    """The object to be made.

    Attributes:
        headers: boto3's arguments for its metadata and encryption.
        checksums: Whether the server takes S3's checksums; else it gets MD5, and the object is read again.
    """

    client: Any
    bucket: str
    name: str
    headers: dict[str, str]
    checksums: bool = True

    def put(self, data: BinaryIO, content: Content, md5: bytes) -> str:
        """Make the object in one request, for servers without multipart uploads; gives its ETag."""
        own = {"ChecksumCRC32": content.crc} if self.checksums else {"ContentMD5": _base64(md5)}
        answer = self.client.put_object(Bucket=self.bucket, Key=self.name, Body=data, **own, **self.headers)
        self.prove(content)
        return str(answer["ETag"])

    def prove(self, content: Content) -> None:
        """Read the object again where the server has no checksum of it.

        Raises:
            StoreError: It holds something else.
        """
        if self.checksums:
            return
        digest, size = hashlib.sha256(), 0
        answer = self.client.get_object(Bucket=self.bucket, Key=self.name)
        with contextlib.closing(answer["Body"]) as body:
            while chunk := body.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
        if digest.hexdigest() != content.sha256:
            self.refuse(answer["ETag"], size, content)

    def refuse(self, etag: str, kept: int, content: Content) -> NoReturn:
        """Remove an object that is not what was sent, and raise StoreError."""
        self.remove(etag)
        raise StoreError(
            f"The server kept {kept} of {content.size} bytes of {self.name}, or others than were sent; they "
            "have been deleted: run it again."
        )

    def remove(self, etag: str) -> None:
        """Delete the object while it has this ETag; one that was replaced or is gone is no error.

        A server that refuses the condition deletes whatever is there.
        """
        from botocore.exceptions import ClientError

        try:
            self.client.delete_object(Bucket=self.bucket, Key=self.name, IfMatch=etag)
        except ClientError as error:
            code = error_code(error)
            if code in NOT_OFFERED | {"InvalidArgument", "InvalidRequest"}:
                self.client.delete_object(Bucket=self.bucket, Key=self.name)
            elif code not in {"PreconditionFailed", "412", "NoSuchKey", "404"}:
                raise


@dataclass(frozen=True, slots=True)
class MultipartUpload:
    """One upload, from `begin` to `complete` or `abort`.

    Each part carries its checksum and the completing request the whole file's, so the server itself
    refuses a file that is not the one we read. The object carries an id of our own: should the answer
    to the completing request be lost, it tells whether the object there is ours.

    Attributes:
        is_alone: Whether all others of the object have ended; not on a server that cannot list them.
    """

    target: Target
    upload_id: str
    token: str
    is_alone: bool = True

    @classmethod
    def begin(cls, target: Target, metadata: Mapping[str, str] | None = None) -> MultipartUpload | None:
        """Begin an upload to an object, and end all others; None where the server has no multipart uploads.

        Args:
            metadata: The object's own.
        """
        from botocore.exceptions import ClientError

        token = uuid.uuid4().hex
        own = {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"} if target.checksums else {}
        try:
            answer = target.client.create_multipart_upload(
                Bucket=target.bucket,
                Key=target.name,
                Metadata={_TOKEN: token, **(metadata or {})},
                **own,
                **target.headers,
            )
        except ClientError as error:
            if error_code(error) not in NOT_OFFERED:
                raise
            return None
        upload = cls(target, answer["UploadId"], token)
        try:
            for found in list_unfinished(target.client, target.bucket, target.name):
                if found.name == target.name and found.upload_id != upload.upload_id:
                    found.abort()
        except BaseException as error:
            if not isinstance(error, ClientError) or error_code(error) not in NOT_OFFERED:
                upload.abort()
                raise
            return replace(upload, is_alone=False)
        return upload

    def send_part(self, number: int, body: BinaryIO, data: bytes) -> dict[str, Any]:
        """Send one part; gives what `complete` wants of it. Several threads may send at once.

        Args:
            body: Gives the bytes that are sent.
            data: The same bytes, for their checksum.
        """
        crc = {"ChecksumCRC32": checksum(crc32(data))} if self.target.checksums else {}
        own = crc or {"ContentMD5": _base64(hashlib.md5(data, usedforsecurity=False).digest())}
        answer = self.target.client.upload_part(
            Bucket=self.target.bucket,
            Key=self.target.name,
            UploadId=self.upload_id,
            PartNumber=number,
            Body=body,
            **own,
        )
        return {"PartNumber": number, "ETag": answer["ETag"], **crc}

    def complete(self, parts: Sequence[Mapping[str, Any]], content: Content) -> str | None:
        """Make the object visible, and prove that it holds what was sent.

        Args:
            parts: Of `send_part`, in order.
            content: Of all of them.

        Returns:
            The object's ETag; None if somebody has replaced it since.

        Raises:
            StoreError: It holds something else.
        """
        target = self.target
        crc = {"ChecksumCRC32": content.crc, "ChecksumType": "FULL_OBJECT"} if target.checksums else {}
        try:
            target.client.complete_multipart_upload(
                Bucket=target.bucket,
                Key=target.name,
                UploadId=self.upload_id,
                MultipartUpload={"Parts": list(parts)},
                **crc,
            )
        except Exception:
            if not self._is_there():
                raise
            log.warning("completing %s gave an error, but the server has done it", target.name)
        head = self._head()
        if head["Metadata"].get(_TOKEN, self.token) != self.token:
            return None
        if head["ContentLength"] != content.size or head.get("ChecksumCRC32", content.crc) != content.crc:
            target.refuse(head["ETag"], head["ContentLength"], content)
        target.prove(content)
        return str(head["ETag"])

    def _is_there(self) -> bool:
        """Whether the object is this upload's. Its own errors say nothing about that: then it is not."""
        try:
            return bool(self._head()["Metadata"].get(_TOKEN) == self.token)
        except Exception:
            return False

    def _head(self) -> Any:
        own = {"ChecksumMode": "ENABLED"} if self.target.checksums else {}
        return self.target.client.head_object(Bucket=self.target.bucket, Key=self.target.name, **own)

    def abort(self) -> None:
        """Give the parts back to the server. If even that fails, `clean` or the next upload will do it."""
        try:
            _abort(self.target.client, self.target.bucket, self.target.name, self.upload_id)
        except Exception as error:
            log.warning("the upload of %s could not be aborted: %s", self.target.name, error)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload that is neither completed nor aborted; `begun` by the server's clock."""

    client: Any
    bucket: str
    name: str
    upload_id: str
    begun: datetime

    def abort(self) -> None:
        """End it; one that has ended meanwhile is no error."""
        _abort(self.client, self.bucket, self.name, self.upload_id)


def _abort(client: Any, bucket: str, name: str, upload_id: str) -> None:
    from botocore.exceptions import ClientError

    try:
        client.abort_multipart_upload(Bucket=bucket, Key=name, UploadId=upload_id)
    except ClientError as error:
        if error_code(error) != "NoSuchUpload":
            raise


def list_unfinished(client: Any, bucket: str, prefix: str) -> Iterator[Unfinished]:
    """The unfinished uploads of objects whose name starts with `prefix`."""
    pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for upload in page.get("Uploads", ()):
            yield Unfinished(client, bucket, upload["Key"], upload["UploadId"], upload["Initiated"])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
