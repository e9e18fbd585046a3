"""The queue of dagster.yaml: runs of one scope, whoever has started them, leave a place for other scopes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from export_pipeline.orchestration.partitions import SCOPE_NAME_TAG, SCOPE_TAG, scope_tags
from export_pipeline.orchestration.run_queue import RunQueue
from export_pipeline_tests.paths import ROOT

CORNER, BAKERY = "Corner shop (8d2efaa9-1111-4111-8111-111111111111)", "b"
REPOSITORY = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("exports"), "__repository__")
WINDOW = {"dagster/partition": "2026-02-02"}


def run_of(instance: dg.DagsterInstance, cadence: str, tags: dict[str, str], config: Any = None) -> str:
    """Queue a run as the webserver and the backfill daemon do; return its id."""
    run = create_run_for_test(
        instance,
        job_name="__ASSET_JOB",
        remote_job_origin=RemoteJobOrigin(REPOSITORY, "__ASSET_JOB"),
        asset_selection={dg.AssetKey(["records", cadence, "csv"])},
        tags=tags,
        run_config={"ops": {f"records_{cadence}": {"config": config}}} if config else {},
    )
    assert isinstance(instance.run_coordinator, RunQueue)
    return str(instance.run_coordinator.submit_run(dg.SubmitRunContext(run, None)).run_id)  # type: ignore[arg-type]


@pytest.fixture(
    params=["dagster.yaml", *(f"deploy/{name}.yaml" for name in ("dagster-postgres", "dagster-celery")),
            "deploy/kubernetes/dagster.yaml"]
)  # fmt: skip
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """An instance with the queue and the limits of a delivered file."""
    delivered = yaml.safe_load((ROOT / request.param).read_text())
    chosen = {name: delivered[name] for name in ("concurrency", "run_coordinator")}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(chosen | {"telemetry": {"enabled": False}}))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def dequeued(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Return the runs that Dagster's daemon would start now."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    return daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)


@pytest.mark.parametrize(
    ("cadence", "tags", "config"),
    [
        ("on_demand", {"dagster/partition": CORNER}, None),
        ("daily", {"dagster/partition/scope": CORNER, "dagster/partition/window": "2026-02-02"}, None),
        ("daily", WINDOW, {"scope": CORNER}),
        ("daily", WINDOW | scope_tags(CORNER), None),
    ],
)
def test_runs_of_one_scope_wait_and_another_scope_goes_on(
    instance: dg.DagsterInstance, cadence: str, tags: dict[str, str], config: Any
) -> None:
    same = [run_of(instance, cadence, tags, config) for _ in range(5)]
    other = run_of(instance, "on_demand", {"dagster/partition": BAKERY})
    chosen = dequeued(instance)
    assert Counter(run.tags[SCOPE_TAG] for run in chosen) == {
        "8d2efaa9-1111-4111-8111-111111111111": 3,
        "b": 1,
    }
    assert {run.run_id for run in chosen} == {*same[:3], other}
    assert {run.tags.get(SCOPE_NAME_TAG) for run in chosen} == {"Corner shop", None}
    for run in chosen:
        instance.report_run_canceled(run)
    assert [run.run_id for run in dequeued(instance)] == same[3:]


def test_runs_without_a_scope_are_not_limited_by_it(instance: dg.DagsterInstance) -> None:
    runs = [
        *(run_of(instance, "on_demand", {}) for _ in range(2)),
        *(run_of(instance, "daily", WINDOW, {"scope": wrong}) for wrong in (7, "")),
    ]
    assert [run.run_id for run in dequeued(instance)] == runs
