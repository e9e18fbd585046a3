"""A folder whose file system is gone: nothing is written below the mount point, and nothing is taken for lost."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from export_pipeline.jobs import LedgerUnavailableError, store_registry
from export_pipeline.jobs.migrate import migrate
from export_pipeline.jobs.store_registry import LedgerStores
from export_pipeline.store import NotFoundError, StoreError, StoreUnavailableError
from export_pipeline.store.folder import FolderStore
from export_pipeline.store.folder_marker import MARKER

KEY = "exports/s/1.csv"

USES: list[Callable[[FolderStore], object]] = [
    lambda store: store.put_bytes(b"x", KEY, media_type="text/csv"),
    lambda store: list(store.list()),
    lambda store: store.exists(KEY),
    lambda store: store.open(KEY).__enter__(),
    lambda store: store.clean(timedelta(0)),
    lambda store: store.check(),
    lambda store: store.delete(KEY),
]


@pytest.fixture(params=["sqlite", "postgres_url"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    is_file = request.param == "sqlite"
    url: str = f"sqlite:///{tmp_path / 'ledger.db'}" if is_file else request.getfixturevalue(request.param)
    migrate(url)
    return url


@pytest.fixture
def use(tmp_path: Path, ledger_url: str) -> Callable[[], FolderStore]:
    """Opens the store as a new process would."""
    (tmp_path / "mount").mkdir()
    return lambda: FolderStore(tmp_path / "mount", registry=LedgerStores(ledger_url))


def unmount(store: FolderStore) -> Path:
    there = store.root.with_name("unmounted")
    store.root.rename(there)
    store.root.mkdir()
    return there


def test_two_processes_use_a_new_folder_at_once(
    use: Callable[[], FolderStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, find = use(), LedgerStores.find

    def find_later(stores: LedgerStores, url: str) -> str | None:
        monkeypatch.undo()
        first.put_bytes(b"x", KEY, media_type="text/csv")
        return find(stores, url)

    monkeypatch.setattr(LedgerStores, "find", find_later)
    assert use().exists(KEY)


def test_a_folder_that_lost_its_marker_is_used_for_nothing(use: Callable[[], FolderStore]) -> None:
    store = use()
    store.put_bytes(b"x", KEY, media_type="text/csv")
    there = unmount(store)
    for act in USES:
        for one in (store, use()):
            with pytest.raises(StoreError, match="most likely because its file system is not mounted"):
                act(one)
    assert list(store.root.iterdir()) == []
    store.root.rmdir()
    there.rename(store.root)
    for act in USES:
        act(use())


@pytest.mark.parametrize("kind", ["loop", "folder", "loop of the root"])
def test_a_marker_that_cannot_be_read_is_an_error_of_the_store(
    use: Callable[[], FolderStore], kind: str
) -> None:
    """As behind a network that is gone: no file is taken for lost, and no other error comes up."""
    use().put_bytes(b"x", KEY, media_type="text/csv")
    root = use().root
    if kind == "loop of the root":
        root.rename(root.with_name("elsewhere"))
        root.symlink_to(root.name)
    else:
        (root / MARKER).unlink()
        (root / MARKER).symlink_to(MARKER) if kind == "loop" else (root / MARKER).mkdir()
    for call in USES:
        with pytest.raises(StoreError, match=r"cannot be read") as raised:
            call(use())
        assert not isinstance(raised.value, NotFoundError)


def test_another_store_s_folder_is_refused(use: Callable[[], FolderStore], tmp_path: Path) -> None:
    store = use()
    store.check()
    (store.root / MARKER).write_text('{"store": "another"}')
    with pytest.raises(StoreError, match=r"names another store \(another\)"):
        use().check()
    (store.root / MARKER).write_text("{")
    with pytest.raises(StoreError, match="is not the store that was used before"):
        use().check()


def test_the_command_in_the_error_makes_an_emptied_folder_usable(use: Callable[[], FolderStore]) -> None:
    use().check()
    unmount(use())
    with pytest.raises(StoreError) as caught:
        use().check()
    command = re.search(r"run: (echo .*)$", str(caught.value))
    assert command is not None
    subprocess.run(command[1], shell=True, check=True)
    use().put_bytes(b"x", KEY, media_type="text/csv")


def test_a_store_from_before_is_marked_at_its_next_use(use: Callable[[], FolderStore]) -> None:
    FolderStore(use().root).put_bytes(b"x", KEY, media_type="text/csv")
    assert not (use().root / MARKER).exists()
    assert [file.key for file in use().list()] == [KEY]
    use().put_bytes(b"y", KEY, media_type="text/csv")
    assert (use().root / MARKER).exists()
    assert [file.key for file in use().list()] == [KEY]


def test_a_moved_store_keeps_its_marker(use: Callable[[], FolderStore], ledger_url: str) -> None:
    use().put_bytes(b"x", KEY, media_type="text/csv")
    moved = use().root.rename(use().root.with_name("moved"))
    store = FolderStore(moved, registry=LedgerStores(ledger_url))
    store.check()
    assert store.exists(KEY)


def test_while_the_ledger_is_away_a_marked_folder_can_be_used(
    use: Callable[[], FolderStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    use().put_bytes(b"x", KEY, media_type="text/csv")

    def away(*_: object, **__: object) -> None:
        raise LedgerUnavailableError("It is away.")

    monkeypatch.setattr(store_registry, "transaction", away)
    for act in USES:
        act(use())
    unmount(use())
    with pytest.raises(StoreUnavailableError, match="It is unknown whether the store was used before"):
        use().check()
    assert list(use().root.iterdir()) == []


def test_without_a_ledger_nothing_is_demanded(tmp_path: Path) -> None:
    for url in ("mysql://nowhere/x", f"sqlite:///{tmp_path / 'none.db'}"):
        store = FolderStore(tmp_path / "store", registry=LedgerStores(url))
        store.put_bytes(b"x", KEY, media_type="text/csv")
        assert not (store.root / MARKER).exists()
    assert not (tmp_path / "none.db").exists()


# --- links


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "1.csv").write_bytes(b"theirs")
    store = FolderStore(tmp_path / "store")
    store.put_bytes(b"x", "exports/real/1.csv", media_type="text/csv")
    exports = store.root / "exports"
    (exports / "linked").symlink_to(outside)
    (exports / "loop").symlink_to(exports)
    (exports / "self").symlink_to("self")
    (exports / "real" / "2.csv").symlink_to(outside / "1.csv")
    assert [file.key for file in store.list()] == ["exports/real/1.csv"]
    for key in ("exports/linked/1.csv", "exports/loop/real/1.csv"):
        for act in (store.delete, store.stat, lambda key: store.put_bytes(b"y", key, media_type="")):
            with pytest.raises(StoreError, match="a store follows none"):
                act(key)
    for key in ("exports/real/2.csv", "exports/self"):
        assert not store.exists(key)
        with pytest.raises(StoreError, match="No file"), store.open(key):
            pass
        store.delete(key)
    assert (outside / "1.csv").read_bytes() == b"theirs"


def test_the_store_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    store = FolderStore(tmp_path / "link")
    store.put_bytes(b"x", KEY, media_type="text/csv")
    assert [file.key for file in store.list()] == [KEY]
    store.delete(KEY)


# --- rights


def test_files_are_their_user_s_alone(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "new" / "store")
    old = os.umask(0)
    try:
        store.put_bytes(b"x", KEY, media_type="text/csv")
    finally:
        os.umask(old)
    for path in (tmp_path / "new", *(tmp_path / "new").rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_a_group_may_read_them(tmp_path: Path) -> None:
    import grp

    group = next((one for one in map(grp.getgrgid, os.getgroups()) if one.gr_gid != os.getegid()), None)
    if os.geteuid() == 0:
        group = grp.getgrall()[-1]
    if group is None:
        pytest.skip("this user is a member of one group only")
    store = FolderStore(tmp_path / "store", group=group.gr_name)
    store.put_bytes(b"x", KEY, media_type="text/csv")
    for path in (store.root, store.root / "exports", store.root / "exports" / "s", store.root / KEY):
        status = path.stat()
        assert status.st_gid == group.gr_gid
        assert status.st_mode & 0o777 == (0o750 if path.is_dir() else 0o640), path
    assert (store.root / ".uploads").stat().st_mode & 0o777 == 0o700
    with pytest.raises(StoreError, match="EXPORT_FILES_GROUP names 'no-such-group'"):
        FolderStore(tmp_path, group="no-such-group")
