"""Dagster learns of each file that the HTTP service has made at once, and forgets it with the file."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from export_pipeline.api.inline_export import InlineExporter
from export_pipeline.api.inline_messages import InlineRequest
from export_pipeline.datasets.loading import load_datasets
from export_pipeline.datasets.partition_keys import scope_of_key
from export_pipeline.jobs import Job, Ledger
from export_pipeline.jobs.materializations import Materializations
from export_pipeline.orchestration.dagster_compat.event_log import remove_runless_materializations
from export_pipeline.orchestration.file_metadata import content_tags
from export_pipeline.orchestration.sensors import materializations
from export_pipeline.orchestration.sensors.erasure import erase_removed_files
from export_pipeline.orchestration.sensors.materializations import report_materializations
from export_pipeline.settings import load_settings
from export_pipeline_tests.orchestration.deployment import Deployment, files

KEY = dg.AssetKey(["takeoff", "on_demand", "csv"])
ROW_COUNTS = ["rows in file", "rows rendered", "rows in source", "rows this format cannot express"]


def make(deployment: Deployment, ledger: Ledger, **row: Any) -> Job:
    """Make an export at once, as a process of the service does."""
    id = str(uuid.uuid4())
    row = {"dataset": "takeoff", "format": "csv", "scope": deployment.scope, "filters": {}, "columns": None,
           "options": {}, "requested_by": None, **row}  # fmt: skip
    exporter = InlineExporter(load_settings(), load_datasets(), str(deployment.folder))
    made, opened = exporter.make(InlineRequest(id, row, row["options"]))
    with opened:
        assert len(opened.read()) == made.size
    return ledger.get(id)


def report(deployment: Deployment, ledger: Ledger, instance: dg.DagsterInstance) -> int:
    return report_materializations(ledger, deployment.source.url, "https://exports.example.org", instance)


def known(instance: dg.DagsterInstance) -> list[dg.AssetMaterialization]:
    """The materializations, newest first."""
    records = instance.fetch_materializations(KEY, limit=100).records
    return [one.asset_materialization for one in records if one.asset_materialization]


def checks(instance: dg.DagsterInstance, name: str) -> list[dg.AssetCheckEvaluation]:
    """The evaluations of a check of the files, newest first."""
    key = dg.AssetCheckKey(KEY, name)
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
    return [
        record.event.asset_check_evaluation
        for record in history
        if record.event and record.event.asset_check_evaluation
    ]


def test_its_checks_are_reported_as_those_of_a_run(
    deployment: Deployment, ledger: Ledger, instance: dg.DagsterInstance
) -> None:
    """Without a run Dagster keeps those of the newest file of a scope."""
    evaluated = deployment.run().get_asset_check_evaluations()
    of_run = {one.check_name: one for one in evaluated if one.asset_key == KEY}
    assert of_run.keys() == {"rows", "totals"}
    jobs = [make(deployment, ledger) for _ in range(2)]
    assert report(deployment, ledger, instance) == 2
    (record,) = instance.fetch_materializations(KEY, limit=1).records
    assert record.asset_materialization is not None
    newest = record.asset_materialization.metadata["key"]
    assert newest.value in {job.file_key for job in jobs}
    for name, one in of_run.items():
        (reported,) = checks(instance, name)
        target = reported.target_materialization_data
        assert target is not None
        assert (target.storage_id, target.run_id) == (record.storage_id, record.run_id)
        assert (reported.passed, reported.blocking, reported.severity) == (True, True, one.severity)
        assert (reported.partition, reported.description) == (record.partition_key, one.description)
        assert {**reported.metadata, "key": newest} == dict(reported.metadata)
        assert {**reported.metadata, "key": None} == {**one.metadata, "key": None}


def test_one_that_cannot_be_reported_holds_up_no_other(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, sound = make(deployment, ledger), make(deployment, ledger)
    known_keys = []

    def metadata(summary: Any, link: str | None) -> dict[str, Any]:
        if summary.key == broken.file_key:
            raise ValueError("of another version")
        known_keys.append(summary.key)
        return {}

    monkeypatch.setattr(materializations, "file_metadata", metadata)
    assert report(deployment, ledger, deployment.instance) == 1
    assert known_keys == [sound.file_key]
    assert report(deployment, ledger, deployment.instance) == 0
    monkeypatch.undo()
    assert report(deployment, ledger, deployment.instance) == 1


def test_the_tag_of_a_file_with_many_choices_is_one_that_dagster_takes() -> None:
    choices = dict.fromkeys(["include_unverified", "include_rejected", "include_costs", "include_details"], 1)
    (tag,) = content_tags(choices).values()
    dg.AssetMaterialization("x", tags=content_tags(choices))
    assert len(tag) <= 63
    assert content_tags({}) == {}


@pytest.mark.slow
def test_it_is_reported_once_with_the_metadata_of_a_run(deployment: Deployment, ledger: Ledger) -> None:
    instance = deployment.instance
    of_run = files(deployment.run())["csv"]
    job = make(deployment, ledger)
    assert report(deployment, ledger, instance) == 1
    assert report(deployment, ledger, instance) == 0
    reported, _ = known(instance)
    assert reported.partition == deployment.scope
    metadata = {name: one.value for name, one in reported.metadata.items()}
    assert (metadata["key"], metadata["sha256"]) == (job.file_key, job.sha256)
    assert str(metadata["download"]).startswith("https://exports.example.org/d/")
    own = {"key", "location", "shell command", "download", "file name", "seconds", "expires", "data as of"}
    assert metadata.keys() - {"download"} == of_run.keys()
    assert {name: one for name, one in metadata.items() if name not in own} == {
        name: one for name, one in of_run.items() if name not in own
    }
    chosen = make(deployment, ledger, options={"include_costs": False})
    assert report(deployment, ledger, instance) == 1
    assert known(instance)[0].metadata["key"].value == chosen.file_key
    assert known(instance)[0].tags == {"export_pipeline/content": "include_costs"}


def test_a_report_that_was_cut_off_is_not_made_twice_nor_lost(
    deployment: Deployment, ledger: Ledger, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [make(deployment, ledger) for _ in range(3)]

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    for name, owner in (("forget", Materializations), ("report_runless_asset_event", type(instance))):
        with monkeypatch.context() as cut:
            cut.setattr(owner, name, die)
            with pytest.raises(KeyboardInterrupt):
                report(deployment, ledger, instance)
    assert len(known(instance)) == 1
    assert report(deployment, ledger, instance) == 2
    assert {str(one.metadata["key"].value) for one in known(instance)} == {job.file_key for job in jobs}
    assert len(known(instance)) == 3
    assert len(checks(instance, "rows")) == len(checks(instance, "totals")) == 1


def test_dagster_forgets_the_content_with_the_file(
    deployment: Deployment, ledger: Ledger, instance: dg.DagsterInstance
) -> None:
    sentinel = "Zephyrine Quillfeather"
    deployment.source.rows("UPDATE measurements SET is_rejected = 0")
    deployment.source.rows(f"UPDATE conditions SET name = '{sentinel}'")
    gone, kept = make(deployment, ledger), make(deployment, ledger)
    assert report(deployment, ledger, instance) == 2
    ledger.delete(gone.id, deployment.store.delete)
    assert erase_removed_files(ledger, deployment.store, instance) == 1
    newest, oldest = known(instance)
    assert "preview" in newest.metadata
    assert newest.metadata["key"].value == kept.file_key
    assert {"key", "sha256", "bytes", "dagster/row_count"} <= oldest.metadata.keys()
    assert not {"preview", "totals", "title", "warnings"} & oldest.metadata.keys()
    assert [one.metadata["key"].value for one in checks(instance, "rows")] == [kept.file_key]
    assert checks(instance, "rows")[0].description
    ledger.delete(kept.id, deployment.store.delete)
    assert erase_removed_files(ledger, deployment.store, instance) == 1
    assert not any(sentinel in str(one.metadata) for one in known(instance))
    for name in ("rows", "totals"):
        (check,) = checks(instance, name)
        assert check.description is None
        assert {"key"} <= check.metadata.keys() <= {"key", *ROW_COUNTS}
    databases = [path for path in Path(instance.root_directory).rglob("*") if ".db" in path.name]
    assert not any(sentinel.encode() in path.read_bytes() for path in databases)
    assert instance.get_latest_materialization_event(KEY) is not None


def test_old_reports_go_and_the_newest_of_a_partition_stays(
    deployment: Deployment, ledger: Ledger, instance: dg.DagsterInstance
) -> None:
    for scope in (*deployment.source.scopes, deployment.scope, deployment.scope):
        make(deployment, ledger, scope=scope)
    assert report(deployment, ledger, instance) == 4
    assert remove_runless_materializations(instance, [KEY], datetime.now(UTC) - timedelta(days=1)) == 0
    assert len(known(instance)) == 4
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert remove_runless_materializations(instance, [dg.AssetKey("another")], later) == 0
    assert remove_runless_materializations(instance, [KEY], later) == 2
    assert len(checks(instance, "rows")) == len(checks(instance, "totals")) == 2
    assert {scope_of_key(str(one.partition)) for one in known(instance)} == set(deployment.source.scopes)
    assert instance.get_latest_materialization_event(KEY) is not None
