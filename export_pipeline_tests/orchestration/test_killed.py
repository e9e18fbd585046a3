"""An export that is killed leaves nothing that others could take for a file, and can be executed again."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import dagster as dg
import pytest

from export_pipeline.orchestration.housekeeping import end_dead_runs
from export_pipeline.orchestration.instance import prepare_home
from export_pipeline_tests.orchestration.deployment import Source, steps
from export_pipeline_tests.orchestration.jobs import exports
from export_pipeline_tests.services.fixtures import Bucket

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("place", "repeated"),
    [
        ("fetch", ["fetch_project", "build_export_data", "sanitize", "render_csv"]),
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
    prepare_home()
    scope, run_id, marker = source.scopes[0], str(uuid.uuid4()), tmp_path / "reached"
    child = subprocess.Popen(
        [sys.executable, "-m", "export_pipeline_tests.orchestration.killed", scope, place, marker, run_id],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not marker.exists() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert marker.exists()
        with dg.DagsterInstance.get() as instance:
            assert end_dead_runs(instance, tmp_path / "staging") == []  # it lives
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    client = bucket.server.client()

    def names() -> set[str]:
        return {found["Key"] for found in client.list_objects_v2(Bucket=bucket.name).get("Contents", ())}

    def unfinished() -> int:
        return len(client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", ()))

    assert names() == set()
    assert unfinished() == (1 if place == "upload" else 0)

    with dg.DagsterInstance.get() as instance:
        assert end_dead_runs(instance, tmp_path / "staging") == [run_id]
        run = instance.get_run_by_id(run_id)
        assert run
        assert run.status is dg.DagsterRunStatus.FAILURE
        assert end_dead_runs(instance, tmp_path / "staging") == []
        with dg.execute_job(
            dg.reconstructable(exports),
            instance,
            tags={"dagster/partition": scope},
            asset_selection=[dg.AssetKey(["takeoff", "on_demand", "csv"])],
            reexecution_options=dg.ReexecutionOptions.from_failure(run_id, instance),
        ) as result:
            assert result.success
            assert steps(result) == repeated
    key = f"team/exports/{scope}/{run_id}.csv"
    assert names() == {key, f"{key}.manifest.json"}
    assert unfinished() == 0
    body = client.get_object(Bucket=bucket.name, Key=key)["Body"].read()
    manifest = json.loads(client.get_object(Bucket=bucket.name, Key=f"{key}.manifest.json")["Body"].read())
    assert manifest["bytes"] == len(body)
    assert manifest["rows"] == source.exported(scope)
