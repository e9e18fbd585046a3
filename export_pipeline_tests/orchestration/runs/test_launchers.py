"""Tests that each of our launchers passes: runs end right, can be interrupted, and are found when they have died."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import yaml

from export_pipeline.jobs import Ledger
from export_pipeline.orchestration.runs.reconciler import reconcile
from export_pipeline_tests.orchestration.runs.celery_workers import celery
from export_pipeline_tests.orchestration.runs.launching import (
    Launching,
    gone,
    launching,
    lease_is_taken,
    source_away,
    wait,
)
from export_pipeline_tests.orchestration.runs.leases import reconcile_after_silence
from export_pipeline_tests.paths import ROOT
from export_pipeline_tests.services.kubernetes import Pods, answering
from export_pipeline_tests.services.postgres import PostgresServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["warm", "celery", "kubernetes"])
def system(
    request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Launching]:
    folder = tmp_path_factory.mktemp(request.param)
    with postgres.database() as url:
        if request.param == "warm":
            with launching(folder, url) as launched:
                yield launched
        elif request.param == "kubernetes":
            with pods(folder, url) as launched:
                yield launched
        else:
            with celery(folder, url) as worker:
                yield worker.system


@contextmanager
def pods(folder: Path, url: str) -> Iterator[Launching]:
    """The launcher of deploy/kubernetes, whose pods are processes."""
    instance = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "dagster.yaml").read_text())
    cluster = Pods()
    with pytest.MonkeyPatch.context() as patch, answering(cluster):
        patch.setenv("DAGSTER_CURRENT_IMAGE", "export-pipeline")
        with launching(folder, url, json.dumps(instance["run_launcher"])) as launched:
            yield launched
        cluster.end()


def test_each_run_makes_one_file(system: Launching) -> None:
    runs = [system.launch() for _ in range(2)]
    assert [system.ended(run) for run in runs] == [dg.DagsterRunStatus.SUCCESS] * 2, system.messages(runs[0])
    assert [system.files(run) for run in runs] == [1] * 2
    assert len({system.worker(run) for run in runs}) == 2  # none has what another one left in memory
    with Ledger(system.url) as ledger:
        assert all(lease_is_taken(ledger, run) for run in runs)


def test_a_killed_run_is_found(system: Launching) -> None:
    with Ledger(system.url) as ledger:
        with system.held():
            run = system.launch()
            wait(lambda: lease_is_taken(ledger, run))
            reconcile(ledger, system.instance)
            assert system.run(run).status is dg.DagsterRunStatus.STARTED
            os.kill(system.worker(run), signal.SIGKILL)
            wait(lambda: gone(system.worker(run)))
            reconcile_after_silence(ledger, system.instance, system.url)
        assert system.run(run).status is dg.DagsterRunStatus.FAILURE
        assert any("has died or was killed" in message for message in system.messages(run))
    again = system.launch()
    assert system.ended(again) is dg.DagsterRunStatus.SUCCESS


def test_a_run_is_terminated_by_another_process(system: Launching, postgres: PostgresServer) -> None:
    with source_away(postgres, system.url):
        run = system.launch()
        wait(lambda: any("Waiting for it" in message for message in system.messages(run)))
        begun = time.monotonic()
        with dg.DagsterInstance.from_config(str(system.folder / "home")) as webserver:
            assert webserver.run_launcher.terminate(run)
        assert system.ended(run) is dg.DagsterRunStatus.CANCELED
        wait(lambda: gone(system.worker(run)))
        assert time.monotonic() - begun < 30
        assert not system.launcher.terminate(run)
    assert system.files(run) == 0
