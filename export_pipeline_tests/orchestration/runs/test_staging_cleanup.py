import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from export_pipeline.formats.csv import write as csv
from export_pipeline.jobs import Ledger
from export_pipeline.orchestration.runs.staging_cleanup import KEPT_SECONDS, clean_staging
from export_pipeline.orchestration.sensors.purge import housekeeping_sensor
from export_pipeline_tests.orchestration.deployment import Deployment


def make_old(path: Path) -> None:
    moment = time.time() - KEPT_SECONDS - 60
    for item in (path, *path.rglob("*")):
        os.utime(item, (moment, moment))


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, str], None]]:
    """Mount a file system of so many bytes at a folder; only root may."""
    mounted: list[Path] = []

    def mount(folder: Path, size: str) -> None:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False)
        if done.returncode:
            pytest.skip("this user may not mount a file system")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.slow
def test_staged_data_go_when_the_run_succeeded_and_stay_when_it_failed(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = deployment.run()
    with monkeypatch.context() as patch:
        patch.setattr(csv, "render", lambda *_: 1 / 0)
        failed = deployment.run()
    assert {path.name for path in deployment.staging.iterdir()} == {good.run_id, failed.run_id}
    (deployment.staging / f"{good.run_id}.lock").touch()
    with dg.build_sensor_context(
        instance=deployment.instance, resources={"staging": deployment.definitions.resources["staging"]}
    ) as context:
        tick = housekeeping_sensor.evaluate_tick(context)
    assert tick.skip_message
    assert tick.skip_message.startswith("3 leftovers with ")
    assert tick.skip_message.endswith(" bytes removed from staging.")
    assert {path.name for path in deployment.staging.iterdir()} == {failed.run_id}
    make_old(deployment.staging / failed.run_id)
    assert list(clean_staging(deployment.instance, deployment.staging)) == [failed.run_id]
    assert list(deployment.staging.iterdir()) == []


def test_staged_data_of_an_unknown_run_are_removed_after_a_day(deployment: Deployment) -> None:
    stray = deployment.staging / str(uuid.uuid4()) / "takeoff_on_demand.fetch_source-result"
    stray.mkdir(parents=True)
    (stray / "file").write_text("x" * 10)
    lock = deployment.staging / f"{uuid.uuid4()}.lock"
    lock.touch()
    assert clean_staging(deployment.instance, deployment.staging) == {}
    make_old(stray.parent)
    make_old(lock)
    (stray / "file").touch()  # somebody still writes there
    assert clean_staging(deployment.instance, deployment.staging) == {lock.name: 0}
    make_old(stray.parent)
    assert clean_staging(deployment.instance, deployment.staging) == {stray.parent.name: 10}
    deployment.staging.rmdir()
    assert clean_staging(deployment.instance, deployment.staging) == {}


def test_files_that_two_runs_link_are_freed_with_the_last_name(deployment: Deployment) -> None:
    stray = [deployment.staging / str(uuid.uuid4()) / "x.fetch_source-result" for _ in range(2)]
    for folder in stray:
        folder.mkdir(parents=True)
    (stray[0] / "rows-0.arrow").write_bytes(b"x" * 10)
    (stray[1] / "rows-0.arrow").hardlink_to(stray[0] / "rows-0.arrow")
    for folder in stray:
        make_old(folder.parent)
    would = clean_staging(deployment.instance, deployment.staging, dry_run=True)
    assert sorted(would.values()) == [0, 10]
    assert clean_staging(deployment.instance, deployment.staging) == would


@pytest.mark.parametrize("content", [b"", b'{"a": "20', b"[1]", b"7", b"\xff"])
def test_a_torn_list_of_jobs_is_removed_and_stops_nothing(
    deployment: Deployment, ledger: Ledger, content: bytes
) -> None:
    torn, other = (deployment.staging / str(uuid.uuid4()) for _ in range(2))
    torn.mkdir(parents=True)
    (torn / "jobs-result").write_bytes(content)
    (other / "x.fetch_source-result").mkdir(parents=True)
    make_old(other)
    assert clean_staging(deployment.instance, deployment.staging, lambda: ledger).keys() == {
        torn.name,
        other.name,
    }


def test_foreign_files_in_the_staging_folder_stay(deployment: Deployment) -> None:
    theirs = [deployment.staging / name for name in ("notes.txt", "folder/file", f"{uuid.uuid4()}/photo.jpg")]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        make_old(path.parent)
    assert clean_staging(deployment.instance, deployment.staging) == {}
    assert all(path.exists() for path in theirs)


@pytest.mark.slow
def test_torn_data_go_at_once_and_whole_ones_stay_for_a_day(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(csv, "render", lambda *_: 1 / 0)
        failed = deployment.run()
    whole, torn = (
        deployment.staging / failed.run_id / f"takeoff_on_demand.{step}-result"
        for step in ("fetch_source", "sanitize")
    )
    (torn / "exports").unlink()  # as if killed while it wrote
    (torn / "0" / "linked").hardlink_to(whole / "0" / "pages-0.arrow")  # its removal frees nothing
    alone = [path.stat().st_size for path in torn.rglob("*") if path.is_file() and path.stat().st_nlink == 1]
    would = clean_staging(deployment.instance, deployment.staging, dry_run=True)
    assert torn.exists()
    assert clean_staging(deployment.instance, deployment.staging) == would
    assert would.keys() == {f"{failed.run_id}/{torn.name}", f"{failed.run_id}/render_csv"}
    assert sum(would.values()) == sum(alone) > 0
    assert whole.exists()
    assert not torn.exists()


@pytest.mark.slow
def test_a_full_disk_is_empty_again_when_the_run_has_failed(
    deployment: Deployment, small_disk: Callable[[Path, str], None]
) -> None:
    deployment.staging.mkdir(exist_ok=True)
    small_disk(deployment.staging, "1m")
    before = shutil.disk_usage(deployment.staging).free
    with (deployment.staging / "others").open("wb") as file:
        file.write(b"x" * (before - 40_000))
    failed = deployment.run()
    assert not failed.success
    (step,) = [event for event in failed.all_events if event.is_step_failure]
    assert "No space left on device" in str(step.step_failure_data.user_failure_data.description)
    assert shutil.disk_usage(deployment.staging).free >= 32_000  # but for a page or two
    (deployment.staging / "others").unlink()
    assert deployment.run().success
