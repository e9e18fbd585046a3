"""Servers that know less than Amazon's: without checksums, multipart uploads or conditions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.store import Store, StoreError, open_store
from export_pipeline.store.publish import publish, unpublish, verify_file
from export_pipeline_tests.services.fixtures import Bucket
from export_pipeline_tests.services.s3_proxy import Refusal, S3Proxy
from export_pipeline_tests.store.putting import begin
from export_pipeline_tests.store.test_publish import manifest_of

KEY = "exports/s/1.csv"
SIZES = [0, 1000, 9 << 20]
CHECKSUMS = ("x-amz-checksum", "x-amz-sdk-checksum", "x-amz-trailer")

Reach = Callable[..., Store]


@pytest.fixture
def reach(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reach]:
    """Opens a store through a proxy that refuses some requests."""
    for name, value in bucket.server.environment().items():
        monkeypatch.setenv(name, value)
    with ExitStack() as proxies:

        def make(refuse: Refusal, **options: Any) -> Store:
            proxy = proxies.enter_context(S3Proxy(bucket.server, refuse).running())
            return open_store(bucket.url, endpoint_url=proxy.url, **options)

        yield make


def no_checksums(code: str, status: int) -> Refusal:
    def refuse(request: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        return (status, code) if any(name.lower().startswith(CHECKSUMS) for name in headers) else None

    return refuse


def no_multipart(request: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
    has_new_requests = request.startswith("POST") or "uploads" in request.partition("?")[2]
    return (501, "NotImplemented") if has_new_requests else None


def round_trip(store: Store, folder: Path, size: int) -> None:
    for data in (os.urandom(size), os.urandom(size)):
        with begin(store, KEY, folder) as upload:
            upload.write(data)
            publish(store, upload, manifest_of)
        with store.open(KEY) as source:
            assert source.read() == data
        assert verify_file(store, KEY) == []
    unpublish(store, KEY)
    assert list(store.list()) == []


@pytest.mark.parametrize(
    ("code", "status"), [("InvalidArgument", 400), ("NotImplemented", 501), ("MissingContentLength", 411)]
)
def test_a_refusal_of_checksums_names_the_setting(
    reach: Reach, tmp_path: Path, code: str, status: int
) -> None:
    store = reach(no_checksums(code, status))

    def put() -> None:
        with begin(store, KEY, tmp_path) as upload:
            upload.write(b"x")
            upload.publish()

    for ask in (store.check, put):
        with pytest.raises(StoreError, match="set EXPORT_S3_CHECKSUMS=off"):
            ask()


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_a_server_without_checksums(reach: Reach, tmp_path: Path, size: int) -> None:
    store = reach(no_checksums("InvalidArgument", 400), checksums=False)
    assert store.check() is None
    round_trip(store, tmp_path, size)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("checksums", [True, False])
def test_a_server_without_multipart_uploads(reach: Reach, tmp_path: Path, size: int, checksums: bool) -> None:
    store = reach(no_multipart, checksums=checksums)
    assert "may replace a newer file" in str(store.check())
    round_trip(store, tmp_path, size)


def test_a_server_that_cannot_list_uploads(reach: Reach, tmp_path: Path) -> None:
    def refuse(request: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        is_list = request.startswith("GET") and "uploads" in request.partition("?")[2]
        return (501, "NotImplemented") if is_list else None

    store = reach(refuse)
    assert "may replace a newer file" in str(store.check())
    round_trip(store, tmp_path, 1000)


def test_a_server_that_refuses_conditions(reach: Reach, tmp_path: Path) -> None:
    def refuse(request: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        return (501, "NotImplemented") if "If-Match" in headers else None

    store = reach(refuse)
    assert "may remove a newer file" in str(store.check())
    round_trip(store, tmp_path, 1000)


@pytest.mark.slow
def test_a_server_that_ignores_conditions(reach: Reach, bucket: Bucket, tmp_path: Path) -> None:
    def delete(request: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        if "If-Match" not in headers:
            return None
        _, name, key = request.partition("?")[0].split("/", 2)
        bucket.server.client().delete_object(Bucket=name, Key=key)
        return 200, "none"

    store = reach(delete)
    assert "may remove a newer file" in str(store.check())
    round_trip(store, tmp_path, 1000)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("multipart", [True, False])
def test_without_checksums_damaged_bytes_are_found_all_the_same(
    reach: Reach, bucket: Bucket, tmp_path: Path, size: int, multipart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the server keeps others than it took, which it cannot notice."""
    proxy = reach(no_multipart if not multipart else lambda *_: None, checksums=False)

    def spoil(params: dict[str, Any], **_: object) -> None:
        body = params["body"] if isinstance(params["body"], bytes) else params["body"].read()
        params["body"] = b"?" + body[1:]
        params["headers"].pop("Content-MD5", None)

    for event in ("UploadPart", "PutObject"):
        proxy.client.meta.events.register(f"before-call.s3.{event}", spoil)  # type: ignore[attr-defined]
    with (
        begin(proxy, KEY, tmp_path) as upload,
        pytest.raises(StoreError, match="or others than were sent; they have been deleted"),
    ):
        upload.write(b"x" * size)
        upload.publish()
    assert not proxy.exists(KEY)


def test_without_a_list_of_uploads_there_is_nothing_to_clean(reach: Reach) -> None:
    """`purge` cleans before it looks at files, and must get to them."""
    store = reach(lambda request, headers: (501, "NotImplemented") if "?uploads" in request else None)
    assert store.clean(timedelta(0)) == 0
    denied = reach(lambda request, headers: (403, "AccessDenied") if "?uploads" in request else None)
    with pytest.raises(StoreError, match="access denied"):
        denied.clean(timedelta(0))


@pytest.mark.parametrize("answer", [(501, "NotImplemented"), (403, "AccessDenied")])
def test_a_server_that_lists_no_files_is_found_by_health(reach: Reach, answer: tuple[int, str]) -> None:
    store = reach(lambda request, headers: answer if "list-type=2" in request else None)
    with pytest.raises(StoreError, match="cannot be used"):
        store.check()
