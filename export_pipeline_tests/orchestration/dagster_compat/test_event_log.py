"""Contracts with Dagster about the event log."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from export_pipeline.orchestration.dagster_compat.event_log import (
    erase_content,
    erase_runless_content,
    remove_check_results,
    remove_run_files,
    remove_runless_materializations,
    runs_of_partition,
)
from export_pipeline.orchestration.dagster_compat.runs import (
    materializations,
)
from export_pipeline_tests.orchestration.dagster_compat.drawings import execute


def test_else_removed_runs_and_files_would_leave_their_content(tmp_path: Path) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as stored:
        run_id = execute(stored, "a").run_id
        assert runs_of_partition(stored, dg.AssetKey("drawing"), ["a", "b"]) == [run_id]
        assert runs_of_partition(stored, dg.AssetKey("drawing"), ["b"]) == []
        assert runs_of_partition(stored, dg.AssetKey("drawing"), ["a"], run_ids=["another"]) == []
        erase_content(stored, run_id, True, "drawing", "drawing.pdf", {"bytes"})
        (made,) = materializations(stored, run_id)
        assert made.metadata.keys() == {"bytes"}
        (record,) = stored.fetch_materializations(dg.AssetKey("drawing"), limit=1).records
        assert record.asset_materialization is not None
        assert record.asset_materialization.metadata.keys() == {"bytes"}
        assert any(run_id in path.name for path in tmp_path.rglob("*"))
        stored.delete_run(run_id)
        remove_run_files(stored, run_id)
        remove_check_results(stored, [run_id])
        assert [path for path in tmp_path.rglob("*") if run_id in path.name] == []


def test_else_files_reported_without_a_run_would_leave_their_content_for_ever(tmp_path: Path) -> None:
    """sensors/test_materializations.py does this on PostgreSQL too."""
    drawing_key = dg.AssetKey("drawing")
    with dg.instance_for_test(temp_dir=str(tmp_path)) as stored:
        for name in ("first.pdf", "second.pdf"):
            metadata = {"key": name, "bytes": 7, "title": f"Title of {name}"}
            stored.report_runless_asset_event(dg.AssetMaterialization(drawing_key, metadata=metadata))
        erase_runless_content(stored, "first.pdf", {"bytes"})
        records = stored.fetch_materializations(drawing_key, limit=9, ascending=True).records
        made = [record.asset_materialization for record in records]
        assert [sorted(one.metadata) for one in made if one] == [["bytes"], ["bytes", "key", "title"]]
        databases = [path.read_bytes() for path in tmp_path.rglob("*.db*")]
        assert not any(b"Title of first.pdf" in content for content in databases)
        assert (
            remove_runless_materializations(stored, [drawing_key], datetime.now(UTC) + timedelta(minutes=1))
            == 1
        )
        (newest,) = stored.fetch_materializations(drawing_key, limit=9).records
        assert newest.storage_id == records[1].storage_id
