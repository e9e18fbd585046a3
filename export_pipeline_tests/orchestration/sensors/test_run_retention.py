"""Old runs go from Dagster's database; those that people look at, and those under way, stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from export_pipeline.orchestration.dagster_compat.code_locations import as_runs_of
from export_pipeline.orchestration.instance import prepare_home
from export_pipeline.orchestration.sensors.run_retention import remove_old_runs

NOW = timedelta(0)
OURS = {".dagster/repository": "__repository__@export_pipeline"}


@dg.asset(check_specs=[dg.AssetCheckSpec("rows", asset="export")])
def export() -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    yield dg.MaterializeResult()
    yield dg.AssetCheckResult(passed=True)


JOB = dg.Definitions(assets=[export], jobs=[dg.define_asset_job("exports", [export])]).get_job_def("exports")


def remove(instance: dg.DagsterInstance, retention: timedelta = NOW, seconds: float = 60) -> int:
    return remove_old_runs(instance, OURS, retention, seconds=seconds)


@pytest.fixture(autouse=True)
def _ours(instance: dg.DagsterInstance) -> Iterator[None]:
    with as_runs_of(instance, "export_pipeline.definitions", "export_pipeline"):
        yield


def test_runs_of_other_code_locations_stay(instance: dg.DagsterInstance) -> None:
    with dg.DagsterInstance.get() as other, as_runs_of(other, "export_pipeline.definitions", "another"):
        theirs = [JOB.execute_in_process(instance=other).run_id for _ in range(2)]
    JOB.execute_in_process(instance=instance)
    ours = JOB.execute_in_process(instance=instance).run_id
    assert remove(instance) == 1
    assert {run.run_id for run in instance.get_runs()} == {*theirs, ours}


def test_all_go_but_the_one_that_made_the_newest_file(instance: dg.DagsterInstance) -> None:
    runs = [JOB.execute_in_process(instance=instance).run_id for _ in range(4)]
    assert remove(instance, timedelta(days=1)) == 0
    assert remove(instance, seconds=0) == 0  # no time, no work
    assert remove(instance) == 3
    assert [run.run_id for run in instance.get_runs()] == runs[-1:]
    assert remove(instance) == 0
    newest = instance.get_latest_materialization_event(dg.AssetKey("export"))
    assert newest is not None
    assert newest.run_id == runs[-1]
    assert [len(instance.all_logs(run_id)) > 0 for run_id in runs] == [False, False, False, True]
    left = [path.name for path in Path(instance.root_directory).rglob("*") if path.name[:36] in runs[:-1]]
    assert left == []
    check = dg.AssetCheckKey(dg.AssetKey("export"), "rows")
    history = instance.event_log_storage.get_asset_check_execution_history(check, limit=10)
    assert [record.run_id for record in history] == runs[-1:]


def test_runs_in_progress_stay(instance: dg.DagsterInstance) -> None:
    for status in (
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.CANCELING,
    ):
        instance.create_run_for_job(JOB, status=status)
    instance.create_run_for_job(JOB, status=dg.DagsterRunStatus.FAILURE)
    assert remove(instance) == 1
    assert len(instance.get_runs()) == 3


@pytest.mark.slow
def test_connections_to_dagster_s_database_are_kept_and_survive_its_restart(
    environment: dict[str, str], postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlalchemy as sa

    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres_url)
    prepare_home()
    engine = sa.create_engine(postgres_url, poolclass=sa.NullPool)

    def backends() -> set[int]:
        with engine.connect() as connection:
            ids = "SELECT pid FROM pg_stat_activity WHERE application_name = 'dagster'"
            return set(connection.scalars(sa.text(ids)))

    with dg.DagsterInstance.get() as first:
        first.get_runs()
    before = backends()
    assert len(before) == 1
    for _ in range(3):
        with dg.DagsterInstance.get() as again:
            again.get_runs()
            again.all_asset_keys()
            again.all_instigator_state()
    assert backends() == before
    with engine.connect() as connection:
        connection.execute(sa.text(f"SELECT pg_terminate_backend({before.pop()})"))
    with dg.DagsterInstance.get() as again:
        assert again.get_runs() == []
