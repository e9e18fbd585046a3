"""Multipart uploads: a checksum covers every byte, and late requests of dead processes have no effect.

A delayed request may reach the server minutes after its process has died, when a newer attempt has already
stored its file. So an object appears only by completing a multipart upload, and every upload begins by
aborting all others of its object: a late completing request finds its upload gone. Two uploads that begin at
the same time see each other, so at most one of them survives.
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
"""Error codes of a server that does not implement a request."""


def crc32(data: ReadableBuffer, so_far: int = 0) -> int:
    """Return the CRC-32 of earlier data with the CRC-32 `so_far`, followed by `data`."""
    from isal import isal_zlib  # ten times as fast as zlib's

    return int(isal_zlib.crc32(data, so_far))


def checksum(crc: int) -> str:
    """Encode a CRC-32 as S3 expects it: big-endian, base64."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


@dataclass(frozen=True, slots=True)
class Content:
    """Size and checksums of a whole object; `crc` as returned by `checksum`."""

    size: int
    crc: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Target:
    """The object to create.

    Attributes:
        headers: boto3 arguments for the object's metadata and encryption.
        checksums: True if the server accepts S3's checksums; else MD5 is sent, and the object is read again.
    """

    client: Any
    bucket: str
    name: str
    headers: dict[str, str]
    checksums: bool = True

    def put(self, data: BinaryIO, content: Content, md5: bytes) -> str:
        """Create the object in one request, for servers without multipart uploads; return its ETag."""
        own = {"ChecksumCRC32": content.crc} if self.checksums else {"ContentMD5": _base64(md5)}
        answer = self.client.put_object(Bucket=self.bucket, Key=self.name, Body=data, **own, **self.headers)
        self.prove(content)
        return str(answer["ETag"])

    def prove(self, content: Content) -> None:
        """Read the object again and compare it, if the server has no checksum of it.

        Raises:
            StoreError: The object has other content.
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
        """Remove an object that differs from what was sent, and raise StoreError."""
        self.remove(etag)
        raise StoreError(
            f"The server kept {kept} of {content.size} bytes of {self.name}, or others than were sent; they "
            "have been deleted: run it again."
        )

    def remove(self, etag: str) -> None:
        """Delete the object if it still has this ETag. A replaced or missing object is no error.

        On a server that rejects the condition, any object under the name is deleted.
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

    Each part is sent with its checksum, and the completing request with the checksum of the whole file, so
    the server itself rejects a corrupted file. The object carries an id of our own: if the response to the
    completing request is lost, the id shows whether the object there is ours.

    Attributes:
        is_alone: True if all other uploads of the object were aborted; False if the server cannot list them.
    """

    target: Target
    upload_id: str
    token: str
    is_alone: bool = True

    @classmethod
    def begin(cls, target: Target, metadata: Mapping[str, str] | None = None) -> MultipartUpload | None:
        """Begin an upload of an object and abort all others; None if the server has no multipart uploads.

        Args:
            metadata: Metadata of the object.
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
            for older in list_unfinished(target.client, target.bucket, target.name):
                if older.name == target.name and older.upload_id != upload.upload_id:
                    older.abort()
        except BaseException as error:
            if not isinstance(error, ClientError) or error_code(error) not in NOT_OFFERED:
                upload.abort()
                raise
            return replace(upload, is_alone=False)
        return upload

    def send_part(self, number: int, body: BinaryIO, data: bytes) -> dict[str, Any]:
        """Send one part; return its entry for `complete`. Several threads may send at once.

        Args:
            body: Stream of the bytes to send.
            data: The same bytes, for the checksum.
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
            parts: The results of `send_part`, in order.
            content: Size and checksums of all parts together.

        Returns:
            The object's ETag; None if the object has been replaced since.

        Raises:
            StoreError: The object has other content.
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
        """Return whether the object is this upload's; False if that cannot be determined."""
        try:
            return bool(self._head()["Metadata"].get(_TOKEN) == self.token)
        except Exception:
            return False

    def _head(self) -> Any:
        own = {"ChecksumMode": "ENABLED"} if self.target.checksums else {}
        return self.target.client.head_object(Bucket=self.target.bucket, Key=self.target.name, **own)

    def abort(self) -> None:
        """Release the parts on the server. If that fails, `clean` or the next upload does it."""
        try:
            _abort(self.target.client, self.target.bucket, self.target.name, self.upload_id)
        except Exception as error:
            log.warning("the upload of %s could not be aborted: %s", self.target.name, error)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload that is neither completed nor aborted; `begun` is a time of the server's clock."""

    client: Any
    bucket: str
    name: str
    upload_id: str
    begun: datetime

    def abort(self) -> None:
        """Abort the upload. An upload that has ended meanwhile is no error."""
        _abort(self.client, self.bucket, self.name, self.upload_id)


def _abort(client: Any, bucket: str, name: str, upload_id: str) -> None:
    from botocore.exceptions import ClientError

    try:
        client.abort_multipart_upload(Bucket=bucket, Key=name, UploadId=upload_id)
    except ClientError as error:
        if error_code(error) != "NoSuchUpload":
            raise


def list_unfinished(client: Any, bucket: str, prefix: str) -> Iterator[Unfinished]:
    """Yield the unfinished uploads of objects whose name starts with `prefix`."""
    pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for upload in page.get("Uploads", ()):
            yield Unfinished(client, bucket, upload["Key"], upload["UploadId"], upload["Initiated"])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
