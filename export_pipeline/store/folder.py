"""A folder as a store: files are published by a rename, complete and synced to disk.

Unfinished files lie in `.uploads` below the root (see `folder_upload`). POSIX systems only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from export_pipeline.store.base import (
    FileStat,
    NotFoundError,
    OwnKeys,
    StagedFile,
    StoreError,
    check_lifetime,
    name_keys,
)
from export_pipeline.store.file_modes import find_group
from export_pipeline.store.folder_marker import FolderMarker, StoreRegistry
from export_pipeline.store.folder_upload import FolderUpload, UploadArea
from export_pipeline.store.keys import check_key
from export_pipeline.store.store import Store
from export_pipeline.store.upload import Upload

_UPLOADS = ".uploads"
_REASONS = {
    errno.ENOSPC: "no space is left on its file system: free some or choose another folder",
    errno.EDQUOT: "the disk quota is used up: free some space or raise the quota",
    errno.EFBIG: "the file is larger than the file system or this process may write",
    errno.EACCES: "permission denied: let this user write there or choose another folder",
    errno.EPERM: "operation not permitted: let this user write there or choose another folder",
    errno.EROFS: "the file system is read-only: mount it writable or choose another folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "a part of the path is a file, not a folder",
    errno.ENAMETOOLONG: "a name in it is too long for the file system",
    errno.EISDIR: "a folder has the name of the file",
    errno.EXDEV: "a folder below the store lies on another file system: a store must be on one",
}


class FolderStore(Store):
    """Keeps export files in a local (or mounted) folder.

    Args:
        root: The folder. It is created at the first write.
        ignores_case: True if the file system ignores case in names; None detects it. If it does, capital
            letters of keys are percent-encoded in file names, so that different keys stay apart.
        group: Name of the group that may read the files; None for our user only.
        registry: Remembers that the folder was used, so that a lost mount is detected; None skips the check.

    Raises:
        StoreError: The group does not exist.
    """

    def __init__(
        self,
        root: Path,
        *,
        ignores_case: bool | None = None,
        group: str | None = None,
        registry: StoreRegistry | None = None,
    ) -> None:
        self.root = root.absolute()
        self._marker = FolderMarker(self.root, registry)
        self._group = find_group(group) if group else None
        self._area = UploadArea(self.root / _UPLOADS)
        self._ignores_case = ignores_case

    @property
    def url(self) -> str:
        """The URL of the folder: `file:///…`."""
        return self.root.as_uri()

    def path(self, key: str) -> Path:
        """Return the path of the file with this key. The file need not exist.

        Raises:
            StoreError: A folder of it is a symbolic link.
        """
        check_key(key)
        name = _encode_case(key) if self._case_is_ignored() else key
        folder = name.rpartition("/")[0]
        if os.path.realpath(self.root / folder) != os.path.join(os.path.realpath(self.root), folder).rstrip(
            "/"
        ):
            raise StoreError(
                f"Cannot use {key} in {self.root}: a folder of it is a symbolic link, and a store follows "
                "none: put the folder itself there, or make the whole store the link."
            )
        return self.root / name

    def begin(self, key: str, *, media_type: str, file_name: str, local: Path) -> Upload:
        """See `Store.begin`. `local` becomes a link into the store; nothing is copied."""
        return self._begin(key, local)

    def stage_bytes(self, data: bytes, key: str, *, media_type: str) -> StagedFile:
        """See `Store.stage_bytes`."""
        upload = self._begin(key, None)
        try:
            upload.write(data)
            upload.stage()
        except BaseException:
            upload.abort()
            raise
        return upload

    def _begin(self, key: str, local: Path | None) -> Upload:
        check_key(key)

        def translate_errors() -> contextlib.AbstractContextManager[None]:
            return _translate_errors(f"Cannot store {key} in {self.root}")

        with translate_errors():
            self._marker.check()
            self._make_folder(self._area.folder)
            self._marker.make()
            self._area.remove_dead(key, timedelta(0))
        target = self.path(key)
        return FolderUpload(
            self._area, key, str(target), lambda file: self._place(file, target), translate_errors, local
        )

    def _place(self, temporary: Path, target: Path) -> None:
        for attempt in range(10):
            try:
                self._make_folder(target.parent)
                self._share(temporary, 0o640)
                temporary.replace(target)
                break
            except FileNotFoundError:
                # A concurrent delete may have removed the folder that we made, because it was still empty.
                if attempt == 9 or not temporary.exists():
                    raise
        with contextlib.suppress(FileNotFoundError):  # the file is already deleted
            _sync_folder(target.parent)

    def _make_folder(self, folder: Path) -> None:
        """Create a folder and its parents, durable across a power failure."""
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(0o700)
                if folder != self._area.folder:
                    self._share(folder, 0o750)
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            _sync_folder(folder.parent)

    def _share(self, path: Path, mode: int) -> None:
        """Make a file or folder that we created readable by the group, if a group is set."""
        if self._group is None:
            return
        try:
            os.chown(path, -1, self._group)
            path.chmod(mode)
        except PermissionError as error:
            raise StoreError(
                f"Cannot give files in {self.root} to the group of EXPORT_FILES_GROUP: make the user that "
                "runs exports a member of it."
            ) from error

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """See `Store.open`."""
        with self._finding(key):
            handle = open(self.path(key), "rb", opener=_open_unless_link)  # noqa: SIM115
        with handle:
            yield handle

    def stat(self, key: str) -> FileStat:
        """See `Store.stat`."""
        with self._finding(key):
            status = self.path(key).lstat()
            if not stat.S_ISREG(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return _stat(key, status)

    def list(self, prefix: str = "") -> Iterator[FileStat]:
        """See `Store.list`."""
        self._marker.check()
        folder = prefix.rpartition("/")[0]
        start = self.path(folder) if folder else self.root
        for entry in self._walk(start, folder + "/" if folder else ""):
            if entry.key.startswith(prefix):
                yield entry

    def _walk(self, folder: Path, key: str) -> Iterator[FileStat]:
        with _translate_errors(f"Cannot list {folder}"):
            try:
                entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
            except (FileNotFoundError, NotADirectoryError):
                return
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = key + _decode_case(entry.name)
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(folder / entry.name, name + "/")
            elif entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):  # deleted since the folder was read
                    yield _stat(name, entry.stat(follow_symlinks=False))

    def delete(self, *keys: str, still: Callable[[], bool] = lambda: True) -> None:
        """See `Store.delete`. Also removes folders that become empty."""
        self._marker.check()
        paths = [self.path(key) for key in keys]
        with _translate_errors(f"Cannot delete {name_keys(keys)} from {self.root}"):
            for key in keys:
                self._area.remove_others(key)
            there = [_identity(path) for path in paths]
            if not still():
                return
            for path, identity in zip(paths, there, strict=True):
                # A process that was stopped meanwhile must not remove a newer file.
                if identity is not None and identity == _identity(path):
                    self._remove(path)

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process has removed the empty folder
            _sync_folder(path.parent)
        with contextlib.suppress(OSError):  # not empty, or an upload is about to use it
            for folder in path.parents:
                if folder == self.root:
                    break
                folder.rmdir()

    def signed_url(
        self, key: str, *, expires_seconds: int, file_name: str | None = None, media_type: str | None = None
    ) -> str:
        """Return a file:// URL. See `Store.signed_url`."""
        check_lifetime(expires_seconds)
        self.stat(key)
        return self.path(key).as_uri()

    def clean(self, older_than: timedelta, *, own: OwnKeys = lambda keys: keys, dry_run: bool = False) -> int:
        """See `Store.clean`. Keeps files that a running process of this machine writes, however old."""
        self._marker.check()
        with _translate_errors(f"Cannot clean {self._area.folder}"):
            return self._area.remove_dead(None, older_than, dry_run)

    def check(self) -> None:
        """See `Store.check`. A folder gives all guarantees."""
        with _translate_errors(f"The folder {self.root} cannot be used"):
            self._marker.check()
            self._make_folder(self._area.folder)
            self._marker.make()
            temporary, handle = self._area.new("check")
            try:
                with handle:
                    handle.write(b"check")
                    os.fsync(handle.fileno())
                if temporary.read_bytes() != b"check":
                    raise StoreError(f"The folder {self.root} gives back other bytes than were written.")
            finally:
                temporary.unlink(missing_ok=True)

    def _case_is_ignored(self) -> bool:
        if self._ignores_case is None:
            if not self._area.folder.is_dir():
                return False  # nothing has been written yet, so the answer does not matter
            self._ignores_case = self._area.folder.with_name(_UPLOADS.upper()).exists()
        return self._ignores_case

    @contextlib.contextmanager
    def _finding(self, key: str) -> Iterator[None]:
        self._marker.check()
        try:
            with _translate_errors(f"Cannot read {key} in {self.root}"):
                yield
        except StoreError as error:
            cause = error.__cause__
            missing = isinstance(cause, FileNotFoundError | NotADirectoryError | IsADirectoryError)
            if missing or (isinstance(cause, OSError) and cause.errno == errno.ELOOP):  # a link is not a file
                raise NotFoundError(f"No file {key} in {self.root}.") from error.__cause__
            raise


@contextlib.contextmanager
def _translate_errors(what: str) -> Iterator[None]:
    """Translate OSError into StoreError: what failed, and why."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise StoreError(f"{what}: {reason}.") from error


def _open_unless_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _stat(key: str, status: os.stat_result) -> FileStat:
    return FileStat(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _identity(path: Path) -> tuple[int, ...] | None:
    """Return what tells a file from those that replace it; None if there is no file."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems do not support it, and do not need it
            raise
    finally:
        os.close(descriptor)


def _encode_case(key: str) -> str:
    """Percent-encode capital letters, except in escapes. Keys escape no letter but a leading "a"."""
    return re.sub("%[0-9A-F]{2}|([A-Z])", lambda m: f"%{ord(m[1]):02X}" if m[1] else m[0], key)


def _decode_case(name: str) -> str:
    return re.sub("%(4[1-9A-F]|5[0-9A])", lambda m: chr(int(m[1], 16)), name)
