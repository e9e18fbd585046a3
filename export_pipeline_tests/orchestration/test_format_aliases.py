"""Requests that name a format by an alias: the row keeps the name, and the file is that of the format."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from export_pipeline.datasets.attributes import DatasetModel
from export_pipeline.demo import ecology
from export_pipeline.jobs import Attempt, Ledger, Status
from export_pipeline.orchestration.runs.reconciler import reconcile, runs_by_tag
from export_pipeline_tests.commands import Command
from export_pipeline_tests.orchestration.deployment import Deployment
from export_pipeline_tests.orchestration.requesting import insert, launch, tick

SCOPE = str(ecology.MEADOW)
ROWS = 81
ALIASES = {"occurrences_api_json": "json", "occurrences_simple_csv": "csv"}


@pytest.fixture(autouse=True)
def occurrences(deployment: Deployment) -> None:
    engine = sa.create_engine(deployment.source.url)
    ecology.fill(engine)
    engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize(("alias", "format"), ALIASES.items())
def test_a_row_in_the_ledger_may_name_an_alias(
    deployment: Deployment, ledger: Ledger, alias: str, format: str
) -> None:
    id = insert(deployment, dataset="occurrences", format=alias, scope=SCOPE)
    (request,) = tick(deployment)
    result = launch(deployment, request)
    assert result.success
    job = ledger.get(id)
    assert (job.status, job.format, job.file_key) == (
        Status.COMPLETED,
        alias,
        f"exports/{SCOPE}/{id}.{format}",
    )
    assert job.row_count == ROWS
    assert [run.run_id for run in runs_by_tag(deployment.instance, job)] == [result.run_id]
    content = deployment.read(str(job.file_key))
    if format == "json":
        assert {"details", "detection_images", "event"} <= json.loads(content)[0].keys()
    else:
        assert b"id,event_id,event_name" in content.splitlines()[0]


@pytest.mark.slow
def test_a_job_that_joined_such_a_run_ends_with_it(deployment: Deployment, ledger: Ledger) -> None:
    asked = {"dataset": "occurrences", "format": "occurrences_simple_csv", "scope": SCOPE}
    first = insert(deployment, **asked)
    (request,) = tick(deployment)
    result = launch(deployment, request)
    late = insert(deployment, **asked)
    ledger.claim(1)
    ledger.started(Attempt(late, 1, result.run_id))  # after the run had completed its jobs
    assert reconcile(ledger, deployment.instance) == 1
    assert ledger.get(late).file_key == ledger.get(first).file_key


@pytest.mark.slow
def test_the_command_line_takes_an_alias_with_a_ledger(
    deployment: Deployment, ledger: Ledger, command: Command
) -> None:
    formats = "occurrences_simple_csv,csv"
    ended = command("request", "occurrences", "--scope", SCOPE, "--format", formats, "--json")
    assert ended.code == 0, ended.err
    exports = ended.json["exports"]
    assert [one["format"] for one in exports] == formats.split(",")
    assert {(one["status"], one["row_count"]) for one in exports} == {("completed", ROWS)}
    assert {one["file_key"].rpartition(".")[2] for one in exports} == {"csv"}
    assert {job.format for job in ledger.find()} == {"occurrences_simple_csv", "csv"}


@pytest.mark.slow
def test_the_command_line_takes_an_alias_without_a_ledger(deployment: Deployment, command: Command) -> None:
    asked = ("request", "occurrences", "--scope", SCOPE, "--format")
    ended = command(*asked, "occurrences_api_json", "--json")
    assert ended.code == 0, ended.err
    (export,) = ended.json["exports"]
    assert (export["format"], export["row_count"]) == ("json", ROWS)
    ended = command(*asked, "occurrences_xml")
    assert ended.code == 2
    assert "it has csv, json, " in ended.err
    assert ended.err.rstrip().endswith("occurrences_api_json, occurrences_simple_csv.")


@pytest.mark.parametrize(
    ("aliases", "message"),
    [
        ({"pdf": "csv"}, "format_aliases.pdf: a format has this name"),
        ({"old": "json"}, "format_aliases.old: json is not one of its formats; they are csv"),
        ({"Old": "csv"}, "String should match pattern"),
        ({"a" * 23: "csv"}, "String should match pattern"),
    ],
)
def test_wrong_aliases_are_refused_when_the_dataset_is_loaded(
    aliases: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        DatasetModel(dataset="d", description="d", formats=["csv"], format_aliases=aliases)
