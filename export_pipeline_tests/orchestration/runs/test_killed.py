"""An export that is killed leaves nothing that others could take for a file, and can be executed again."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from export_pipeline.jobs import Ledger, migrate
from export_pipeline.orchestration.instance import prepare_home
from export_pipeline.orchestration.runs.reconciler import reconcile
from export_pipeline.store import open_store
from export_pipeline.store.publish import verify_file
from export_pipeline_tests.orchestration.deployment import Source, steps
from export_pipeline_tests.orchestration.jobs import exports
from export_pipeline_tests.orchestration.runs.leases import reconcile_after_silence
from export_pipeline_tests.services.fixtures import Bucket

ROOT = Path(__file__).parents[2]


def killed(source: Source, scope: str, place: str, tmp_path: Path) -> str:
    """Run an export in a process that is killed when it has come to a place; the run's id."""
    prepare_home()
    migrate(source.url)
    run_id, marker = str(uuid.uuid4()), tmp_path / "reached"
    child = subprocess.Popen(
        [sys.executable, "-m", "export_pipeline_tests.orchestration.runs.killed", scope, place, marker, run_id],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 240
        while not marker.exists() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert marker.exists()
        with dg.DagsterInstance.get() as instance, Ledger(source.url) as ledger:
            reconcile(ledger, instance)
            assert status(instance, run_id) is dg.DagsterRunStatus.STARTED  # it lives
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    return run_id


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run
    return run.status


def end_dead(source: Source, instance: dg.DagsterInstance, run_id: str) -> None:
    """See to it that a dead run is found."""
    with Ledger(source.url) as ledger:
        reconcile_after_silence(ledger, instance, source.url)
    assert status(instance, run_id) is dg.DagsterRunStatus.FAILURE


def again(
    instance: dg.DagsterInstance, scope: str, run_id: str
) -> AbstractContextManager[dg.JobExecutionResult]:
    """Execute a run again from its failure."""
    return dg.execute_job(
        dg.reconstructable(exports),
        instance,
        tags={"dagster/partition": scope},
        asset_selection=[dg.AssetKey(["takeoff", "on_demand", "csv"])],
        reexecution_options=dg.ReexecutionOptions.from_failure(run_id, instance),
    )


@pytest.mark.slow
def test_an_export_into_a_folder_that_is_killed_while_it_is_rendered(
    source: Source, environment: dict[str, str], tmp_path: Path
) -> None:
    scope = source.scopes[0]
    run_id = killed(source, scope, "render", tmp_path)
    store = open_store(str(tmp_path / "store"))
    assert list(store.list()) == []
    (left,) = (tmp_path / "store" / ".uploads").iterdir()
    assert store.clean(timedelta(hours=1), dry_run=True) == 0
    assert store.clean(timedelta(0), dry_run=True) == 1
    with dg.DagsterInstance.get() as instance:
        end_dead(source, instance, run_id)
        with again(instance, scope, run_id) as result:
            assert result.success
            assert steps(result) == ["render_csv"]
    assert not left.exists()
    assert verify_file(store, f"exports/{scope}/{run_id}.csv") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "repeated"),
    [
        ("fetch", ["fetch_source", "build_export_data", "sanitize", "render_csv"]),
        ("render", ["render_csv"]),
        ("upload", ["render_csv"]),
    ],
)
def test_a_killed_export(
    source: Source,
    environment: dict[str, str],
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    repeated: list[str],
) -> None:
    settings = bucket.server.environment() | {
        "EXPORT_STORE_URL": bucket.url,
        "EXPORT_S3_ENDPOINT_URL": bucket.server.endpoint_url,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    scope = source.scopes[0]
    run_id = killed(source, scope, place, tmp_path)
    client = bucket.server.client()

    def names() -> set[str]:
        return {object["Key"] for object in client.list_objects_v2(Bucket=bucket.name).get("Contents", ())}

    def unfinished() -> int:
        return len(client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", ()))

    assert names() == set()
    assert unfinished() == (1 if place == "upload" else 0)

    with dg.DagsterInstance.get() as instance:
        end_dead(source, instance, run_id)
        with again(instance, scope, run_id) as result:
            assert result.success
            assert steps(result) == repeated
    key = f"team/exports/{scope}/{run_id}.csv"
    assert names() == {key, f"{key}.manifest.json"}
    assert unfinished() == 0
    body = client.get_object(Bucket=bucket.name, Key=key)["Body"].read()
    manifest = json.loads(client.get_object(Bucket=bucket.name, Key=f"{key}.manifest.json")["Body"].read())
    assert manifest["bytes"] == len(body)
    assert manifest["rows"] == source.exported(scope)
