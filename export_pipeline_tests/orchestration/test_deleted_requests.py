"""Requests that are deleted while a run is under way for them, or before it is executed again."""

from __future__ import annotations

import pytest

from export_pipeline.jobs import Ledger, Status
from export_pipeline.orchestration import store_io_manager
from export_pipeline.orchestration.runs import heartbeat
from export_pipeline_tests.orchestration.deployment import Deployment, failures
from export_pipeline_tests.orchestration.requesting import insert, launch, tick


def delete(ledger: Ledger, id: str) -> None:
    ledger.canceled(id)
    ledger.delete(id, lambda key: None)


@pytest.mark.slow
def test_a_run_whose_request_was_deleted_says_what_to_do(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        heartbeat, "is_still_requested", lambda *_: True
    )  # on a busy machine it interrupts first
    id = insert(deployment, scope=deployment.source.scopes[0])
    (request,) = tick(deployment)
    delete(ledger, id)
    (message,) = set(failures(launch(deployment, request)).values())
    assert message.startswith(f"Export job {id}, for which this run was started, was deleted")
    assert "request it again" in message


@pytest.mark.slow
def test_the_other_request_of_a_run_gets_its_file(deployment: Deployment, ledger: Ledger) -> None:
    ids = sorted(insert(deployment, scope=deployment.source.scopes[0]) for _ in range(2))
    (request,) = tick(deployment)
    delete(ledger, ids[0])
    assert launch(deployment, request).success
    assert ledger.get(ids[1]).status is Status.COMPLETED


@pytest.mark.slow
def test_the_file_of_a_request_that_is_deleted_meanwhile_goes(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = insert(deployment, scope=deployment.source.scopes[0])
    (request,) = tick(deployment)
    published: list[str] = []

    def complete(*_: object) -> None:
        published.extend(file.key for file in deployment.store.list("exports/"))
        delete(ledger, id)

    monkeypatch.setattr(store_io_manager, "complete_jobs", complete)
    (message,) = failures(launch(deployment, request)).values()
    assert f"{id}, for which this run was started, was deleted" in message
    assert published
    assert list(deployment.store.list("exports/")) == []
