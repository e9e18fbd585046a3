"""Datasets whose scopes are persons: Dagster shows ids alone."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from export_pipeline.components import loading
from export_pipeline.datasets.table import TableModel, table_dataset
from export_pipeline.jobs import Ledger
from export_pipeline.orchestration.partitions import add_scope
from export_pipeline_tests.orchestration.deployment import Deployment, files
from export_pipeline_tests.orchestration.requesting import launch, tick
from export_pipeline_tests.orchestration.test_window_partitions import TAKEOFF

PERSON = "Zoe Example"


@pytest.fixture
def persons(deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A deployment whose scopes all have the name of a person, which Dagster must not show."""
    from export_pipeline.definitions import defs

    folder = tmp_path / "defs_of_persons"
    (folder / "takeoff").mkdir(parents=True)
    text = TAKEOFF.read_text().replace("  formats:", "  scope_label: id\n  formats:")
    (folder / "takeoff" / "defs.yaml").write_text(text)
    monkeypatch.setattr(loading, "defs_folder", lambda: folder)
    deployment.source.rows(f"UPDATE projects SET name = '{PERSON}'")
    return Deployment(deployment.source, deployment.folder, defs(), deployment.instance)


def test_names_that_are_personal_stay_out_of_dagster(persons: Deployment, ledger: Ledger) -> None:
    scope = persons.scope
    job = ledger.request("takeoff", "csv", scope=scope)
    (request,) = tick(persons)
    assert request.partition_key == scope
    result = launch(persons, request)
    assert result.success
    (file,) = files(result).values()
    assert (file["scope"], file["title"]) == (scope, scope)
    assert "scope name" not in file
    run = persons.instance.get_run_by_id(result.run_id)
    assert run is not None
    partitions = persons.instance.get_dynamic_partitions("takeoff_scopes")
    events = persons.instance.all_logs(result.run_id)
    shown = [*map(str, file.values()), *map(str, run.tags.items()), *partitions, *map(str, events)]
    assert [text for text in shown if PERSON in text] == []
    assert file["file name"] == f"{job.id}.csv"
    assert str(ledger.get(job.id).file_name).startswith(
        f"{PERSON}_takeoff_"
    )  # who downloads it knows the person


def test_partitions_lose_their_names_when_a_dataset_is_switched_to_ids(persons: Deployment) -> None:
    first, second = persons.source.scopes
    named = f"{PERSON} ({first})"
    persons.instance.add_dynamic_partitions("takeoff_scopes", [named])
    sensor = persons.definitions.resolve_sensor_def("takeoff_scopes_sensor")
    with dg.build_sensor_context(
        instance=persons.instance,
        repository_def=persons.definitions.get_repository_def(),
        resources={name: persons.definitions.resources[name] for name in ("source", "ledger", "store")},
    ) as context:
        added, deleted = sensor.evaluate_tick(context).dynamic_partitions_requests or ()
    assert sorted(added.partition_keys) == sorted([first, second])
    assert deleted.partition_keys == [named]
    persons.instance.add_dynamic_partitions("takeoff_scopes", [first])  # while both are there
    assert add_scope(persons.instance, "takeoff", first) == first


@pytest.mark.parametrize(("label", "shows_names"), [({}, True), ({"label": "id"}, False)])
def test_a_table_says_so_in_its_scope(label: dict[str, str], shows_names: bool) -> None:
    attributes = {
        "dataset": "orders", "description": "Orders.", "source": {"table": "orders"}, "formats": ["csv"],
        "columns": [{"name": "id", "type": "integer"}],
        "scope": {"column": "person", "table": "persons", **label},
    }  # fmt: skip
    assert table_dataset(TableModel.model_validate(attributes), Path()).labels_scopes is shows_names
