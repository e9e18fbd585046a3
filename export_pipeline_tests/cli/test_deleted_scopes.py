"""A project is deleted in the application: what its exports then are, on the command line and in the daemon."""

from pathlib import Path

import dagster as dg
import pytest

from export_pipeline.jobs import Ledger, Status
from export_pipeline.orchestration.resources import source_resource
from export_pipeline.orchestration.sensors.scopes import scopes_sensor
from export_pipeline.settings import load_settings
from export_pipeline.takeoff import source as takeoff_source
from export_pipeline_tests.commands import Command
from export_pipeline_tests.orchestration.deployment import Source


@pytest.mark.slow
def test_the_next_purge_removes_the_files_of_a_deleted_project(
    command: Command, ledger: Ledger, source: Source, tmp_path: Path
) -> None:
    gone, stays = source.scopes
    for scope in (gone, gone, stays):
        assert command("request", "takeoff", "--scope", scope, "--format", "csv").code == 0
    done, held = (job for job in ledger.find() if job.scope == gone)
    (other,) = (job for job in ledger.find() if job.scope == stays)
    ledger.hold(held.id, True)
    waits = ledger.request("takeoff", "csv", scope=gone)
    source.rows(f"DELETE FROM projects WHERE id = '{gone}'")

    would = command("purge", "--dry-run").out
    assert "takeoff: 1 requests are canceled and 1 files due" in would
    assert ledger.get(waits.id) == waits
    assert command("link", done.id).code == 0
    (deleted,) = command("purge", "--json").json["scopes"]
    assert deleted == {"dataset": "takeoff", "gone": [gone], "doubtful": [], "canceled": 1, "due": 1}
    assert ledger.get(waits.id).status is Status.CANCELED
    assert "deleted its scope" in str(ledger.get(waits.id).error_message)
    assert ledger.get(done.id).status is Status.EXPIRED
    assert not (tmp_path / "store" / str(done.file_key)).exists()
    assert (tmp_path / "store" / str(held.file_key)).exists()
    for name in (done.id, held.id, str(held.file_key)):
        ended = command("link", name)
        assert ended.code == 2
        assert "The application has deleted the scope" in ended.err
        kept = f"under legal hold it stays in the store, as {held.file_key}."
        assert (kept if name != done.id else "it was removed.") in ended.err
    assert command("link", waits.id).err.startswith(
        f"Error: Export job {waits.id} is canceled and has no file"
    )
    released = command("hold", held.id, "--release")
    assert released.err.startswith(f"{held.file_key} is due: the next purge removes it")
    assert "the next purge removes it." in command("link", held.id).err
    assert command("purge").code == 0
    assert not (tmp_path / "store" / str(held.file_key)).exists()
    assert command("link", other.id).code == command("link", str(other.file_key)).code == 0


def test_a_list_that_is_empty_or_cannot_be_read_ends_nothing(
    command: Command, ledger: Ledger, source: Source
) -> None:
    jobs = [ledger.request("takeoff", "csv", scope=scope) for scope in source.scopes]
    source.rows("DELETE FROM projects")
    ended = command("purge")
    assert "the source does not list 2 scopes" in ended.out
    assert "--confirm-deleted-scopes" in ended.out
    source.rows("DROP TABLE projects")
    ended = command("purge")
    assert ended.code == 0
    assert "It is not known whether scopes of takeoff were deleted" in ended.err
    assert [ledger.get(job.id) for job in jobs] == jobs


def test_the_sensor_of_scopes_ends_requests_within_its_tick(
    command: Command, ledger: Ledger, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, stays = source.scopes
    jobs = [ledger.request("takeoff", "csv", scope=scope) for scope in (gone, stays)]
    sensor = scopes_sensor(dataset="takeoff", source=takeoff_source, spec={})
    source.rows(f"DELETE FROM projects WHERE id = '{gone}'")

    def tick() -> str | None:
        resources = {"source": source_resource(load_settings())}
        with dg.build_sensor_context(instance=instance, resources=resources) as context:
            return sensor.evaluate_tick(context).skip_message

    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("takeoff_scopes", [gone, stays])
        with monkeypatch.context() as patch:
            patch.setenv("EXPORT_JOBS_URL", "postgresql://u@127.0.0.1:1/x")
            assert "does not answer" in str(tick())
        assert [ledger.get(job.id) for job in jobs] == jobs
        tick()
    assert [ledger.get(job.id).status for job in jobs] == [Status.CANCELED, Status.PENDING]
