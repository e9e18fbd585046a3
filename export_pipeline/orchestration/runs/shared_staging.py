"""Staged data in S3, for steps of one run on several machines: a copy of what a step staged on its own disk.

Each step stages on a local disk, as always, and copies that here; the next step copies it to its own disk
unless it is there already. Rows are compressed on the way (zstd), as bandwidth costs more than processors. A
file that a step did not change is not copied again: a list of links names the step that has it. The count of
exports, which marks a step as whole, is copied last. A run has a prefix of its own, removed after its end.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa

from export_pipeline.orchestration.runs.staging import COUNT, is_whole
from export_pipeline.orchestration.runs.staging_cleanup import KEPT_SECONDS
from export_pipeline.settings import Settings
from export_pipeline.store.base import NotFoundError
from export_pipeline.store.s3 import Encryption
from export_pipeline.store.s3_client import default_factory
from export_pipeline.store.s3_folder import S3Folder

_LINKS = "links.json"


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
        """Copy what a step has staged. Nobody sees it before all is there.

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
        (step / _LINKS).write_text(json.dumps(links))
        self.remote.upload(step / _LINKS, self._key(step / _LINKS))
        self.remote.upload(step / COUNT, self._key(step / COUNT))

    def _files_of_other_steps(self, step: Path) -> dict[tuple[int, int], str]:
        """Return the files that other steps of the run have copied, by their identity on this disk."""
        known = {}
        for other in step.parent.iterdir():
            if other != step and (other / _LINKS).is_file():
                linked = json.loads((other / _LINKS).read_text())
                for path in other.rglob("*.arrow"):
                    if str(path.relative_to(other)) not in linked:
                        status = path.stat()
                        known[status.st_dev, status.st_ino] = self._key(path)
        return known

    def download(self, step: Path) -> bool:
        """Copy what a step has staged to this disk; return False if nothing whole is there.

        Raises:
            StoreError: S3 cannot be used.
        """
        if is_whole(step):
            return True
        step.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.root) as count:
            try:
                self.remote.download(self._key(step / COUNT), Path(count.name))
            except NotFoundError:
                return False
            self._fetch(self._key(step / _LINKS))
            for name, linked in json.loads((step / _LINKS).read_text()).items():
                path = step / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileExistsError):
                    path.hardlink_to(self._fetch(linked))
            for key in [key for key, _ in self.remote.files(f"{self._key(step)}/")]:
                if not key.endswith((f"/{COUNT}", f"/{_LINKS}")):
                    self._fetch(key)
            (step / COUNT).write_bytes(Path(count.name).read_bytes())  # last: it marks the step as whole
        return True

    def _fetch(self, key: str) -> Path:
        """Return the local path of a file, copied if it is missing."""
        path = self.root / key
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.root) as packed:
                self.remote.download(key, Path(packed.name))
                part = path.with_name(f"{path.name}.{Path(packed.name).name}")  # others may fetch it too
                if path.suffix == ".arrow":
                    _copy_batches(Path(packed.name), part, None)
                else:
                    part.write_bytes(Path(packed.name).read_bytes())
                part.replace(path)
        return path

    def clean(self, instance: dg.DagsterInstance, until: float) -> int:
        """Remove what runs have staged that need it no more; return the number of files.

        That is the data of a successful run, and of every other run a day after it was written.

        Args:
            until: Deadline on the clock of `time.monotonic`. The next call continues.

        Raises:
            StoreError: S3 cannot be used.
        """
        files: dict[str, list[tuple[str, datetime]]] = defaultdict(list)
        for key, written in self.remote.files():
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
    """Return the copy of staged data in S3; None where EXPORT_STAGING_URL is a folder."""
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
    settings.staging_folder.mkdir(parents=True, exist_ok=True)
    return SharedStaging(folder, settings.staging_folder)


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
