"""Errors that Dagster keeps (events of runs, ticks, logs) show no password in any part of a traceback."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from dagster._utils.error import serializable_error_info_from_exc_info

from export_pipeline.formats.csv import write as csv
from export_pipeline.jobs import Ledger
from export_pipeline.orchestration.sensors import deliveries, purge, queue, run_retention, scopes
from export_pipeline.orchestration.sensors import schedules as due_schedules
from export_pipeline.redaction import remember_credentials
from export_pipeline.sources.snapshot import SourceError
from export_pipeline_tests.orchestration.deployment import Deployment
from export_pipeline_tests.orchestration.requesting import insert, tick

PASSWORD = "S3NTINEL"
SAID = f"could not log in with {PASSWORD}, at postgresql://ann:{PASSWORD}@host/app"
SENSORS = {
    "housekeeping_sensor": (purge, "clean_staging"),
    "purge_sensor": (purge, "purge"),
    "delivery_sensor": (deliveries, "deliver_due"),
    "schedules_sensor": (due_schedules, "datasets_due"),
    "retention_sensor": (run_retention, "remove_old_runs"),
    "takeoff_scopes_sensor": (scopes, "scope_changes"),
    "requests_sensor": (queue, "reconcile"),
}


@pytest.fixture(autouse=True)
def _password(_no_passwords_of_other_tests: None) -> None:
    remember_credentials(f"postgresql://ann:{PASSWORD}@host/app")


def fail(*_: Any, **__: Any) -> Any:
    try:
        raise ConnectionError(SAID)
    except ConnectionError as error:
        raise RuntimeError(f"no connection: {SAID}") from error


def source_fails(*_: Any, **__: Any) -> Any:
    try:
        fail()
    except RuntimeError as error:
        raise SourceError("The source cannot be read.") from error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("breaks", "text"),
    [
        (fail, "could not log in with ***"),
        (source_fails, "The source cannot be read."),  # without its causes, which may quote rows
    ],
)
def test_events_of_a_run_show_no_password(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, breaks: Any, text: str
) -> None:
    monkeypatch.setattr(csv, "render", breaks)
    assert not deployment.run().success
    (run,) = deployment.instance.get_runs()
    kept = "".join(dg.serialize_value(entry) for entry in deployment.instance.all_logs(run.run_id))
    assert text in kept
    assert f"in {breaks.__name__}" in kept  # the traceback is there
    assert PASSWORD not in kept


@pytest.mark.slow
@pytest.mark.parametrize("name", SENSORS)
def test_ticks_show_no_password(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(*SENSORS[name], fail)
    sensor = deployment.definitions.resolve_sensor_def(name)
    resources = {key: deployment.definitions.resources[key] for key in sensor.required_resource_keys}
    with (
        dg.build_sensor_context(
            instance=deployment.instance,
            repository_def=deployment.definitions.get_repository_def(),
            resources=resources,
        ) as context,
        pytest.raises(RuntimeError) as failed,
    ):
        sensor.evaluate_tick(context)
    kept = serializable_error_info_from_exc_info(failed._excinfo).to_string()  # type: ignore[arg-type]
    assert "could not log in with ***" in kept
    assert PASSWORD not in kept


def test_a_request_that_cannot_be_made_a_run(
    deployment: Deployment,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    insert(deployment, scope=deployment.scope)
    monkeypatch.setattr(queue, "_run_request", fail)
    assert tick(deployment) == []
    logged = capsys.readouterr().err
    assert "could not log in with ***" in logged
    assert PASSWORD not in logged
