"""Canceled requests: their runs end soon, leave no file, and take nothing from others."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.core.columns import Column, Kind
from export_pipeline.jobs import Ledger, Status
from export_pipeline.orchestration.runs.reconciler import reconcile
from export_pipeline.sources.snapshot import Snapshot
from export_pipeline.store.publish import publish
from export_pipeline_tests.orchestration.deployment import Deployment
from export_pipeline_tests.orchestration.requesting import insert, launch, tick
from export_pipeline_tests.orchestration.runs.leases import wait_for_heartbeat


@pytest.mark.slow
def test_one_of_several_that_share_a_run_may_be_canceled(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one still gets its file."""
    from export_pipeline.formats.csv import write as csv

    canceled, kept = (insert(deployment, scope=deployment.scope) for _ in range(2))
    (request,) = tick(deployment)
    render = csv.render

    def slow(*args: Any) -> Any:
        ledger.canceled(canceled, "somebody")
        wait_for_heartbeat()
        return render(*args)

    monkeypatch.setattr(csv, "render", slow)
    assert launch(deployment, request).success
    assert ledger.get(canceled).status is Status.CANCELED
    assert ledger.get(kept).status is Status.COMPLETED
    assert deployment.read(str(ledger.get(kept).file_key))


@pytest.mark.slow
def test_a_job_that_joined_a_run_keeps_it_when_the_first_is_canceled(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export_pipeline.formats.csv import write as csv

    first = insert(deployment, scope=deployment.scope)
    (request,) = tick(deployment)
    render = csv.render
    joined: list[str] = []

    def slow(*args: Any) -> Any:
        joined.append(insert(deployment, scope=deployment.scope))
        assert tick(deployment) == []
        ledger.canceled(first, "somebody")
        wait_for_heartbeat()
        return render(*args)

    monkeypatch.setattr(csv, "render", slow)
    assert launch(deployment, request).success
    assert ledger.get(first).status is Status.CANCELED
    assert ledger.get(joined[0]).status is Status.COMPLETED


def _endless(*_: Any) -> Any:
    for _ in range(600):
        time.sleep(0.1)


def _endless_query(snapshot: Snapshot, *_: Any) -> Any:
    numbers = "(WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c)"
    return snapshot.rows(sa.select(sa.literal_column(numbers)), [Column("x", "X", Kind.INTEGER)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "endless"),
    [
        ("export_pipeline.formats.csv.write.render", _endless),
        ("export_pipeline.takeoff.source.read", _endless_query),
        ("export_pipeline.orchestration.ops.build", _endless),
        ("export_pipeline.orchestration.ops.clean", _endless),
    ],
)
def test_a_canceled_job_ends_its_run_soon_and_leaves_no_file(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, stage: str, endless: Any
) -> None:
    monkeypatch.setattr(stage, endless)
    id = insert(deployment, scope=deployment.scope)
    (request,) = tick(deployment)
    canceled_at: list[float] = []

    def cancel() -> None:
        while ledger.get(id).status is not Status.PROCESSING:
            time.sleep(0.1)
        time.sleep(1)
        canceled_at.append(time.monotonic())
        ledger.canceled(id, "somebody")

    person = threading.Thread(target=cancel)
    person.start()
    result = launch(deployment, request)
    person.join()
    assert time.monotonic() - canceled_at[0] < 5
    assert not result.success
    run = deployment.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.is_finished
    reconcile(ledger, deployment.instance)
    assert ledger.get(id).status is Status.CANCELED
    assert deployment.stored() == set()


def test_a_job_canceled_while_its_file_was_stored_leaves_none(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export_pipeline.orchestration import store_io_manager

    id = insert(deployment, scope=deployment.scope)
    (request,) = tick(deployment)

    def published(*args: Any, **options: Any) -> Any:
        done = publish(*args, **options)
        ledger.canceled(id, "somebody")
        return done

    monkeypatch.setattr(store_io_manager, "publish", published)
    assert not launch(deployment, request).success
    assert ledger.get(id).status is Status.CANCELED
    assert deployment.stored() == set()


@pytest.mark.slow
@pytest.mark.parametrize("canceled", [True, False])
def test_a_run_that_dagster_called_canceled_publishes_nothing(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, canceled: bool
) -> None:
    """It ends before its heartbeat has noticed; nobody requested it in the ledger."""
    from export_pipeline.formats.csv import write as csv

    render = csv.render

    def slow(*args: Any) -> Any:
        (run,) = deployment.instance.get_runs()
        if canceled:
            deployment.instance.report_run_canceled(run)
        return render(*args)

    monkeypatch.setattr(csv, "render", slow)
    assert deployment.run().success is not canceled
    assert bool(deployment.stored()) is not canceled
