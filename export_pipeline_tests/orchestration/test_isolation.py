"""A request for one scope never gets another's rows, whatever its row of the ledger says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from export_pipeline.datasets.partition_keys import scope_of_key
from export_pipeline.delivery.send import deliver_due
from export_pipeline.jobs import Ledger, Status
from export_pipeline.jobs.database import open_engine
from export_pipeline.settings import load_settings
from export_pipeline_tests.delivery.mail_server import MailServer
from export_pipeline_tests.orchestration.deployment import Deployment
from export_pipeline_tests.orchestration.requesting import insert, launch, tick

pytestmark = pytest.mark.slow


def run_all(deployment: Deployment) -> None:
    for request in tick(deployment):
        launch(deployment, request)
    engine = open_engine(deployment.source.url)
    deliver_due(engine, deployment.store, load_settings())
    engine.dispose()


def names(deployment: Deployment, scope: str) -> set[str]:
    """Return values that only this scope's rows hold: the ids of its conditions."""
    return {
        str(id) for (id,) in deployment.source.rows(f"SELECT id FROM conditions WHERE project_id = '{scope}'")
    }


def attached(mails: MailServer, address: str) -> list[str]:
    return [
        part.get_payload(decode=True).decode()  # type: ignore[union-attr]
        for to, mail in mails.mails
        if to == address
        for part in mail.iter_attachments()
    ]


def test_two_scopes_that_ask_alike_get_a_run_a_file_and_a_mail_each(
    deployment: Deployment, ledger: Ledger, mails: MailServer
) -> None:
    mine, theirs = deployment.source.scopes
    for scope, to in ((mine, "a@example.org"), (theirs, "b@example.org")):
        insert(deployment, format="json", scope=scope, requested_by="app", recipients=json.dumps([to]))
    run_all(deployment)
    assert {job.status for job in ledger.find()} == {Status.COMPLETED}
    assert len({job.run_id for job in ledger.find()}) == 2
    for scope, other, to in ((mine, theirs, "a@example.org"), (theirs, mine, "b@example.org")):
        (text,) = attached(mails, to)
        assert scope in text
        assert other not in text
        assert any(id in text for id in names(deployment, scope))
        assert not any(id in text for id in names(deployment, other))


@pytest.mark.parametrize(
    "row",
    [
        {"options": '{"scope": "THEIRS"}'},
        {"options": '{"project_id": "THEIRS"}'},
        {"options": '{"window": {"name": "../../THEIRS/x", "start": "2026-01-01", "end": "2026-02-01"}}'},
        {"options": '{"owners": ["a@example.org"], "empty": "send"}'},
        {"filters": '{"project_id": {"equals": "THEIRS"}}'},
        {"filters": '{"project_id": "THEIRS\' OR 1=1 --"}'},
        {"columns": '["THEIRS"]'},
        {"window_key": "daily/2026-02-02"},
        {"requested_by": "THEIRS", "priority": "99"},
    ],
)
def test_no_part_of_a_request_reaches_another_scope(
    deployment: Deployment, ledger: Ledger, mails: MailServer, row: dict[str, Any]
) -> None:
    mine, theirs = deployment.source.scopes
    values = {name: value.replace("THEIRS", theirs) for name, value in row.items()}
    id = insert(deployment, format="json", scope=mine, recipients='["a@example.org"]', **values)
    run_all(deployment)
    job = ledger.get(id)
    assert job.status in (Status.COMPLETED, Status.FAILED)
    assert all(key.startswith(f"exports/{mine}/") for key in deployment.stored())
    for text in attached(mails, "a@example.org"):
        assert not any(id in text for id in names(deployment, theirs))
    assert (job.status is Status.COMPLETED) == (
        len(mails.mails) == 1 and bool(attached(mails, "a@example.org"))
    )


def test_a_request_for_a_window_of_another_scope_is_one_for_its_own(
    deployment: Deployment, ledger: Ledger
) -> None:
    """By the very id that the other scope's window will have."""
    from export_pipeline.schedules.cadence_requests import CadenceWindow

    mine, theirs = deployment.source.scopes
    id = CadenceWindow("takeoff", "daily", "2026-02-02", theirs).job_id("csv")
    insert(deployment, id=id, scope=mine, window_key="daily/2026-02-02")
    (request,) = tick(deployment)
    assert scope_of_key(str(request.partition_key)) == mine
    assert launch(deployment, request).success
    assert all(key.startswith(f"exports/{mine}/{id}.csv") for key in deployment.stored())
