"""Requests of dead processes that reach the server late: none of them changes what a newer attempt has stored."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from export_pipeline.store import Store, StoreUnavailableError, manifest_key, open_store
from export_pipeline.store.publish import publish, unpublish, verify_file
from export_pipeline_tests.services.fixtures import Bucket
from export_pipeline_tests.services.s3_proxy import HoldingProxy
from export_pipeline_tests.store.putting import begin
from export_pipeline_tests.store.test_publish import manifest_of

KEY = "exports/s/takeoff/daily/2026-01-31.csv"
FILE, MANIFEST = "31.csv?", ".manifest.json?"
SMALL, LARGE = 1000, 9 << 20

Hold = Callable[..., HoldingProxy]


@pytest.fixture
def hold(bucket: Bucket) -> Iterator[Hold]:
    with contextlib.ExitStack() as proxies:

        def make(method: str, *words: str, is_deadly: bool = True) -> HoldingProxy:
            proxy = HoldingProxy(bucket.server, method, *words, is_deadly=is_deadly)
            return proxies.enter_context(proxy.running())

        yield make


@pytest.fixture
def store(bucket: Bucket) -> Store:
    return open_store(
        bucket.url, endpoint_url=bucket.server.endpoint_url, clients=lambda _: bucket.server.client()
    )


def write(store: Store, data: bytes, folder: Path) -> None:
    with begin(store, KEY, folder) as upload:
        upload.write(data)
        publish(store, upload, manifest_of)


def die(bucket: Bucket, proxy: HoldingProxy, act: Callable[[Store], object]) -> None:
    """Do something until the proxy holds one of its requests: nothing more comes of it but that."""
    from botocore.config import Config

    once = Config(retries={"mode": "standard", "total_max_attempts": 1})
    client = bucket.server.client(endpoint_url=proxy.url, config=once)
    with pytest.raises(StoreUnavailableError):
        act(open_store(bucket.url, clients=lambda _: client))
    assert proxy.held.is_set()


def content(store: Store) -> bytes:
    with store.open(KEY) as source:
        return source.read()


PUBLISHING = [
    ("POST", FILE, "uploads"),
    ("PUT", FILE, "partNumber=1"),
    ("POST", FILE, "uploadId"),
    ("POST", MANIFEST, "uploads"),
    ("PUT", MANIFEST, "partNumber=1"),
    ("POST", MANIFEST, "uploadId"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("request_held", "size", "replaces"),
    [(request, SMALL, replaces) for request in PUBLISHING for replaces in (True, False)]
    + [(request, LARGE, True) for request in PUBLISHING[:3]],
)
def test_a_late_upload_of_a_dead_attempt_changes_nothing(
    bucket: Bucket,
    store: Store,
    hold: Hold,
    tmp_path: Path,
    request_held: tuple[str, ...],
    size: int,
    replaces: bool,
) -> None:
    """The newest content is that of the oldest again, so that no comparison of contents helps."""
    if replaces:
        write(store, b"newest", tmp_path)
    proxy = hold(*request_held)
    die(bucket, proxy, lambda store: write(store, b"a" * size, tmp_path))
    write(store, b"newest", tmp_path)
    proxy.let_through()
    assert verify_file(store, KEY) == []
    assert content(store) == b"newest"
    assert sorted(file.key for file in store.list()) == [KEY, manifest_key(KEY)]


REMOVING = [
    (method, which, what)
    for which in (FILE, MANIFEST)
    for method, what in (("POST", "uploads"), ("PUT", "partNumber=1"), ("POST", "uploadId"))
] + [("DELETE", "31.csv"), ("DELETE", ".manifest.json")]


@pytest.mark.slow
@pytest.mark.parametrize("request_held", REMOVING, ids=" ".join)
def test_a_late_removal_of_a_dead_attempt_changes_nothing(
    bucket: Bucket, store: Store, hold: Hold, tmp_path: Path, request_held: tuple[str, ...]
) -> None:
    write(store, b"the same", tmp_path)
    proxy = hold(*request_held)
    die(bucket, proxy, lambda store: unpublish(store, KEY))
    write(store, b"the same", tmp_path)
    proxy.let_through()
    assert verify_file(store, KEY) == []
    assert content(store) == b"the same"


@pytest.mark.slow
@pytest.mark.parametrize("request_held", [*PUBLISHING[1:3], *PUBLISHING[4:]], ids=" ".join)
def test_a_file_that_was_removed_does_not_come_back(
    bucket: Bucket, store: Store, hold: Hold, tmp_path: Path, request_held: tuple[str, ...]
) -> None:
    proxy = hold(*request_held)
    die(bucket, proxy, lambda store: write(store, b"a", tmp_path))
    unpublish(store, KEY)
    proxy.let_through()
    assert list(store.list()) == []


def test_a_removal_that_was_cut_off_shows_no_file_and_is_finished_by_the_next(
    bucket: Bucket, store: Store, hold: Hold, tmp_path: Path
) -> None:
    write(store, b"x", tmp_path)
    proxy = hold("DELETE", ".csv")
    die(bucket, proxy, lambda store: unpublish(store, KEY))
    assert not store.exists(manifest_key(KEY))
    unpublish(store, KEY)
    assert not store.exists(KEY)
    assert list(store.list()) == []
    assert proxy.let_through() in {404, 412}


@pytest.mark.slow
def test_the_first_try_of_a_request_comes_after_all_is_done(
    bucket: Bucket, store: Store, hold: Hold, tmp_path: Path
) -> None:
    """The client lost the connection and sent it again; nobody died."""
    from botocore.config import Config

    again = Config(retries={"mode": "standard", "total_max_attempts": 3})
    for request_held in (*PUBLISHING, ("DELETE", "31.csv")):
        proxy = hold(*request_held, is_deadly=False)
        client = bucket.server.client(endpoint_url=proxy.url, config=again)
        older = open_store(bucket.url, clients=lambda _, client=client: client)  # type: ignore[misc]
        write(older, b"older", tmp_path)
        unpublish(older, KEY)
        write(store, b"newer", tmp_path)
        assert proxy.held.is_set()
        proxy.let_through()
        assert verify_file(store, KEY) == [], request_held
        assert content(store) == b"newer"


@pytest.mark.slow
def test_one_of_two_simultaneous_uploads_at_most_is_published_and_fits_its_manifest(
    bucket: Bucket, store: Store, tmp_path: Path
) -> None:
    """Without anybody who says which of them is wanted."""
    done: list[bytes] = []
    both = threading.Barrier(2)

    def attempt(data: bytes) -> None:
        own = open_store(bucket.url, clients=lambda _: bucket.server.client())
        both.wait()
        with contextlib.suppress(StoreUnavailableError):  # which an export tries again
            write(own, data, tmp_path)
            done.append(data)

    for turn in range(5):
        done.clear()
        threads = [threading.Thread(target=attempt, args=(f"{turn}{name}".encode(),)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if not done:
            write(store, b"the next try", tmp_path)
        assert verify_file(store, KEY) == []
