"""Staged data in S3, a copy of that on local disks, for the steps of a run on several machines.

Each step stages on a local disk, as always, and copies that here; the next step copies it to its own disk
unless it is there already. Rows are compressed on the way (zstd), as bandwidth costs more than processors. A
file that a step did not change is not copied again: a list of links names the step that has it. The list has
a random id too, so that a disk on which an earlier attempt was killed does not take its leftovers for the
copy. The count of exports, which marks a step as whole, is copied last. A run has a prefix of its own, which
is removed after its end.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa

from export_pipeline.orchestration.runs.staging import COUNT, LINKS, is_whole, write_whole
from export_pipeline.orchestration.runs.staging_cleanup import KEPT_SECONDS, is_staged_key
from export_pipeline.settings import Settings, SettingsError
from export_pipeline.store.base import NotFoundError
from export_pipeline.store.s3 import Encryption
from export_pipeline.store.s3_client import default_factory
from export_pipeline.store.s3_folder import S3Folder


@dataclass(frozen=True)
class SharedStaging:
    """Copies the folders of steps between a local staging folder and S3.

    Attributes:
        remote: The place in S3.
        root: The local staging folder.
    """

    remote: S3Folder
    root: Path

    def upload(self, step: Path) -> None:
        """Copy the staged data of a step to S3. It becomes visible when it is complete.

        Args:
            step: The step's local folder, in the folder of its run.

        Raises:
            StoreError: S3 cannot be used.
        """
        files = sorted(path for path in step.rglob("*") if path.is_file() and path.name != COUNT)
        links: dict[str, str] = {}
        earlier = self._files_of_other_steps(step)
        for path in files:
            status = path.stat()
            if (same := earlier.get((status.st_dev, status.st_ino))) is not None:
                links[str(path.relative_to(step))] = same
            elif path.suffix == ".arrow":
                with tempfile.NamedTemporaryFile(dir=self.root) as packed:
                    _copy_batches(path, Path(packed.name), "zstd")
                    self.remote.upload(Path(packed.name), self._key(path))
            else:
                self.remote.upload(path, self._key(path))
        write_whole(step / LINKS, json.dumps({"id": uuid.uuid4().hex, "links": links}))
        self.remote.upload(step / LINKS, self._key(step / LINKS))
        self.remote.upload(step / COUNT, self._key(step / COUNT))

    def _files_of_other_steps(self, step: Path) -> dict[tuple[int, int], str]:
        """Return the files that other steps of the run have copied, by their identity on this disk."""
        known = {}
        for other in step.parent.iterdir():
            if other != step and (other / LINKS).is_file():
                linked = _links(other)
                for path in other.rglob("*.arrow"):
                    status = path.stat()
                    key = linked.get(str(path.relative_to(other)), self._key(path))
                    known[status.st_dev, status.st_ino] = key
        return known

    def download(self, step: Path) -> bool:
        """Copy the staged data of a step from S3; return False if there is none that is complete.

        Raises:
            StoreError: S3 cannot be used.
        """
        step.parent.mkdir(parents=True, exist_ok=True)
        with (
            _locked(step.parent),
            tempfile.NamedTemporaryFile(dir=self.root) as links,
            tempfile.NamedTemporaryFile(dir=self.root) as count,
        ):
            try:
                self.remote.download(self._key(step / LINKS), Path(links.name))
            except NotFoundError:  # never copied, or removed after the run's end
                return is_whole(step)
            mine = step / LINKS
            if is_whole(step) and mine.is_file() and mine.read_bytes() == Path(links.name).read_bytes():
                return True
            try:
                self.remote.download(self._key(step / COUNT), Path(count.name))
            except NotFoundError:
                return False
            shutil.rmtree(step, ignore_errors=True)  # leftovers of an attempt that was killed here
            step.mkdir()
            shutil.copyfile(links.name, mine)
            folder = f"{self._key(step)}/"
            names = {key.removeprefix(folder): key for key, _ in self.remote.files(folder)}
            for name, key in (names | _links(step)).items():
                if name not in (COUNT, LINKS):
                    self._fetch(key, step / name)
            write_whole(step / COUNT, Path(count.name).read_text())  # last: it marks the step as whole
        return True

    def _fetch(self, key: str, path: Path) -> None:
        """Copy a file of this run from S3 to this disk."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != ".arrow":
            self.remote.download(key, path)
            return
        with tempfile.NamedTemporaryFile(dir=self.root) as packed:
            self.remote.download(key, Path(packed.name))
            _copy_batches(Path(packed.name), path, None)

    def clean(self, instance: dg.DagsterInstance, until: float) -> int:
        """Remove staged data that no run needs; return the number of files.

        That is the data of a successful run, and of every other run a day after it was written.

        Args:
            until: Deadline on the clock of `time.monotonic`. The next call continues.

        Raises:
            StoreError: S3 cannot be used.
        """
        files: dict[str, list[tuple[str, datetime]]] = defaultdict(list)
        for key, written in self.remote.files():
            if is_staged_key(key):  # others may have files in the bucket, too
                files[key.partition("/")[0]].append((key, written))
        records = instance.get_run_records(dg.RunsFilter(run_ids=list(files))) if files else []
        runs = {record.dagster_run.run_id: record.dagster_run for record in records}
        old = datetime.now(UTC) - timedelta(seconds=KEPT_SECONDS)
        removed = 0
        for run_id, of_run in files.items():
            run = runs.get(run_id)
            if time.monotonic() >= until:
                break
            is_old = max(written for _, written in of_run) < old
            if (run and run.is_success) or (is_old and not (run and not run.is_finished)):
                self.remote.delete([key for key, _ in of_run])
                removed += len(of_run)
        return removed

    def _key(self, path: Path) -> str:
        return str(path.relative_to(self.root))


def shared_staging(settings: Settings) -> SharedStaging | None:
    """Return the copy of staged data in S3; None where EXPORT_STAGING_URL is a folder.

    Raises:
        SettingsError: the folder of this machine is another user's.
    """
    if not settings.staging_url.startswith("s3://"):
        return None
    bucket, _, prefix = settings.staging_url.removeprefix("s3://").partition("/")
    folder = S3Folder(
        bucket,
        f"{prefix.strip('/')}/".lstrip("/"),
        settings.s3_endpoint_url,
        default_factory(settings.s3_region, checksums=settings.s3_checksums == "required"),
        Encryption(settings.s3_sse, settings.s3_sse_kms_key_id) if settings.s3_sse else None,
    )
    local = settings.staging_folder
    local.mkdir(mode=0o700, parents=True, exist_ok=True)
    if local.is_symlink() or local.stat().st_uid != os.getuid():  # anybody may make a folder there
        raise SettingsError(
            f"{local} belongs to another user: remove it, or set TMPDIR to a folder of your own."
        )
    return SharedStaging(folder, local)


def _links(step: Path) -> dict[str, str]:
    """Return the keys of the files that a step has from other steps, by their paths in its folder."""
    links: dict[str, str] = json.loads((step / LINKS).read_text())["links"]
    return links


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time copy what steps of a run have staged."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _copy_batches(source: Path, target: Path, compression: str | None) -> None:
    """Copy the record batches of an Arrow IPC file, one after another, into a compressed or a plain one."""
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (
        pa.OSFile(str(source)) as file,
        pa.ipc.open_file(file) as reader,
        pa.OSFile(str(target), "wb") as out,
        pa.ipc.new_file(out, reader.schema, options=options) as writer,
    ):
        for index in range(reader.num_record_batches):
            writer.write_batch(reader.get_batch(index))
