"""Pictures of plan pages that the application keeps in S3; they are fetched when a drawing is printed."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any

from export_pipeline.core.layout import MAX_PICTURE_BYTES, ReadPicture
from export_pipeline.store.s3_client import new_client

_ATTEMPTS = 2
_CONNECT_SECONDS, _READ_SECONDS = 5, 20
_MISSING = ("NoSuchKey", "NoSuchBucket", "404")


class S3Pictures:
    """Pictures below a prefix of a bucket.

    A server that does not answer is asked only once, so that a drawing of five hundred pages waits once.

    Args:
        url: `s3://bucket/prefix`.
        endpoint_url: URL of the server; None for Amazon's.
        region: The AWS region; None uses AWS's own configuration.
        checksums: False for a server that rejects checksum headers.
    """

    def __init__(self, url: str, endpoint_url: str | None, region: str | None, *, checksums: bool) -> None:
        self._url, self._endpoint_url = url.rstrip("/"), endpoint_url
        self._region, self._checksums = region, checksums
        self._bucket, _, self._prefix = self._url.removeprefix("s3://").partition("/")
        self._fault = ""

    def find(self, key: str) -> ReadPicture | None:
        """Return what reads a page's picture; None for a key that leads out of the prefix."""
        parts = key.lstrip("/").split("/")
        return None if {"", ".", ".."}.intersection(parts) else partial(self._read, "/".join(parts))

    def _read(self, key: str) -> bytes:
        """Return the bytes of a picture.

        Raises:
            OSError: It is not there, or the server does not give it.
            ValueError: It is too large.
        """
        from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

        if self._fault:
            raise OSError(self._fault)
        name = f"{self._prefix}/{key}" if self._prefix else key
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=name)
            with answer["Body"] as body:
                if answer["ContentLength"] > MAX_PICTURE_BYTES:
                    raise ValueError(f"it has more than {MAX_PICTURE_BYTES:,} bytes")
                data: bytes = body.read()
                return data
        except ClientError as error:
            code = error.response["Error"]["Code"]
            reason = "is not there" if code in _MISSING else f"cannot be read: the server answers {code}"
            raise OSError(f"s3://{self._bucket}/{name} {reason}") from None
        except ParamValidationError:
            raise OSError(f"no object can have the key {name[:100]!r}") from None
        except BotoCoreError as error:
            self._fault = f"{self._url} (EXPORT_PAGE_IMAGES) cannot be asked: {error}"
            raise OSError(self._fault) from None

    @cached_property
    def _client(self) -> Any:
        return new_client(
            self._endpoint_url,
            checksums=self._checksums,
            max_attempts=_ATTEMPTS,
            timeouts=(_CONNECT_SECONDS, _READ_SECONDS),
            region_name=self._region,
        )
