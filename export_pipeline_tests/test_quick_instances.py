"""Instances in memory behave as those in files, of which an installation's are."""

import threading

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.runs.schema import RunsTable


def test_a_write_waits_for_a_reader() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        job = dg.GraphDefinition("empty").to_job()
        run, *_ = [instance.create_run_for_job(job) for _ in range(3)]  # one row would be read at once
        reading, done = threading.Event(), threading.Event()

        def read() -> None:
            with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
                rows = connection.execute(sa.select(RunsTable), execution_options={"stream_results": True})
                rows.fetchone()
                reading.set()
                done.wait(0.3)
                rows.close()

        reader = threading.Thread(target=read)
        reader.start()
        assert reading.wait(10)
        instance.add_run_tags(run.run_id, {"late": "yes"})
        reader.join()
        stored = instance.get_run_by_id(run.run_id)
        assert stored is not None
        assert stored.tags["late"] == "yes"


def test_a_run_of_one_asset_has_the_description_of_what_it_runs() -> None:
    @dg.asset
    def one() -> None: ...

    @dg.asset
    def other() -> None: ...

    job = dg.Definitions([one, other]).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, asset_selection=[one.key])
        described = instance.get_job_snapshot(str(result.dagster_run.job_snapshot_id))
    assert result.success
    assert [op.name for op in described.node_defs_snapshot.op_def_snaps] == ["one"]
