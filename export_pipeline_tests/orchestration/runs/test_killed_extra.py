"""A run that is killed while it exports a request that it took on: what is done stays, the rest is done elsewhere."""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from export_pipeline.demo import bookkeeping
from export_pipeline.jobs import Ledger, Status, migrate
from export_pipeline.orchestration.instance import prepare_home
from export_pipeline.orchestration.sensors import queue
from export_pipeline.store.keys import manifest_key
from export_pipeline.store.publish import verify_file
from export_pipeline_tests.orchestration.deployment import Deployment, Source
from export_pipeline_tests.orchestration.requesting import launch, tick
from export_pipeline_tests.orchestration.runs.leases import reconcile_after_silence
from export_pipeline_tests.paths import ROOT


@pytest.mark.slow
@pytest.mark.parametrize(("place", "attempt"), [("begun", 1), ("visible", 2)])
def test_the_others_are_done_and_it_is_done_elsewhere(
    source: Source,
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    attempt: int,
) -> None:
    from export_pipeline.definitions import defs

    monkeypatch.setattr(queue, "HELD_SECONDS", 0.0)
    monkeypatch.setenv("EXPORT_EXTRA_SECONDS", "600")
    engine = sa.create_engine(source.url)
    bookkeeping.fill(engine)
    engine.dispose()
    migrate(source.url)
    prepare_home()
    marker = tmp_path / "reached"
    module = "export_pipeline_tests.orchestration.runs.killed_extra"
    command = [sys.executable, "-m", module, place, str(marker), str(source.path)]
    child = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True)
    deadline = time.monotonic() + 240
    while not marker.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert marker.exists()
    with dg.DagsterInstance.get() as instance, Ledger(source.url) as ledger:
        deployment = Deployment(source, tmp_path, defs(), instance)
        reconcile_after_silence(ledger, instance, source.url)
        jobs = {job.format: job for job in ledger.find()}
        done = {format for format, job in jobs.items() if job.status is Status.COMPLETED}
        assert done == {"csv", "json"}
        assert (jobs["excel"].status, jobs["excel"].attempt) == (Status.PENDING, attempt)
        while requests := tick(deployment):
            for request in requests:
                assert launch(deployment, request).success
        jobs = {job.format: job for job in ledger.find()}
        assert {job.status for job in jobs.values()} == {Status.COMPLETED}
        keys = {str(job.file_key) for job in jobs.values()}
        assert deployment.stored() == keys | {manifest_key(key) for key in keys}
        for key in keys:
            verify_file(deployment.store, key)
        events = Counter(event.kind for job in jobs.values() for event in ledger.events(job.id))
        assert events["completed"] == 4
