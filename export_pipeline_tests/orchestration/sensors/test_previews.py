"""The UI's "Preview tick" changes nothing: no request, no mail, no file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._grpc.impl import get_external_schedule_execution, get_external_sensor_execution

from export_pipeline.delivery.webhooks.endpoints import create_webhook
from export_pipeline.jobs import Ledger
from export_pipeline.jobs.database import open_engine
from export_pipeline.orchestration.instance import prepare_home
from export_pipeline.settings import load_settings
from export_pipeline_tests.delivery.mail_server import MailServer
from export_pipeline_tests.delivery.webhook_receiver import Receiver, webhook_receiver
from export_pipeline_tests.jobs.lives import FILE, PAST, run_of
from export_pipeline_tests.orchestration.deployment import Deployment
from export_pipeline_tests.orchestration.requesting import insert
from export_pipeline_tests.paths import ROOT

_TABLES = ("export_jobs", "scheduled_exports", "export_events", "export_deliveries", "export_commands",
           "export_webhook_deliveries")  # fmt: skip
_DRY_RUN = """
mutation($selector: SensorSelector!) {
  sensorDryRun(selectorData: $selector, cursor: null) {
    ... on DryRunInstigationTick { evaluationResult { skipReason runRequests { runKey } error { message } } }
    ... on PythonError { message }
    ... on SensorNotFoundError { message }
  }
}"""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver of the deployment's webhooks."""
    monkeypatch.setenv("EXPORT_WEBHOOK_KEY", "a key that is made up for these tests only")
    monkeypatch.setenv("EXPORT_WEBHOOK_HTTP", "true")
    monkeypatch.setenv("EXPORT_WEBHOOK_NETWORKS", "127.0.0.1/32")
    with webhook_receiver() as receiver:
        yield receiver


@pytest.fixture
def home(deployment: Deployment, ledger: Ledger, mails: MailServer, receiver: Receiver) -> InstanceRef:
    """An instance, and a ledger in which every sensor finds something to do."""
    engine = open_engine(load_settings().jobs_url)
    create_webhook(engine, load_settings(), receiver.url.replace("receiver.example", "127.0.0.1"))
    engine.dispose()
    insert(deployment, scope=deployment.scope)
    asked = ledger.request("takeoff", "csv", scope=deployment.scope, recipients=["ann@example.org"])
    ledger.started(run_of(asked))
    ledger.completed(run_of(asked), FILE, PAST)
    deployment.source.rows(
        "INSERT INTO scheduled_exports (dataset, format, scope, cadence, since) "
        f"VALUES ('takeoff', 'csv', '{deployment.scope}', 'daily', '2026-01-01T00:00:00Z')"
    )
    deployment.source.rows(
        "INSERT INTO export_commands (job_id, command, scope) "
        f"VALUES ('{asked.id}', 'delete', '{deployment.scope}')"
    )
    with dg.DagsterInstance.from_config(str(prepare_home())) as instance:
        instance.add_dynamic_partitions("takeoff_scopes", [deployment.scope])
        return instance.get_ref()


def state(deployment: Deployment) -> list[Any]:
    """Everything that a tick could change."""
    staged = sorted(str(path) for path in deployment.staging.rglob("*"))
    return [*(deployment.source.rows(f"SELECT * FROM {table}") for table in _TABLES), staged]


def evaluate(deployment: Deployment, home: InstanceRef, sensor: str, log_key: list[str]) -> Any:
    """Return the answer of the code server."""
    origin = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="export_pipeline.definitions"))
    repository = deployment.definitions.get_repository_def()
    return get_external_sensor_execution(repository, origin, home, sensor, None, None, None, log_key, None)


def test_no_preview_of_a_sensor_changes_anything(
    deployment: Deployment, home: InstanceRef, mails: MailServer, receiver: Receiver
) -> None:
    before = state(deployment)
    for sensor in deployment.definitions.get_repository_def().sensor_defs:
        evaluated = evaluate(deployment, home, sensor.name, [])
        assert not getattr(evaluated, "error", None), sensor.name
        assert sensor.name.endswith("_scopes_sensor") or "A preview does nothing" in str(
            evaluated.skip_message
        )
    assert state(deployment) == before
    assert mails.mails == []
    assert receiver.posts == []


def test_the_daemon_s_ticks_do_what_is_to_be_done(
    deployment: Deployment, home: InstanceRef, receiver: Receiver
) -> None:
    before = state(deployment)
    evaluated = evaluate(deployment, home, "requests_sensor", ["repository", "requests_sensor", "17"])
    assert len(evaluated.run_requests) == 1
    evaluate(deployment, home, "schedules_sensor", ["repository", "schedules_sensor", "18"])
    jobs, schedules, *_ = state(deployment)
    assert len(jobs) > len(before[0])
    assert schedules != before[1]
    evaluate(deployment, home, "commands_sensor", ["repository", "commands_sensor", "19"])
    assert deployment.source.rows("SELECT status, answer FROM export_commands") == [("done", "Deleted.")]
    evaluate(deployment, home, "webhooks_sensor", ["repository", "webhooks_sensor", "20"])
    evaluated = [
        (json.loads(post.body)["type"], json.loads(post.body)["data"]["status"]) for post in receiver.posts
    ]
    assert sorted(evaluated) == [("export.completed", "completed"), ("export.expired", "expired")]


def test_neither_a_preview_nor_a_tick_of_a_schedule_changes_anything(
    deployment: Deployment, home: InstanceRef
) -> None:
    before = state(deployment)
    repository = deployment.definitions.get_repository_def()
    at = datetime(2026, 2, 3, 2, 15, tzinfo=UTC).timestamp()
    for log_key in ([], ["repository", "takeoff_daily_schedule", "17"]):
        evaluated: Any = get_external_schedule_execution(
            repository, home, "takeoff_daily_schedule", at, "UTC", log_key
        )
        (request,) = evaluated.run_requests
        assert request.run_key == "takeoff/daily/2026-02-02"
    assert state(deployment) == before


@pytest.mark.slow
def test_the_ui_evaluates_a_preview_as_we_take_it_for(
    deployment: Deployment, home: InstanceRef, environment: dict[str, str]
) -> None:
    """Over GraphQL and a code server of its own."""
    before = state(deployment)
    selector = {
        "repositoryName": deployment.definitions.get_repository_def().name,
        "repositoryLocationName": "export_pipeline",
        "sensorName": "requests_sensor",
    }
    command = [str(Path(sys.executable).parent / "dagster-graphql"), "-w", str(ROOT / "workspace.yaml")]
    command += ["-t", _DRY_RUN, "-v", json.dumps({"selector": selector})]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert "A preview does nothing" in done.stdout, done.stdout[-3000:] + done.stderr[-2000:]
    assert state(deployment) == before
