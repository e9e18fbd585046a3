"""Webhooks by HTTP: registered with a checked address, tested, and only for what their maker may see."""

import json
from collections.abc import Iterator

import pytest
from standardwebhooks import Webhook as Verifier

from export_pipeline.settings import Settings
from export_pipeline_tests.api.service import Running, serving
from export_pipeline_tests.api.test_exports import ask, problem
from export_pipeline_tests.delivery.webhook_receiver import Receiver, webhook_receiver

ALL = ["webhooks:read", "webhooks:write", "exports:read", "exports:write"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with webhook_receiver() as receiver:
        receiver.url = receiver.url.replace("receiver.example", "127.0.0.1")
        yield receiver


@pytest.fixture
def hooked(settings: Settings) -> Iterator[Running]:
    """A service that may tell receivers on this machine."""
    allowed = Settings.model_validate(
        {
            "webhook_key": "a key that is made up for these tests only",
            "webhook_networks": "127.0.0.0/8",
            "webhook_http": True,
        }
    )
    names = ("webhook_key", "webhook_networks", "webhook_http")
    with serving(settings.model_copy(update={name: getattr(allowed, name) for name in names})) as running:
        yield running


def test_a_webhook_is_registered_tested_rotated_and_revoked(hooked: Running, receiver: Receiver) -> None:
    client = hooked.client(*ALL)
    answer = client.post("/v1/webhooks", json={"url": receiver.url, "events": ["export.failed"]})
    assert answer.status_code == 201, answer.text
    made, url = answer.json(), answer.headers["location"]
    assert made["secret"].startswith("whsec_")
    assert "secret" not in client.get(url).json()
    tested = client.post(f"{url}/test").json()
    assert (tested["status"], tested["http_status"]) == ("delivered", 204)
    post = receiver.posts[-1]
    assert json.loads(post.body)["type"] == "export.test"
    Verifier(made["secret"]).verify(post.body, post.headers)
    rotated = client.patch(url, json={"rotate_secret": True}).json()
    assert rotated["secret"] != made["secret"]
    assert [one["id"] for one in client.get(f"{url}/deliveries").json()["data"]] == [tested["id"]]
    assert client.delete(url).status_code == 204
    assert not client.get(url).json()["active"]


def test_addresses_that_are_not_allowed_are_refused(hooked: Running) -> None:
    client = hooked.client(*ALL)
    for url in (
        "https://10.0.0.1/",
        "http://169.254.169.254/latest",
        "ftp://example.org/",
        "https://a:b@example.org/",
        "x",
    ):
        answer = client.post("/v1/webhooks", json={"url": url})
        assert problem(answer) == (422, "invalid_webhook"), url
        assert answer.json()["errors"][0]["pointer"] == "/url"


@pytest.mark.slow
def test_a_request_names_a_webhook_that_its_caller_may_see(
    hooked: Running, receiver: Receiver, accounts: list[str]
) -> None:
    client = hooked.client(*ALL)
    hook = client.post("/v1/webhooks", json={"url": receiver.url, "scope": accounts[0]}).json()["id"]
    assert ask(client, accounts[0], webhook_id=hook)["webhook_id"] == hook
    body = {"dataset": "records", "format": "csv", "scope": accounts[1], "webhook_id": hook}
    foreign = hooked.client(*ALL, scopes=[accounts[1]]).post("/v1/exports", json=body)
    assert problem(foreign) == (422, "invalid_options")
    assert foreign.json()["errors"][0]["pointer"] == "/webhook_id"


@pytest.mark.slow
def test_a_webhook_hears_only_of_exports_that_its_owner_may_see(
    hooked: Running, receiver: Receiver, accounts: list[str]
) -> None:
    url = hooked.client(*ALL).post("/v1/webhooks", json={"url": receiver.url}).headers["location"]
    limited = hooked.client(*ALL, scopes=[accounts[0]])
    assert limited.get("/v1/webhooks").json()["data"] == []
    for method, path, body in (
        ("GET", "", None), ("PATCH", "", {"rotate_secret": True}), ("DELETE", "", None), ("POST", "/test", None),
        ("GET", "/deliveries", None),
    ):  # fmt: skip
        assert problem(limited.request(method, url + path, json=body)) == (404, "not_found"), (method, path)
        without = hooked.client("exports:read")
        assert problem(without.request(method, url + path, json=body)) == (403, "forbidden"), (method, path)
    assert problem(limited.post("/v1/webhooks", json={"url": receiver.url})) == (422, "no_scope")
    foreign = {"url": receiver.url, "scope": accounts[1]}
    assert problem(limited.post("/v1/webhooks", json=foreign)) == (404, "not_found")
    person = hooked.client(*ALL, acts_for="ann@example.org")
    assert person.post("/v1/webhooks", json={"url": receiver.url}).json()["named_only"]


def test_a_webhook_without_a_signing_key_is_refused(service: Running) -> None:
    answer = service.client(*ALL).post("/v1/webhooks", json={"url": "https://example.org/"})
    assert answer.status_code in (409, 422)


def test_a_webhook_is_changed_switched_off_and_on_and_never_after_it_was_revoked(
    hooked: Running, receiver: Receiver, accounts: list[str]
) -> None:
    client = hooked.client(*ALL)
    url = client.post("/v1/webhooks", json={"url": f"{receiver.url}/old"}).headers["location"]
    changed = client.patch(url, json={"url": receiver.url, "events": ["export.canceled"]}).json()
    assert (changed["url"], changed["events"], changed["secret"]) == (receiver.url, ["export.canceled"], None)
    assert client.patch(url, json={}).json() == changed

    def cancel() -> int:
        client.post(f"/v1/exports/{ask(client, accounts[0])['id']}/cancel")
        return len(client.get(f"{url}/deliveries").json()["data"])

    assert cancel() == 1
    assert client.patch(url, json={"active": False}).json()["active"] is False
    assert cancel() == 1
    assert client.patch(url, json={"active": True}).json()["active"] is True
    assert cancel() == 2
    refused = client.patch(url, json={"url": "http://169.254.169.254/latest"})
    assert problem(refused) == (422, "invalid_webhook")
    for wrong in ({"events": []}, {"events": ["export.started"]}, {"active": "?"}, {"secret": "x"}):
        assert client.patch(url, json=wrong).status_code == 422
    assert client.get(url).json()["url"] == receiver.url
    client.delete(url)
    assert problem(client.patch(url, json={"active": True})) == (409, "state_conflict")
    assert client.get(url).json()["problem"] == "It was revoked."


def test_a_webhook_takes_the_name_of_a_scope(
    hooked: Running, accounts: list[str], receiver: Receiver
) -> None:
    client = hooked.client(*ALL)
    name = hooked.app.state.service.scopes.of(hooked.app.state.service.datasets["records"])[accounts[0]]
    for body in ({"scope": name}, {"scope": name, "dataset": "records"}, {"scope": accounts[0]}):
        made = client.post("/v1/webhooks", json={"url": receiver.url, **body})
        assert made.status_code == 201, made.text
        assert made.json()["scope"] == accounts[0]
