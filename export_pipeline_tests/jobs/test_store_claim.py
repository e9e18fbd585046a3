"""A copy of a ledger removes no file of the original's store."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from export_pipeline.jobs import Ledger, Status, migrate
from export_pipeline.jobs.store_claim import StoreClaim, StoreClaimError, delete_own
from export_pipeline.store import Store
from export_pipeline.store.folder import FolderStore
from export_pipeline_tests.jobs.test_purge import DUE, complete, run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return FolderStore(tmp_path / "files")


@pytest.fixture
def original(tmp_path: Path) -> Iterator[Ledger]:
    migrate(f"sqlite:///{tmp_path}/original.db")
    with Ledger(f"sqlite:///{tmp_path}/original.db") as ledger:
        yield ledger


@pytest.fixture
def copied(original: Ledger, store: Store, tmp_path: Path) -> Iterator[Ledger]:
    """A copy of the ledger, made after its first purge. Then the original was purged three times."""
    StoreClaim.sharing(original).renew(store)
    original.close()
    shutil.copyfile(tmp_path / "original.db", tmp_path / "copy.db")
    for _ in range(3):
        StoreClaim.sharing(original).renew(store)
    with Ledger(f"sqlite:///{tmp_path}/copy.db") as ledger:
        yield ledger


def test_a_copy_is_refused(original: Ledger, copied: Ledger, store: Store, tmp_path: Path) -> None:
    job = complete(copied, store, tmp_path, DUE)
    for refused in (
        lambda: StoreClaim.sharing(copied).renew(store),
        lambda: copied.delete(job.id, lambda key: delete_own(copied, store, key)),
    ):
        with pytest.raises(StoreClaimError, match="purge --take-store"):
            refused()
    assert copied.get(job.id) == job
    assert store.exists(str(job.file_key))
    StoreClaim.sharing(original).renew(store)


def test_whoever_takes_the_store_has_it(
    original: Ledger, copied: Ledger, store: Store, tmp_path: Path
) -> None:
    StoreClaim.sharing(copied).renew(store, take=True)
    StoreClaim.sharing(copied).check(store)
    with pytest.raises(StoreClaimError):
        StoreClaim.sharing(original).check(store)
    # In a store of its own each of them goes on.
    other = FolderStore(tmp_path / "other")
    StoreClaim.sharing(original).renew(other)
    with pytest.raises(StoreClaimError):
        StoreClaim.sharing(original).check(store)
    job = complete(original, other, tmp_path, DUE)
    run(original, other)
    assert original.get(job.id).status is Status.EXPIRED


def test_purges_at_the_same_time_and_killed_ones_keep_the_claim(
    original: Ledger, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        threads = [
            threading.Thread(target=StoreClaim.sharing(original).renew, args=(store,)) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        StoreClaim.sharing(original).check(store)
    with monkeypatch.context() as killed:
        killed.setattr(FolderStore, "put_bytes", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            StoreClaim.sharing(original).renew(store)
    StoreClaim.sharing(original).renew(store)


def test_other_ledgers_of_a_store_have_claims_of_their_own(
    original: Ledger, store: Store, tmp_path: Path
) -> None:
    migrate(f"sqlite:///{tmp_path}/second.db")
    with Ledger(f"sqlite:///{tmp_path}/second.db") as second:
        for _ in range(4):
            StoreClaim.sharing(original).renew(store)
            StoreClaim.sharing(second).renew(store)
