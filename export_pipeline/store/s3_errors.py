"""Translates errors of S3 and its client library into messages with a cure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from export_pipeline.store.base import NotFoundError, StoreError, StoreUnavailableError

_CREDENTIALS = (
    "the server does not accept the credentials: correct the access key, secret key or session token"
)
_DENIED = (
    "access denied: allow these credentials to read, write, list and delete below the prefix, and to list "
    "and abort multipart uploads"
)
_FULL = "the server has no space left: free some or raise the quota"
_REGION = "the bucket is in another region: set the region it was made in"
_SUPERSEDED = (
    "the upload was ended by another one of the same key or by a clean-up: run it again if it is still wanted"
)
_REASONS = {
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "ExpiredToken": "the credentials have expired: renew them",
    "InvalidToken": _CREDENTIALS,
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it",
    "AccessDenied": _DENIED,
    "403": _DENIED,
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "301": _REGION,
    "NoSuchUpload": _SUPERSEDED,
    "BadDigest": "the bytes were damaged on the way: run it again",
    "QuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    "InsufficientStorage": _FULL,
    "EntityTooLarge": "the file is larger than the server allows",
    "KMS.NotFoundException": "the encryption key does not exist: correct its id",
    "KMS.DisabledException": "the encryption key is disabled: enable it or name another",
}


# Codes of temporary failures that remain after the client library's own retries.
_PASSING = frozenset(
    {"BadDigest", "ConditionalRequestConflict", "IncompleteBody", "InternalError", "OperationAborted",
     "RequestTimeout", "RequestTimeoutException", "ServiceUnavailable", "SlowDown", "Throttling",
     "ThrottlingException", "TooManyRequests", "TooManyRequestsException", "RequestThrottled"}
)  # fmt: skip
_PASSING_STATUSES = frozenset({408, 425, 429, *range(500, 600)} - {501, 505, 507})
"""501 and 505: the server lacks what is asked for. 507: it is full."""


def _is_passing(error: Any) -> bool:
    """Return whether a ClientError is temporary; servers have codes of their own, so statuses count too."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    code = error_code(error)
    return code in _PASSING or (status in _PASSING_STATUSES and code not in _REASONS)


_CHECKSUMS = "if it does not know S3's checksum headers, set EXPORT_S3_CHECKSUMS=off"
_REFUSALS = frozenset({400, 411, 501})


def _may_refuse_checksums(error: Any) -> bool:
    """Return whether a ClientError may be a rejection of checksum headers; servers word it differently."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in _REFUSALS


def error_code(error: Any) -> str:
    """Return the code of a botocore ClientError, e.g. "NoSuchUpload"."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def s3_errors(
    what: str, bucket: str, endpoint: str, key: str | None = None, checksums: bool = True
) -> Iterator[None]:
    """Translate the client library's errors into StoreError; temporary ones into StoreUnavailableError.

    Args:
        what: The beginning of the message, e.g. "Cannot store exports/a/b.csv".
        bucket: Name of the bucket, for the message.
        endpoint: URL of the server, for the message.
        key: If given, "no such object" becomes NotFoundError for this key.
        checksums: True if checksum headers were sent, which some servers reject.
    """
    from botocore import exceptions as botocore_errors
    from botocore.parsers import ResponseParserError

    try:
        yield
    except botocore_errors.ClientError as error:
        code = error_code(error)
        if code == "NoSuchBucket":
            reason = f"bucket {bucket!r} does not exist at {endpoint}: create it or correct the store's URL"
        elif code in {"404", "NoSuchKey"} and key is not None:
            raise NotFoundError(f"No file {key} in bucket {bucket!r}.") from error
        else:
            text = error.response.get("Error", {}).get("Message") or "no explanation"
            reason = _REASONS.get(code, f"the server answered {code or 'an error'} ({text})")
            if code not in _REASONS and checksums and _may_refuse_checksums(error):
                reason += f"; {_CHECKSUMS}"
            if _is_passing(error) or code == "NoSuchUpload":
                raise StoreUnavailableError(f"{what}: {reason}.") from error
        raise StoreError(f"{what}: {reason}.") from error
    except (botocore_errors.NoCredentialsError, botocore_errors.PartialCredentialsError) as error:
        reason = "no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role"
        raise StoreError(f"{what}: {reason}.") from error
    except (botocore_errors.HTTPClientError, botocore_errors.ConnectionError) as error:
        reason = f"{endpoint} cannot be reached: check the endpoint URL and the network"
        raise StoreUnavailableError(f"{what}: {reason} ({type(error).__name__}).") from error
    except (botocore_errors.CredentialRetrievalError, botocore_errors.MetadataRetrievalError) as error:
        raise StoreUnavailableError(f"{what}: the credentials cannot be fetched now: {error}") from error
    except (
        botocore_errors.IncompleteReadError,
        botocore_errors.ChecksumError,
        botocore_errors.FlexibleChecksumError,
        ResponseParserError,
    ) as error:
        reason = f"the answer of {endpoint} was cut off or damaged on the way"
        raise StoreUnavailableError(f"{what}: {reason} ({type(error).__name__}).") from error
    except botocore_errors.BotoCoreError as error:
        raise StoreError(f"{what}: {error}") from error
