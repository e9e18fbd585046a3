"""Commands take a scope by its id, or by a name that only one has."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg
import pytest

from export_pipeline.cli import lookups
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.jobs import Ledger
from export_pipeline.settings import Settings
from export_pipeline.sources.snapshot import SourceUnavailableError
from export_pipeline_tests.commands import Command
from export_pipeline_tests.orchestration.deployment import Source


@pytest.fixture
def named(source: Source) -> dict[str, str]:
    """The ids of two projects, by their names."""
    for id, name in zip(source.scopes, ("Corner shop", "Mill"), strict=True):
        source.rows(f"UPDATE projects SET name = '{name}' WHERE id = '{id}'")
    return {name: str(id) for id, name in source.rows("SELECT id, name FROM projects")}


def test_an_export_is_requested_and_listed_by_name(
    command: Command, ledger: Ledger, named: dict[str, str]
) -> None:
    job = ledger.request("takeoff", "csv", scope=named["Mill"])
    listed = command("jobs", "--scope", "mill", "--dataset", "takeoff", "--json").json
    assert [row["id"] for row in listed] == [job.id]
    hidden = command("jobs", "--scope", "mill", "--viewer-scope", named["Corner shop"], "--json").json
    assert hidden == []
    made = command(
        "schedules", "create", "takeoff", "--format", "csv", "--cadence", "daily", "--scope", "Mill", "--json"
    ).json
    assert made["scope"] == named["Mill"]
    changed = command("schedules", "change", made["id"], "--scope", "corner SHOP", "--json").json
    assert changed["scope"] == named["Corner shop"]
    key = command("keys", "create", "k", "--scope", "Corner shop", "--dataset", "takeoff", "--json").json
    assert key["scopes"] == [named["Corner shop"]]


def test_a_webhook_hears_of_a_scope_by_name(
    command: Command, ledger: Ledger, named: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPORT_WEBHOOK_KEY", "a key that is made up for this test only")
    monkeypatch.setenv("EXPORT_WEBHOOK_HTTP", "true")
    monkeypatch.setenv("EXPORT_WEBHOOK_NETWORKS", "127.0.0.1/32")
    made = command("webhooks", "create", "http://127.0.0.1:9/", "--scope", "Mill", "--json").json
    assert made["scope"] == named["Mill"]


@pytest.mark.slow
def test_an_export_is_made_by_name_and_its_partition_has_it(
    command: Command, ledger: Ledger, named: dict[str, str]
) -> None:
    made = command("request", "takeoff", "--scope", "Corner shop", "--json")
    (export,) = made.json["exports"]
    assert export["scope"] == named["Corner shop"]
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        ((_, repositories),) = instance.get_run_tags(tag_keys=[".dagster/repository"])
        assert repositories == {"__repository__@export_pipeline"}  # so the timeline shows it
        assert instance.get_dynamic_partitions("takeoff_scopes") == [f"Corner shop ({named['Corner shop']})"]
    assert run.tags["export_pipeline/scope"] == named["Corner shop"]
    assert run.tags["export_pipeline/scope_name"] == "Corner shop"


def test_a_name_of_two_scopes_is_refused_with_their_ids(
    command: Command, source: Source, named: dict[str, str]
) -> None:
    source.rows("UPDATE projects SET name = 'Twins'")
    asked = command("request", "takeoff", "--scope", "Twins")
    assert asked.code == 2
    assert "2 scopes are called 'Twins'" in asked.err
    assert all(id in asked.err for id in named.values())


def test_requests_of_a_name_are_listed_while_another_dataset_cannot_be_read(
    command: Command, ledger: Ledger, named: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ledger.request("takeoff", "csv", scope=named["Mill"])
    read = lookups.scopes_of

    def read_takeoff_only(settings: Settings, dataset: Dataset) -> Mapping[str, str]:
        if dataset.dataset == "takeoff":
            return read(settings, dataset)
        raise SourceUnavailableError("Its table is locked.")

    monkeypatch.setattr(lookups, "scopes_of", read_takeoff_only)
    assert [row["id"] for row in command("jobs", "--scope", "Mill", "--json").json] == [job.id]
    assert [row["id"] for row in command("jobs", "--scope", named["Mill"], "--json").json] == [job.id]
    unknown = command("jobs", "--scope", "Quarry", "--json")
    assert unknown.code == 2
    assert (
        "'Quarry' may be an id or a name, and the scopes cannot be read: Its table is locked." in unknown.err
    )


def test_a_scope_that_cannot_be_looked_up_is_not_stored(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a name, and a key, webhook or schedule of a name as an id would see nothing."""
    monkeypatch.setenv("EXPORT_SOURCE_URL", "postgresql+psycopg2://nobody@127.0.0.1:1/nothing")
    for arguments in (
        ("keys", "create", "backend", "--scope", "Corner shop"),
        ("webhooks", "create", "https://example.org/", "--scope", "Corner shop"),
        ("schedules", "create", "takeoff", "--format", "csv", "--cadence", "daily", "--scope", "Corner shop"),
    ):
        done = command(*arguments)
        assert done.code == 2
        assert "'Corner shop' may be an id or a name, and the scopes cannot be read" in done.err
