import errno
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from export_pipeline.store import StoreError
from export_pipeline.store.folder import FolderStore
from export_pipeline_tests.store.putting import put
from export_pipeline_tests.tools import require_tool

KEY = "exports/s/1.csv"
CSV = "text/csv"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def every_file(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_link_leads_to_the_file(store: FolderStore) -> None:
    from urllib.request import urlopen

    key = "exports/%2E.%2Fa/1.csv"
    stored = store.put_bytes(b"hello", key, media_type=CSV)
    with urlopen(store.signed_url(key, expires_seconds=60)) as answer:
        assert answer.read() == b"hello"
    assert Path(stored.location).read_bytes() == b"hello"


def test_a_delete_takes_empty_folders_along(store: FolderStore) -> None:
    store.put_bytes(b"x", "exports/a/d/c/1.csv", media_type=CSV)
    store.put_bytes(b"x", "exports/b/1.csv", media_type=CSV)
    store.delete("exports/a/d/c/1.csv")
    assert sorted(path.name for path in (store.root / "exports").iterdir()) == ["b"]


def test_a_put_survives_folders_that_vanish(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delete of the last file in a folder may run between the making of the folder and the rename."""
    make, vanished = FolderStore._make_folder, []

    def make_and_lose(self: FolderStore, folder: Path) -> None:
        make(self, folder)
        if folder.name == "s" and not vanished:
            vanished.append(folder)
            shutil.rmtree(folder)

    monkeypatch.setattr(FolderStore, "_make_folder", make_and_lose)
    store.put_bytes(b"x", KEY, media_type=CSV)
    assert vanished
    assert store.stat(KEY).bytes == 1


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "no space is left"),
        (errno.EDQUOT, "quota is used up"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "Input/output error"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "write"])
def test_an_upload_that_the_system_refuses_leaves_nothing(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, says: str
) -> None:
    store.put_bytes(b"old", KEY, media_type=CSV)
    local = tmp_path / "local"
    local.write_bytes(b"x" * 100)

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    target = "os.fsync" if call == "fsync" else "export_pipeline.store.upload.write_all"
    monkeypatch.setattr(target, refuse)
    with pytest.raises(StoreError, match=f"Cannot store exports/s/1.csv in .*{says}"):
        put(store, local, KEY, media_type=CSV, file_name="x")
    assert [path.read_bytes() for path in every_file(store.root)] == [b"old"]


def test_a_process_s_own_limit_leaves_nothing(store: FolderStore, tmp_path: Path) -> None:
    """The kernel itself takes a part of the last write and refuses the rest, as a full disk does."""
    local = tmp_path / "local"
    local.write_bytes(b"x" * 3_000_000)
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from export_pipeline.store import open_store\n"
        "from export_pipeline_tests.store.putting import put\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))\n"
        "put(open_store(sys.argv[1]), Path(sys.argv[2]), 'exports/s/1.csv', media_type='', file_name='x')"
    )
    command = [sys.executable, "-c", script, str(store.root), str(local)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "StoreError: Cannot store" in done.stderr
    assert "larger than the file system or this process may write" in done.stderr
    assert every_file(store.root) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a tiny file system needs root")
    mounted = tmp_path / "tiny"
    mounted.mkdir()
    mount = [str(require_tool("mount")), "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mounted)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this container may not mount")
    try:
        local = tmp_path / "local"
        local.write_bytes(os.urandom(3 << 20))
        store = FolderStore(mounted / "store")
        with pytest.raises(StoreError, match="no space is left"):
            put(store, local, KEY, media_type=CSV, file_name="x")
        assert every_file(mounted) == []
        local.write_bytes(os.urandom(1 << 20))
        put(store, local, KEY, media_type=CSV, file_name="x")
        assert [path.stat().st_size for path in every_file(mounted)] == [1 << 20]
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_a_folder_without_permission_is_reported(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    root.chmod(0o555)
    script = (
        "import os, sys; from export_pipeline.store import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "if os.geteuid() == 0: os.setegid(65534); os.seteuid(65534)\n"
        "store.check()"
    )
    # A folder that "nobody" can reach: pytest's own are closed to others.
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(folder.stat().st_mode | 0o011)
    command = [sys.executable, "-c", script, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "permission denied: let this user write there" in done.stderr
    assert list(root.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="is a file, not a folder"):
        FolderStore(tmp_path / "file").check()
    store = FolderStore(tmp_path / "store")
    store.put_bytes(b"x", "exports/s", media_type=CSV)
    with pytest.raises(StoreError, match="is a file, not a folder"):
        store.put_bytes(b"x", KEY, media_type=CSV)


def test_clean_spares_the_living_and_the_young(store: FolderStore, tmp_path: Path) -> None:
    dead = store.root / ".uploads" / f"{'0123456789ab' * 2}-{'dead' * 8}"
    dead.parent.mkdir(parents=True)
    dead.write_bytes(b"x")
    local = tmp_path / "local"
    local.write_bytes(b"x" * 100)
    cleaned = []

    def clean() -> None:
        cleaned.append(store.clean(timedelta(hours=1)))
        cleaned.append(store.clean(timedelta(0)))

    put(store, local, KEY, media_type=CSV, file_name="x", before_visible=clean)
    assert cleaned == [0, 1]
    assert store.stat(KEY).bytes == 100
    assert FolderStore(tmp_path / "nowhere").clean(timedelta(0)) == 0
