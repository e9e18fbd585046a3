"""Rows of scheduled_exports that no run could ever meet are told at the daemon's first look."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import dagster as dg
import pytest

from export_pipeline.datasets import requests, schedules
from export_pipeline.datasets.requests import typed_options as check_options
from export_pipeline.delivery.addresses import check_addresses
from export_pipeline.jobs import Ledger, Status
from export_pipeline.jobs.database import open_engine
from export_pipeline.schedules.editing import get_schedule
from export_pipeline.schedules.scheduled_export import ScheduledExport
from export_pipeline_tests.orchestration.deployment import Deployment


def insert(deployment: Deployment, **values: Any) -> str:
    """A row by plain SQL, as an application would write it."""
    id = str(uuid.uuid4())
    row = {"id": id, "dataset": "takeoff", "format": "csv", "cadence": "daily", "scope": deployment.scope}
    row = {name: value for name, value in {**row, **values}.items() if value is not None}
    texts = ", ".join("'" + str(value).replace("'", "''") + "'" for value in row.values())
    deployment.source.rows(f"INSERT INTO scheduled_exports ({', '.join(row)}) VALUES ({texts})")
    return id


def look(deployment: Deployment) -> str:
    """Return the sensor's message."""
    sensor = deployment.definitions.resolve_sensor_def("schedules_sensor")
    names = ("ledger", "source", "store")
    with dg.build_sensor_context(
        instance=deployment.instance,
        repository_def=deployment.definitions.get_repository_def(),
        resources={name: deployment.definitions.resources[name] for name in names},
    ) as context:
        return str(sensor.evaluate_tick(context).skip_message)


def schedule_of(deployment: Deployment, id: str) -> ScheduledExport:
    engine = open_engine(deployment.source.url)
    try:
        return get_schedule(engine, id)
    finally:
        engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"dataset": "takeof"}, "dataset: 'takeof' is not one of .*Did you mean takeoff"),
        ({"format": "exel"}, "format: 'exel' is not one of csv, excel, .*Did you mean excel"),
        ({"dataset": "properties"}, "export_window: nothing says which rows of properties .*add a window"),
        ({"scope": None}, "scope: it is missing. Say whose rows"),
        ({"scope": "nobody"}, "scope: takeoff has no scope 'nobody'"),
        ({"dataset": "sellers", "scope": "x"}, "scope: sellers has no scopes; leave it out"),
        ({"options": '{"group_by": "x"}'}, "group_by: it must be 'condition', 'page' or 'category'"),
        (
            {
                "dataset": "records",
                "options": '{"parts": {"max_rows": 1000}}',
                "additional_formats": '["json"]',
            },
            "parts: json is always one file; parts are for csv",
        ),
        ({"filters": '{"statuss": {"equals": 1}}'}, "options: There is no option filters; there are "),
        ({"timezone": "Europe/Berlim"}, "timezone: .*did you mean Europe/Berlin"),
        ({"recipients": '["ann"]'}, "recipients: 'ann' is not a mail address"),
        ({"recipients": json.dumps([" " * 400_000])}, "recipients: '…?' has 400,000 characters"),
        ({"recipients": '["ann@-a-"]'}, "recipients: 'ann@-a-' has the impossible domain '-a-'"),
    ],
)
def test_a_schedule_that_can_never_work_is_set_inactive_at_once(
    deployment: Deployment, ledger: Ledger, row: dict[str, Any], message: str
) -> None:
    broken, right = insert(deployment, **row), insert(deployment)
    assert look(deployment) == "No schedule is due."
    schedule = schedule_of(deployment, broken)
    assert not schedule.active
    assert re.match(message, str(schedule.problem))
    assert schedule_of(deployment, right).active
    (job,) = ledger.find()
    assert (job.status, job.error_code, job.schedule_id) == (Status.FAILED, "schedule_broken", broken)
    look(deployment)
    assert len(ledger.find()) == 1


def test_schedules_take_the_addresses_that_requests_take(deployment: Deployment, ledger: Ledger) -> None:
    written = ["Zoë <zoe@example.org>", "李雷 <lei@例え.example>", "ann@example.org"]
    schedule = insert(deployment, recipients=json.dumps(written, ensure_ascii=False))
    look(deployment)
    assert schedule_of(deployment, schedule).active
    check_addresses(written)


def test_once_corrected_it_goes_on_by_itself(deployment: Deployment, ledger: Ledger) -> None:
    id = insert(deployment, scope="nobody")
    look(deployment)
    deployment.source.rows(f"UPDATE scheduled_exports SET scope = '{deployment.scope}' WHERE id = '{id}'")
    look(deployment)
    schedule = schedule_of(deployment, id)
    assert (schedule.active, schedule.problem) == (True, None)
    assert schedule.next_run is not None


def test_a_source_that_is_away_is_no_fault_of_a_schedule(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export_pipeline.datasets import scopes
    from export_pipeline.sources.snapshot import SourceUnavailableError

    def away(*_: Any, **__: Any) -> None:
        raise SourceUnavailableError("away")

    id = insert(deployment, scope="nobody")
    with monkeypatch.context() as patch:
        patch.setattr(scopes, "open_snapshot", away)
        look(deployment)
    assert schedule_of(deployment, id).active
    assert ledger.find() == []


def test_a_check_that_hangs_is_its_schedule_s_fault_alone(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = insert(deployment, owner="slow@example.org"), insert(deployment)
    monkeypatch.setattr(requests, "CHECK_SECONDS", 0.5)

    def typed_options(*given: Any, **options: Any) -> Any:
        while options["requested_by"]:
            pass
        return check_options(*given, **options)

    monkeypatch.setattr(schedules, "typed_options", typed_options)
    look(deployment)
    assert "cannot be checked within 0.5 seconds" in str(schedule_of(deployment, slow).problem)
    assert schedule_of(deployment, quick).active
