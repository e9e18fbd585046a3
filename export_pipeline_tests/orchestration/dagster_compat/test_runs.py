"""Contracts with Dagster about runs."""

from pathlib import Path

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from export_pipeline.orchestration.dagster_compat.runs import (
    add_run_tags,
    automatic_retry,
    erase_config,
    is_canceling,
    is_of_active_backfill,
    log_entries,
    materializations,
    report_canceled,
    report_canceling,
    report_event,
    report_failed,
    will_be_retried,
    with_tags,
)
from export_pipeline_tests.orchestration.dagster_compat.drawings import JOB, execute, run_of


def test_else_dead_and_canceled_runs_would_stay_as_they_were(instance: dg.DagsterInstance) -> None:
    started = dg.DagsterRunStatus.STARTED
    first, second = (instance.create_run_for_job(JOB, status=started) for _ in range(2))
    report_canceling(instance, first, "Its job was canceled.")
    assert run_of(instance, first.run_id).status is dg.DagsterRunStatus.CANCELING
    assert is_canceling(instance, first.run_id)
    assert not is_canceling(instance, second.run_id)
    assert not is_canceling(instance, "unknown")
    report_canceled(instance, first, "It has died.")
    assert is_canceling(instance, first.run_id)
    report_event(instance, second, "Noted.")
    report_failed(instance, second, "It has died.")
    assert run_of(instance, first.run_id).status is dg.DagsterRunStatus.CANCELED
    assert run_of(instance, second.run_id).status is dg.DagsterRunStatus.FAILURE
    entries, cursor = log_entries(instance, second.run_id, None)
    messages = [entry.dagster_event.message for entry in entries if entry.dagster_event]
    assert "Noted." in messages
    assert "It has died." in messages
    assert log_entries(instance, second.run_id, cursor)[0] == []


def test_else_lost_window_requests_would_be_repeated_for_ever(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(JOB)
    add_run_tags(instance, run, {"done": "by us"})
    assert run_of(instance, run.run_id).tags["done"] == "by us"
    assert with_tags(run, {"more": "1"}).tags == {**run.tags, "more": "1"}
    assert with_tags(run, {"more": "1"}).run_id == run.run_id


def test_else_runs_of_a_backfill_would_be_removed_under_it(instance: dg.DagsterInstance) -> None:
    def belongs(status: BulkActionStatus) -> bool:
        backfill = PartitionBackfill(
            status.value, status=status, from_failure=False, tags={}, backfill_timestamp=0.0
        )
        instance.add_backfill(backfill)
        run = instance.create_run_for_job(JOB, tags={"dagster/backfill": status.value})
        return is_of_active_backfill(instance, run)

    active = {status for status in BulkActionStatus if belongs(status)}
    assert active == {BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING}
    assert not is_of_active_backfill(instance, instance.create_run_for_job(JOB))


def test_else_a_job_would_fail_although_dagster_retries_its_run(tmp_path: Path) -> None:
    with dg.instance_for_test(overrides={"run_retries": {"enabled": True}}) as retrying:
        failed = retrying.create_run_for_job(JOB, status=dg.DagsterRunStatus.FAILURE)
        assert will_be_retried(retrying, failed)
        assert automatic_retry(retrying, failed) is None
        again = retrying.create_run_for_job(JOB)
        add_run_tags(retrying, failed, {"dagster/auto_retry_run_id": again.run_id})
        retried = automatic_retry(retrying, run_of(retrying, failed.run_id))
        assert retried is not None
        assert retried.run_id == again.run_id
        last = retrying.create_run_for_job(JOB, tags={"dagster/will_retry": "false"})
        assert not will_be_retried(retrying, last)


def test_else_a_job_would_not_get_the_file_of_its_run(instance: dg.DagsterInstance) -> None:
    (made,) = materializations(instance, execute(instance).run_id)
    assert made.asset_key == dg.AssetKey("drawing")
    assert made.metadata["key"].value == "drawing.pdf"


def test_else_filters_of_removed_files_would_stay_in_dagster() -> None:
    """On an instance on the disk, as one in memory is read otherwise."""
    with dg.instance_for_test() as instance:
        config = {"ops": {"draw": {"config": {"title": "Miller"}}}}
        run, other = (instance.create_run_for_job(JOB, run_config=config) for _ in range(2))
        erase_config(instance, run.run_id)
        assert "Miller" not in str(run_of(instance, run.run_id).run_config)
        assert run_of(instance, run.run_id).run_config
        assert run_of(instance, other.run_id).run_config == config
