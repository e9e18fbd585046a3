"""A copy of a ledger removes no file of the original's store, and the original always may."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from export_pipeline.jobs import Ledger, Status, migrate, store_claim
from export_pipeline.jobs.store_claim import StoreClaim, StoreClaimError, delete_own
from export_pipeline.jobs.tables import secrets
from export_pipeline.store import Store, StoreError, open_store
from export_pipeline.store.base import StagedFile
from export_pipeline.store.folder import FolderStore
from export_pipeline_tests.jobs.test_purge import DUE, complete, run
from export_pipeline_tests.services.fixtures import Bucket
from export_pipeline_tests.services.postgres import PostgresServer


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return FolderStore(tmp_path / "files")


@pytest.fixture
def original(url: str) -> Iterator[Ledger]:
    migrate(url)
    with Ledger(url) as ledger:
        yield ledger


@pytest.fixture
def copied(original: Ledger, url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """A copy of the ledger in another database of the same server, or in another file."""
    original.close()
    if original.engine.dialect.name == "sqlite":
        shutil.copyfile(str(original.engine.url.database), tmp_path / "copy.db")
        with Ledger(f"sqlite:///{tmp_path}/copy.db") as ledger:
            yield ledger
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    source = original.engine.url.database
    with closing(server.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {source}_copy TEMPLATE {source}")
    with Ledger(server.url(f"{source}_copy")) as ledger:
        yield ledger
    with closing(server.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {source}_copy WITH (FORCE)")


def claim(ledger: Ledger, store: Store, *, take: bool = False) -> None:
    StoreClaim.sharing(ledger).claim(store, take=take)


def claim_in(store: Store, ledger: Ledger) -> str:
    with store.open(f"ledgers/{ledger.deployment()}.json") as file:
        return file.read(1024).decode()


def is_refused(ledger: Ledger, store: Store) -> bool:
    try:
        StoreClaim.sharing(ledger).check(store)
    except StoreClaimError:
        return True
    return False


def test_a_copy_is_refused_from_the_first_moment(
    original: Ledger, copied: Ledger, store: Store, tmp_path: Path
) -> None:
    claim(original, store)
    job = complete(copied, store, tmp_path, DUE)
    for refused in (
        lambda: claim(copied, store),
        lambda: copied.delete(job.id, lambda key: delete_own(copied, store, key)),
    ):
        with pytest.raises(StoreClaimError, match="purge --take-store"):
            refused()
    assert copied.get(job.id) == job
    assert store.exists(str(job.file_key))
    claim(original, store)


def test_whoever_takes_the_store_has_it(
    original: Ledger, copied: Ledger, store: Store, tmp_path: Path
) -> None:
    claim(original, store)
    claim(copied, store, take=True)
    assert (is_refused(original, store), is_refused(copied, store)) == (True, False)
    # In a store of its own each of them goes on.
    other = FolderStore(tmp_path / "other")
    claim(original, other)
    assert is_refused(original, store)
    job = complete(original, other, tmp_path, DUE)
    run(original, other)
    assert original.get(job.id).status is Status.EXPIRED
    claim(original, store, take=True)
    assert (is_refused(original, store), is_refused(copied, store)) == (False, True)


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def away(*_: object, **__: object) -> None:
    raise StoreError("writes are refused")


@pytest.mark.parametrize(
    ("place", "name", "fails"), [(os, "fsync", no_space), (FolderStore, "stage_bytes", away)]
)
def test_failed_writes_change_nothing(
    original: Ledger, copied: Ledger, store: Store, monkeypatch: pytest.MonkeyPatch,
    place: object, name: str, fails: Callable[..., None],
) -> None:  # fmt: skip
    with monkeypatch.context() as full:
        full.setattr(place, name, fails)
        claim(original, store)  # a full disk can be purged
    claim(copied, store)
    with monkeypatch.context() as full:
        full.setattr(place, name, fails)
        for _ in range(4):
            claim(copied, store)
            assert not is_refused(copied, store)
        with pytest.raises(StoreError, match="is not taken, and no file is removed"):
            claim(original, store, take=True)
        claim(copied, store)
    assert (is_refused(original, store), is_refused(copied, store)) == (True, False)
    claim(original, store, take=True)
    assert (is_refused(original, store), is_refused(copied, store)) == (False, True)


@pytest.mark.parametrize("kind", ["folder", "s3"])
@pytest.mark.parametrize("step", ["before staging", "before publishing"])
def test_of_two_first_claims_at_once_one_is_refused(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kind: str, step: str
) -> None:
    store: Store = FolderStore(tmp_path / "files")
    if kind == "s3":
        bucket: Bucket = request.getfixturevalue("bucket")
        client = bucket.server.client()
        store = open_store(bucket.url, endpoint_url=bucket.server.endpoint_url, clients=lambda _: client)
    stage = type(store).stage_bytes
    migrate(f"sqlite:///{tmp_path}/original.db")
    shutil.copyfile(tmp_path / "original.db", tmp_path / "copy.db")
    with (
        Ledger(f"sqlite:///{tmp_path}/original.db") as original,
        Ledger(f"sqlite:///{tmp_path}/copy.db") as copied,
    ):

        def overtaken(self: Store, data: bytes, key: str, *, media_type: str) -> StagedFile:
            monkeypatch.setattr(type(store), "stage_bytes", stage)
            if step == "before staging":
                claim(copied, store)
            staged = stage(self, data, key, media_type=media_type)
            if step == "before publishing":
                claim(copied, store)
            return staged

        monkeypatch.setattr(type(store), "stage_bytes", overtaken)
        with pytest.raises(StoreClaimError):
            claim(original, store)
        assert (is_refused(original, store), is_refused(copied, store)) == (True, False)


def test_purges_at_the_same_time_keep_the_claim(original: Ledger, store: Store) -> None:
    threads = [threading.Thread(target=claim, args=(original, store)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not is_refused(original, store)


@pytest.mark.parametrize(
    "damaged",
    [b"", b"{", b"[]", b"{}", b"\xff", b'{"database": null}', b'{"database": ["sqlite"]}', b'{"token": []}'],
)
def test_a_damaged_claim_frees_the_store_for_nobody(
    original: Ledger, copied: Ledger, store: Store, damaged: bytes
) -> None:
    store.put_bytes(damaged, f"ledgers/{original.deployment()}.json", media_type="application/json")
    for ledger in (original, copied):
        with pytest.raises(StoreClaimError, match="purge --take-store"):
            claim(ledger, store)
    claim(original, store, take=True)
    assert (is_refused(original, store), is_refused(copied, store)) == (False, True)


def test_a_claim_by_token_stays_with_the_ledger_that_wrote_it(
    original: Ledger, copied: Ledger, store: Store
) -> None:
    """Older versions wrote a token into the store and into the ledger."""
    with original.engine.begin() as connection:
        row = {"name": f"store {store.url}", "secret": "second first"}
        connection.execute(sa.insert(secrets).values(row))
    key = f"ledgers/{original.deployment()}.json"
    store.put_bytes(b'{"token": "first"}', key, media_type="application/json")
    assert is_refused(copied, store)
    with pytest.raises(StoreClaimError):
        claim(copied, store)
    assert not is_refused(original, store)
    claim(original, store)
    with original.engine.begin() as connection:
        connection.execute(sa.delete(secrets))
    assert (is_refused(original, store), is_refused(copied, store)) == (False, True)


def test_a_slow_store_keeps_nobody_from_writing(
    original: Ledger, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(original, store)
    with original.engine.connect().execution_options(write=True) as writer, writer.begin():
        writer.execute(sa.text("DELETE FROM export_events"))
        claim(original, store)  # needs no lock that a writer has


def test_other_ledgers_of_a_store_have_claims_of_their_own(
    original: Ledger, store: Store, tmp_path: Path
) -> None:
    migrate(f"sqlite:///{tmp_path}/second.db")
    with Ledger(f"sqlite:///{tmp_path}/second.db") as second:
        for ledger in (original, second, original, second):
            claim(ledger, store)
            assert not is_refused(ledger, store)


@contextmanager
def connected_as(server: PostgresServer, database: str, role: str) -> Iterator[Ledger]:
    """The ledger as a role sees it that is no superuser."""
    url = sa.make_url(server.url(database)).set(username=role, password="secret")
    with closing(server.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'; GRANT pg_read_all_data TO {role}")
    with Ledger(url.render_as_string(hide_password=False)) as ledger:
        yield ledger
    with closing(server.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP ROLE {role}")


def test_a_claim_in_s3_is_taken_and_kept(bucket: Bucket, tmp_path: Path) -> None:
    client = bucket.server.client()
    store = open_store(bucket.url, endpoint_url=bucket.server.endpoint_url, clients=lambda _: client)
    migrate(f"sqlite:///{tmp_path}/original.db")
    shutil.copyfile(tmp_path / "original.db", tmp_path / "copy.db")
    with (
        Ledger(f"sqlite:///{tmp_path}/original.db") as original,
        Ledger(f"sqlite:///{tmp_path}/copy.db") as copied,
    ):
        claim(original, store)
        with pytest.raises(StoreClaimError):
            claim(copied, store)
        claim(copied, store, take=True)
        claim(copied, store)
        assert (is_refused(original, store), is_refused(copied, store)) == (True, False)


def test_each_role_of_a_server_sees_the_same_database(
    postgres: PostgresServer, postgres_url: str, store: Store, tmp_path: Path
) -> None:
    migrate(postgres_url)
    with Ledger(postgres_url) as original:
        claim(original, store)
        database = str(original.engine.url.database)
        with connected_as(postgres, database, "plain_exporter") as plain:
            assert not is_refused(plain, store)
            with original.engine.begin() as connection:
                connection.execute(sa.text("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC"))
            assert not is_refused(plain, store)
            other = FolderStore(tmp_path / "other")
            claim(plain, other)
            claim(original, other)
            assert not is_refused(plain, other)
            assert '"postgresql", null, ' in claim_in(other, plain)
            claim(original, other, take=True)  # tells a copy in another cluster, too
            assert "null" not in claim_in(other, plain)
            assert not is_refused(plain, other)


def test_a_copy_in_another_schema_and_one_restored_in_place_are_told(postgres_url: str, store: Store) -> None:
    migrate(postgres_url)
    with Ledger(postgres_url) as original:
        claim(original, store)
        with original.engine.begin() as connection:
            connection.execute(
                sa.text(
                    "CREATE TABLE restored AS SELECT * FROM export_deployment; DROP TABLE export_deployment; "
                    "ALTER TABLE restored RENAME TO export_deployment"
                )
            )
        assert is_refused(original, store)


def test_a_moved_file_is_the_same_ledger(tmp_path: Path, store: Store) -> None:
    migrate(f"sqlite:///{tmp_path}/here.db")
    with Ledger(f"sqlite:///{tmp_path}/here.db") as ledger:
        claim(ledger, store)
        with ledger.engine.connect() as connection:
            connection.connection.dbapi_connection.execute("VACUUM")  # type: ignore[union-attr]
        assert not is_refused(ledger, store)
    (tmp_path / "here.db").rename(tmp_path / "there.db")
    with Ledger(f"sqlite:///{tmp_path}/there.db") as ledger:
        assert not is_refused(ledger, store)


def test_a_copy_with_the_same_inode_is_told(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first file of each new volume has the same inode."""
    migrate(f"sqlite:///{tmp_path}/original.db")
    shutil.copyfile(tmp_path / "original.db", tmp_path / "copy.db")
    stat, of_original = Path.stat, (tmp_path / "original.db").stat()
    monkeypatch.setattr(
        Path, "stat", lambda self, **how: of_original if self.suffix == ".db" else stat(self, **how)
    )
    with Ledger(f"sqlite:///{tmp_path}/original.db") as original:
        claim(original, store)
    with Ledger(f"sqlite:///{tmp_path}/copy.db") as copied:
        assert is_refused(copied, store)


def test_a_system_without_birth_times_compares_the_rest(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(f"sqlite:///{tmp_path}/original.db")
    shutil.copyfile(tmp_path / "original.db", tmp_path / "copy.db")
    with Ledger(f"sqlite:///{tmp_path}/original.db") as original:
        claim(original, store)
        monkeypatch.setattr(store_claim, "_birth_time", lambda path: None)
        assert not is_refused(original, store)
    with Ledger(f"sqlite:///{tmp_path}/copy.db") as copied:
        assert is_refused(copied, store)
