"""Steps of one run on machines that share no disk: what they stage goes through S3."""

from __future__ import annotations

import shutil
import stat
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.tables import Table
from export_pipeline.definitions import defs
from export_pipeline.orchestration.runs import shared_staging as module
from export_pipeline.orchestration.runs.shared_staging import SharedStaging, shared_staging
from export_pipeline.orchestration.runs.staging import COUNT, LINKS, load_all, save_all
from export_pipeline.settings import Settings, SettingsError, load_settings
from export_pipeline.store import StoreError
from export_pipeline_tests.orchestration.deployment import Deployment, Source, failures
from export_pipeline_tests.orchestration.runs.test_staging import export
from export_pipeline_tests.services.fixtures import Bucket

RUN = "7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11"


@pytest.fixture
def machine(
    environment: dict[str, str], bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], SharedStaging]:
    """Returns the staging of a machine by its name: a disk of its own, and the common place in S3."""
    for name, value in bucket.server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EXPORT_STAGING_URL", f"{bucket.url}/staging")
    monkeypatch.setenv("EXPORT_S3_ENDPOINT_URL", bucket.server.endpoint_url)

    def make(name: str) -> SharedStaging:
        shared = shared_staging(load_settings())
        assert shared is not None
        (tmp_path / name).mkdir()
        return SharedStaging(shared.remote, tmp_path / name)

    return make


def numbers(count: int) -> Any:
    data = pa.table({"n": pa.array(range(count), pa.int64())})
    return export("numbers", rows=Table.of("rows", (Column("n", "N", Kind.INTEGER),), data))


def keys(staging: SharedStaging) -> set[str]:
    return {key for key, _ in staging.remote.files()}


def test_the_next_step_finds_on_another_machine_what_the_first_one_staged(
    machine: Callable[[str], SharedStaging],
) -> None:
    here, there = machine("m1"), machine("m2")
    step = here.root / RUN / "fetch_source-result"
    save_all([numbers(50_000), numbers(3)], step)
    here.upload(step)
    copied = there.root / RUN / "fetch_source-result"
    assert there.download(copied)
    exports = load_all(copied, {"numbers": export("numbers")})
    assert [table.column("n").to_pylist() for table in (one.tables["rows"].arrow() for one in exports)] == [
        list(range(50_000)),
        [0, 1, 2],
    ]
    # A step that changes nothing links the file of the step before, on the disk and in S3.
    second = there.root / RUN / "sanitize-result"
    save_all(exports, second)
    before = keys(there)
    there.upload(second)
    assert not any(key.endswith(".arrow") for key in keys(there) - before)
    third = machine("m3")
    assert third.download(third.root / RUN / "sanitize-result")
    (last, _) = load_all(third.root / RUN / "sanitize-result", {"numbers": export("numbers")})
    assert last.tables["rows"].arrow().num_rows == 50_000


