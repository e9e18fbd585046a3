"""The commands of webhooks."""

import pytest

from export_pipeline.delivery.webhooks.send import deliver_due
from export_pipeline.jobs import Ledger
from export_pipeline.jobs.database import open_engine
from export_pipeline.settings import load_settings
from export_pipeline_tests.cli.stored import NOBODY
from export_pipeline_tests.commands import Command
from export_pipeline_tests.delivery.webhook_receiver import webhook_receiver

KEY = "a key that is made up for these tests only"


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch, ledger: Ledger) -> Ledger:
    monkeypatch.setenv("EXPORT_WEBHOOK_KEY", KEY)
    monkeypatch.setenv("EXPORT_WEBHOOK_HTTP", "true")
    monkeypatch.setenv("EXPORT_WEBHOOK_NETWORKS", "127.0.0.1/32, 10.0.0.0/8")
    return ledger


def test_a_webhook_from_its_registration_to_its_end(command: Command, allowed: Ledger) -> None:
    assert command("webhooks").out == "Nothing.\n"
    with webhook_receiver() as receiver:
        url = receiver.url.replace("receiver.example", "127.0.0.1")
        made = command("webhooks", "create", url, "--scope", "a", "--event", "export.canceled", "--json").json
        assert made["secret"].startswith("whsec_")
        assert made["events"] == ["export.canceled"]
        listed = command("webhooks", "list")
        assert url in listed.out
        assert made["secret"] not in listed.out + command("webhooks", "list", "--json").out
        assert command("webhooks", "test", made["id"]).out == "delivered: 204\n"
        receiver.answer = lambda post: (500, {})
        failed = command("webhooks", "test", made["id"])
        assert (failed.code, failed.out) == (1, "failed: The receiver answered 500.\n")
        allowed.canceled(allowed.request("takeoff", "csv", scope="a").id)
        engine = open_engine(load_settings().jobs_url)
        assert deliver_due(engine, load_settings()) == {"postponed": 1}
        engine.dispose()
    (waiting,) = command("webhooks", "deliveries", made["id"], "--status", "pending", "--json").json
    assert (waiting["tries"], waiting["http_status"]) == (1, 500)
    assert "The receiver answered 500." in command("webhooks", "deliveries").out
    again = command("webhooks", "rotate", made["id"], "--overlap-hours", "1", "--json").json
    assert again["secret"] not in (made["secret"], "")
    assert command("webhooks", "revoke", made["id"]).out == f"{made['id']}: Revoked.\n"
    assert "off: It was revoked." in command("webhooks").out


def test_each_mistake_is_reported_in_one_sentence(
    command: Command, allowed: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments, code, message in [
        (("create", "ftp://h.example/"), 2, "begins with https://"),
        (("create", "http://169.254.169.254/latest"), 2, "has no public address"),
        (("create", "http://127.0.0.1/", "--event", "export.begun"), 1, "There is no event export.begun"),
        (("create", "http://127.0.0.1/", "--viewer-scope", "a"), 2, "--scope must be one of --viewer-scope"),
        (("test", NOBODY), 1, f"There is no webhook {NOBODY}."),
        (("deliveries", "x"), 1, "There is no webhook x."),
    ]:  # fmt: skip
        ended = command("webhooks", *arguments)
        assert (ended.code, ended.err.count("\n")) == (code, 1), arguments
        assert message in ended.err
    monkeypatch.delenv("EXPORT_WEBHOOK_KEY")
    ended = command("webhooks", "create", "http://127.0.0.1/")
    assert (ended.code, "EXPORT_WEBHOOK_KEY is not set" in ended.err) == (2, True)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("KEY", "short", "at least 32 characters"),
        ("NETWORKS", "10.0.0.0/8, nets", "'nets' does not appear to be an IPv4 or IPv6 network"),
        ("HTTP", "perhaps", "valid boolean"),
    ],
)
def test_a_wrong_setting_is_named(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(f"EXPORT_WEBHOOK_{name}", value)
    ended = command("webhooks")
    assert ended.code == 2
    assert ended.err.startswith(f"Error: EXPORT_WEBHOOK_{name}")
    assert message in ended.err
