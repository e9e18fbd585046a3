"""Errors of S3: told apart by code, status and class, as a passing one is waited for and another is not."""

from __future__ import annotations

import socket
import threading
from contextlib import closing

import pytest
from botocore import exceptions
from botocore.parsers import ResponseParserError

from export_pipeline.store import StoreError, StoreUnavailableError, open_store
from export_pipeline.store.s3_errors import s3_errors

PASSING = [
    ("InternalError", 500), ("ServiceUnavailable", 503), ("SlowDown", 503), ("RequestTimeout", 400),
    ("OperationAborted", 409), ("ConditionalRequestConflict", 409), ("BadDigest", 400), ("IncompleteBody", 400),
    ("TooManyRequests", 429), ("ThrottlingException", 400), ("SlowDownRead", 503), ("XMinioServerNotInitialized", 503),
    ("503", 503), ("408", 408), ("", 502), ("520", 520),
]  # fmt: skip
LASTING = [
    ("AccessDenied", 403), ("403", 403), ("NoSuchBucket", 404), ("SignatureDoesNotMatch", 403), ("ExpiredToken", 400),
    ("XMinioStorageFull", 507), ("InsufficientStorage", 507), ("NotImplemented", 501), ("InvalidRequest", 400),
    ("PreconditionFailed", 412), ("MethodNotAllowed", 405), ("QuotaExceeded", 503),
]  # fmt: skip
CASES = [*((*case, True) for case in PASSING), *((*case, False) for case in LASTING)]


def raised(error: Exception) -> StoreError:
    with pytest.raises(StoreError) as caught, s3_errors("Cannot", "bucket", "http://s3"):
        raise error
    return caught.value


@pytest.mark.parametrize(("code", "status", "is_passing"), CASES)
def test_answers(code: str, status: int, is_passing: bool) -> None:
    answer = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = exceptions.ClientError(answer, "PutObject")  # type: ignore[arg-type]
    assert isinstance(raised(error), StoreUnavailableError) is is_passing


@pytest.mark.parametrize(
    "error",
    [
        exceptions.EndpointConnectionError(endpoint_url="http://s3"),
        exceptions.ConnectTimeoutError(endpoint_url="http://s3"),
        exceptions.ReadTimeoutError(endpoint_url="http://s3"),
        exceptions.SSLError(endpoint_url="http://s3", error="EOF"),
        exceptions.ProxyConnectionError(proxy_url="http://proxy"),
        exceptions.ResponseStreamingError(error="cut"),
        exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        exceptions.FlexibleChecksumError(error_msg="differs"),
        exceptions.CredentialRetrievalError(provider="role", error_msg="503"),
        exceptions.MetadataRetrievalError(error_msg="timed out"),
        ResponseParserError("no XML"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_never_was_an_answer_is_passing(error: Exception) -> None:
    assert isinstance(raised(error), StoreUnavailableError)


@pytest.mark.parametrize("error", [exceptions.NoCredentialsError(), exceptions.NoRegionError()])
def test_settings_that_are_wrong_are_not(error: Exception) -> None:
    assert not isinstance(raised(error), StoreUnavailableError)


def test_a_file_that_is_cut_off_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")

        threading.Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        store = open_store("s3://bucket", endpoint_url=url)
        with pytest.raises(StoreUnavailableError), store.open("exports/a/b.csv") as file:
            file.read()
