"""Multipart uploads: every byte under a checksum, nothing left of a failure."""

from __future__ import annotations

import base64
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from export_pipeline.store.base import StoreError
from export_pipeline.store.s3_errors import error_code

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

log = logging.getLogger(__name__)

_TOKEN = "put-id"


def crc32(data: ReadableBuffer, so_far: int = 0) -> int:
    """CRC-32 of what had `so_far`, followed by `data`."""
    from isal import isal_zlib  # ten times as fast as zlib's

    return int(isal_zlib.crc32(data, so_far))


def checksum(crc: int) -> str:
    """A CRC-32 as S3 wants it: big-endian, base64."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


@dataclass(frozen=True, slots=True)
class MultipartUpload:
    """One upload, from `begin` to `complete` or `abort`.

    Each part carries its CRC-32 and the completing request the whole file's, so the server itself
    refuses a file that is not the one we read. The object carries an id of our own: should the answer
    to the completing request be lost, it tells whether the object there is ours.
    """

    client: Any
    bucket: str
    name: str
    upload_id: str
    token: str

    @classmethod
    def begin(cls, client: Any, bucket: str, name: str, headers: dict[str, str]) -> MultipartUpload:
        """Begin an upload to the object `name`; `headers` are boto3's arguments for its metadata."""
        token = uuid.uuid4().hex
        answer = client.create_multipart_upload(
            Bucket=bucket,
            Key=name,
            Metadata={_TOKEN: token},
            ChecksumAlgorithm="CRC32",
            ChecksumType="FULL_OBJECT",
            **headers,
        )
        return cls(client, bucket, name, answer["UploadId"], token)

    def send_part(self, number: int, data: BinaryIO, crc: str) -> dict[str, Any]:
        """Send one part; gives what `complete` wants of it. Several threads may send at once."""
        answer = self.client.upload_part(
            Bucket=self.bucket,
            Key=self.name,
            UploadId=self.upload_id,
            PartNumber=number,
            Body=data,
            ChecksumCRC32=crc,
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": crc}

    def complete(self, parts: Sequence[Mapping[str, Any]], size: int, crc: str) -> None:
        """Make the object visible, and prove that it holds what was sent.

        Args:
            parts: Of `send_part`, in order.
            size: Of all of them, in bytes.
            crc: Of all of them, as `checksum` gives it.

        Raises:
            StoreError: It holds something else; it has been deleted.
        """
        try:
            self.client.complete_multipart_upload(
                Bucket=self.bucket,
                Key=self.name,
                UploadId=self.upload_id,
                MultipartUpload={"Parts": list(parts)},
                ChecksumCRC32=crc,
                ChecksumType="FULL_OBJECT",
            )
        except Exception:
            if not self._is_there():
                raise
            log.warning("completing %s gave an error, but the server has done it", self.name)
        head = self._head()
        if head["Metadata"].get(_TOKEN, self.token) != self.token:
            return  # somebody has replaced the object since
        if head["ContentLength"] != size or head.get("ChecksumCRC32", crc) != crc:
            self.client.delete_object(Bucket=self.bucket, Key=self.name)
            raise StoreError(
                f"The server kept {head['ContentLength']} of {size} bytes of {self.name}, or others "
                "than were sent; they have been deleted: run it again."
            )

    def _is_there(self) -> bool:
        """Whether the object is this upload's. Its own errors say nothing about that: then it is not."""
        try:
            return bool(self._head()["Metadata"].get(_TOKEN) == self.token)
        except Exception:
            return False

    def _head(self) -> Any:
        return self.client.head_object(Bucket=self.bucket, Key=self.name, ChecksumMode="ENABLED")

    def abort(self) -> None:
        """Give the parts back to the server. If even that fails, `clean` or the next upload will do it."""
        try:
            _abort(self.client, self.bucket, self.name, self.upload_id)
        except Exception as error:
            log.warning("the upload of %s could not be aborted: %s", self.name, error)


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