def test_a_copy_that_broke_off_counts_as_none(
    machine: Callable[[str], SharedStaging], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = machine("m1"), machine("m2")
    step = here.root / RUN / "fetch_source-result"
    save_all([numbers(10)], step)
    upload = type(here.remote).upload

    def broken(self: Any, path: Path, key: str) -> None:
        if key.endswith(f"/{COUNT}"):
            raise StoreError("The server is gone.")
        upload(self, path, key)

    monkeypatch.setattr(type(here.remote), "upload", broken)
    with pytest.raises(StoreError):
        here.upload(step)
    assert keys(here)
    assert not there.download(there.root / RUN / "fetch_source-result")


def test_a_run_on_machines_without_a_common_disk_makes_its_file(
    machine: Callable[[str], SharedStaging],
    source: Source,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each step finds an empty disk."""
    upload = SharedStaging.upload

    def upload_and_forget(self: SharedStaging, step: Path) -> None:
        upload(self, step)
        shutil.rmtree(self.root / step.relative_to(self.root).parts[0])

    monkeypatch.setattr(module.SharedStaging, "upload", upload_and_forget)
    with dg.DagsterInstance.ephemeral() as instance:
        deployment = Deployment(source, tmp_path, defs(), instance)
        result = deployment.run(["csv", "excel"])
        assert result.success, failures(result)
        assert len(deployment.stored()) == 4
        staging = shared_staging(load_settings())
        assert staging is not None
        assert keys(staging)
        assert staging.clean(instance, time.monotonic() + 60) > 0
        assert keys(staging) == set()


def rows_of(step: Path) -> list[int]:
    return [one.tables["rows"].arrow().num_rows for one in load_all(step, {"numbers": export("numbers")})]


@pytest.mark.parametrize("leftover", ["torn", "without a count", "without facts", "whole"])
def test_leftovers_of_a_killed_attempt_are_not_taken_for_the_copy(
    machine: Callable[[str], SharedStaging], leftover: str
) -> None:
    """The first attempt is killed on m1, the second one stages other rows on m2."""
    first, second = machine("m1"), machine("m2")
    mine, theirs = (one.root / RUN / "fetch_source-result" for one in (first, second))
    save_all([numbers(70_000), numbers(10)], mine)
    if leftover != "whole":
        (mine / COUNT).unlink()
    if leftover == "torn":
        rows = mine / "0" / "rows-0.arrow"
        rows.write_bytes(rows.read_bytes()[:1000])
    if leftover == "without facts":
        (mine / "0" / "export.json").unlink()
    save_all([numbers(50_000), numbers(12)], theirs)
    second.upload(theirs)
    assert first.download(mine)
    assert rows_of(mine) == [50_000, 12]


def test_what_this_machine_has_copied_is_not_copied_again(
    machine: Callable[[str], SharedStaging], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = machine("m1"), machine("m2")
    step, copied = (one.root / RUN / "fetch_source-result" for one in (here, there))
    save_all([numbers(10)], step)
    here.upload(step)
    assert there.download(copied)
    download, fetched = type(here.remote).download, []

    def noted(self: Any, key: str, path: Path) -> None:
        fetched.append(key)
        download(self, key, path)

    monkeypatch.setattr(type(here.remote), "download", noted)
    assert here.download(step)
    assert there.download(copied)
    assert fetched == [f"{RUN}/fetch_source-result/{LINKS}"] * 2
    save_all([numbers(7)], step)  # a next attempt that has not been copied yet
    assert here.download(step)
    assert rows_of(step) == [10]


def test_only_staged_files_are_removed_from_s3(
    machine: Callable[[str], SharedStaging], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = machine("m1")
    foreign = [
        "exports/s/held.csv",
        "invoices/1.pdf",
        "notes.txt",
        f"{RUN}/notes.txt",
        f"{RUN}/letters/1.pdf",
    ]
    old = datetime.now(UTC) - timedelta(days=3)
    monkeypatch.setattr(
        type(here.remote),
        "files",
        lambda self: iter((key, old) for key in [*foreign, f"{RUN}/fetch-result/0"]),
    )
    removed: list[str] = []
    monkeypatch.setattr(type(here.remote), "delete", lambda self, keys: removed.extend(keys))
    with dg.DagsterInstance.ephemeral() as instance:
        assert here.clean(instance, time.monotonic() + 60) == 1
    assert removed == [f"{RUN}/fetch-result/0"]


@pytest.mark.parametrize(
    "staging", ["s3://bucket", "s3://bucket/", "s3://bucket/exports", "s3://bucket/exports/"]
)
def test_staging_has_a_place_of_its_own(monkeypatch: pytest.MonkeyPatch, staging: str) -> None:
    monkeypatch.setenv("EXPORT_STORE_URL", "s3://bucket/exports/app")
    monkeypatch.setenv("EXPORT_STAGING_URL", staging)
    with pytest.raises(SettingsError, match=r"EXPORT_STAGING_URL: (needs a prefix|must not contain)"):
        load_settings()


def test_the_local_folder_is_of_this_user_alone(
    machine: Callable[[str], SharedStaging], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shared = shared_staging(load_settings())
    assert shared is not None
    assert stat.S_IMODE(shared.root.stat().st_mode) == 0o700
    shared.root.rename(tmp_path / "elsewhere")
    shared.root.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="belongs to another user"):
        shared_staging(load_settings())


def test_staged_data_of_a_run_that_did_not_succeed_are_kept_for_a_day(
    machine: Callable[[str], SharedStaging], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = machine("m1")
    step = here.root / RUN / "fetch_source-result"
    save_all([numbers(10)], step)
    here.upload(step)
    with dg.DagsterInstance.ephemeral() as instance:
        assert here.clean(instance, time.monotonic() + 60) == 0
        files = [(key, datetime.now(UTC) - timedelta(days=2)) for key in keys(here)]
        monkeypatch.setattr(type(here.remote), "files", lambda self: iter(files))
        assert here.clean(instance, time.monotonic() + 60) == len(files)


def test_pods_need_a_staging_that_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_EXECUTOR", "k8s_job")
    with pytest.raises(SettingsError, match=r"EXPORT_EXECUTOR: needs EXPORT_STAGING_URL=s3"):
        load_settings()
    monkeypatch.setenv("EXPORT_STAGING_URL", "s3://bucket/staging")
    assert load_settings().executor == "k8s_job"
    assert not str(Settings(staging_url="s3://bucket/x").staging_folder).startswith("s3:")
