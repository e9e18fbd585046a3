"""Limits: calls of one caller, and exports of one scope that wait."""

from export_pipeline.settings import Settings
from export_pipeline_tests.api.service import serving
from export_pipeline_tests.api.test_exports import ask, problem


def test_a_caller_who_calls_too_often_is_told_to_wait_and_others_are_not(settings: Settings) -> None:
    with serving(settings.model_copy(update={"api_calls_per_second": 3})) as service:
        hasty, calm = service.client(), service.client()
        answers = [hasty.get("/v1/exports") for _ in range(30)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) > 10
        assert problem(refused[0]) == (429, "too_many_requests")
        assert int(refused[0].headers["retry-after"]) >= 1
        assert calm.get("/v1/exports").status_code == 200


def test_a_scope_has_only_so_many_exports_that_wait(settings: Settings, accounts: list[str]) -> None:
    with serving(settings.model_copy(update={"api_max_pending": 2})) as service:
        client = service.client()
        first = ask(client, accounts[0])
        ask(client, accounts[0])
        body = {"dataset": "records", "format": "csv", "scope": accounts[0]}
        assert problem(client.post("/v1/exports", json=body)) == (429, "too_many_requests")
        ask(client, accounts[1])
        service.complete(first["id"])
        ask(client, accounts[0])


def test_the_same_ask_again_is_no_export_more(settings: Settings, accounts: list[str]) -> None:
    with serving(settings.model_copy(update={"api_max_pending": 1})) as service:
        client, key = service.client(), {"Idempotency-Key": "lost answer"}
        body = {"dataset": "records", "format": "csv", "scope": accounts[0]}
        first = client.post("/v1/exports", json=body, headers=key).json()
        again = client.post("/v1/exports", json=body, headers=key)
        assert (again.status_code, again.json()["id"]) == (202, first["id"])
        assert problem(client.post("/v1/exports", json=body)) == (429, "too_many_requests")
        stranger = service.client(name="stranger", scopes=[accounts[1]])
        assert (
            stranger.post("/v1/exports", json=body | {"scope": accounts[1]}, headers=key).status_code == 202
        )
