"""Messages of a queue become requests, each once; wrong ones go to the dead letters."""

import json
import logging
import math
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from export_pipeline.components.loading import datasets
from export_pipeline.health.services import queue_findings
from export_pipeline.intake import sqs as intake
from export_pipeline.intake.messages import MessageError, parse_message
from export_pipeline.intake.sqs import QueueError, receive_requests
from export_pipeline.jobs import Ledger, LedgerUnavailableError
from export_pipeline.settings import Settings, SettingsError, load_settings
from export_pipeline_tests.jobs.database import Database

declared = cache(datasets)
"""The sample datasets, read once."""

TYPES = {"SOW": "sow_library:base"}
EXPORT = {
    "message": "TABLE_EXPORT",
    "data": {"fileType": "XLSX", "type": "CLIENT_SOW", "exportId": "e-1", "userId": "u-1", "scope": "t-1",
             "filters": {"status": "ACTIVE", "client_id": ["c1", "c2"]}},
}  # fmt: skip
BODY = {"exportId": "e-2", "dataset": "records", "format": "csv", "scope": "a", "requested_by": "ann"}


@dataclass(slots=True)
class Queue:
    """A queue, and its dead letters after two receipts."""

    client: Any
    url: str
    dead_url: str
    settings: Settings
    receipts: set[str] = field(default_factory=set)

    def send(self, *bodies: Any) -> None:
        for body in bodies:
            text = body if isinstance(body, str) else json.dumps(body)
            self.client.send_message(QueueUrl=self.url, MessageBody=text)

    def take(self, ledger: Ledger) -> dict[str, int]:
        return dict(receive_requests(ledger, declared(), self.settings, math.inf, Recording(self)))

    def show_again(self) -> None:
        """End the time for which nobody else gets the messages that were received and not deleted."""
        for receipt in self.receipts:
            self.client.change_message_visibility(
                QueueUrl=self.url, ReceiptHandle=receipt, VisibilityTimeout=0
            )
        self.receipts.clear()

    def left(self, url: str | None = None) -> tuple[int, int]:
        """Return the numbers of messages that wait and that are being handled."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = self.client.get_queue_attributes(QueueUrl=url or self.url, AttributeNames=names)[
            "Attributes"
        ]
        return int(attributes[names[0]]), int(attributes[names[1]])


class Recording:
    """A client that remembers which messages were received and not deleted."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.change_message_visibility = queue.client.change_message_visibility

    def receive_message(self, **asked: Any) -> Any:
        answer = self._queue.client.receive_message(**asked)
        self._queue.receipts |= {message["ReceiptHandle"] for message in answer.get("Messages", [])}
        return answer

    def delete_message(self, **asked: Any) -> None:
        self._queue.client.delete_message(**asked)
        self._queue.receipts.discard(asked["ReceiptHandle"])


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def queue(server: str, monkeypatch: pytest.MonkeyPatch) -> Queue:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setattr(intake, "_WAIT_SECONDS", 0)
    client = boto3.client("sqs", endpoint_url=server, region_name="eu-west-1")
    name = secrets.token_hex(6)
    dead = client.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    target = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": target, "maxReceiveCount": "2"})
    url = client.create_queue(QueueName=name, Attributes={"RedrivePolicy": policy})["QueueUrl"]
    settings = Settings.model_validate({"queue_url": url, "queue_types": TYPES, "s3_region": "eu-west-1"})
    return Queue(client, url, dead, settings)


@pytest.mark.slow
def test_both_kinds_of_messages_become_requests(queue: Queue, ledger: Ledger) -> None:
    queue.send(EXPORT, {**BODY, "preset": "essential", "sort": ["-sale_date"], "priority": 3})
    assert queue.take(ledger) == {"taken": 2}
    theirs, plain = sorted(ledger.find(), key=lambda job: job.dataset)
    assert (theirs.dataset, theirs.format, theirs.scope) == ("client_sow", "excel", "t-1")
    assert (theirs.requested_by, theirs.idempotency_key) == ("u-1", "e-1")
    assert theirs.filters == {"status": {"equals": "ACTIVE"}, "client_id": {"in": ["c1", "c2"]}}
    assert (plain.dataset, plain.format, plain.scope, plain.priority) == ("records", "csv", "a", 3)
    assert (plain.requested_by, plain.idempotency_key) == ("ann", "e-2")
    assert plain.options == {"preset": "essential", "sort": ["-sale_date"]}
    assert queue.left() == (0, 0)


def test_a_message_that_comes_again_is_the_same_request(queue: Queue, ledger: Ledger) -> None:
    queue.send(EXPORT, EXPORT)
    assert queue.take(ledger) == {"taken": 2}
    queue.send(EXPORT)
    assert queue.take(ledger) == {"taken": 1}
    assert len(ledger.find()) == 1


def test_several_formats_are_an_export_each(queue: Queue, ledger: Ledger) -> None:
    body = {**BODY, "format": None, "formats": ["csv", "pdf"]}
    queue.send(body, body)
    assert queue.take(ledger) == {"taken": 2}
    assert {(job.format, job.idempotency_key) for job in ledger.find()} == {
        ("csv", "e-2:csv"),
        ("pdf", "e-2:pdf"),
    }


@pytest.mark.slow
def test_a_message_may_name_a_format_by_an_alias(queue: Queue, ledger: Ledger) -> None:
    body = {**BODY, "dataset": "occurrences", "format": "occurrences_api_json"}
    theirs = {"message": "TABLE_EXPORT", "data": {**EXPORT["data"], "type": "OCCURRENCES"}}
    theirs["data"] |= {"fileType": "occurrences_simple_csv", "exportId": "e-9"}
    queue.send(body, theirs)
    assert queue.take(ledger) == {"taken": 2}
    assert {job.format for job in ledger.find()} == {"occurrences_api_json", "occurrences_simple_csv"}


WRONG = {
    "not JSON": ("{", "is not JSON"),
    "deep": ("[" * 100_000, "is not JSON"),
    "a list": ("[]", "The message: "),
    "another message": ({"message": "TABLE_IMPORT", "data": {}}, "message: "),
    "no id": ({**BODY, "exportId": ""}, "exportId: "),
    "a misspelt field": ({**BODY, "filter": {}}, "filter: "),
    "a field too many": ({**EXPORT, "data": {**EXPORT["data"], "tenantId": "x"}}, "data.tenantId: "),  # type: ignore[dict-item]
    "no format": ({**BODY, "format": None}, "name either format or formats"),
    "an unknown dataset": ({**BODY, "dataset": "nope"}, "There is no dataset 'nope'"),
    "an unknown type": ({**EXPORT, "data": {**EXPORT["data"], "type": "X"}}, "There is no dataset 'x'"),  # type: ignore[dict-item]
    "an unknown format": ({**BODY, "format": "ost"}, "records has no format 'ost'"),
    "somebody else": ({**BODY, "options": {"requested_by": "boss"}}, "options.requested_by"),
    "a schedule's option": ({**BODY, "options": {"window": {}}}, "options.window"),
    "NUL": ({**BODY, "scope": "a\x00"}, "hold a NUL"),
    "an unknown webhook": (
        {**BODY, "webhook_id": "7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11"},
        "no active webhook",
    ),
}


def test_wrong_messages_are_left_to_the_dead_letters_and_delay_nobody(
    queue: Queue, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    queue.send(*(body for body, _ in WRONG.values()), BODY)
    assert queue.take(ledger) == {"taken": 1, "left": len(WRONG)}
    for name, (_, message) in WRONG.items():
        assert any(message in record.getMessage() for record in caplog.records), name
    assert all("\n" not in record.getMessage() for record in caplog.records if record.name == intake.__name__)
    assert queue.left() == (0, len(WRONG))
    for _ in range(2):
        queue.show_again()
        queue.take(ledger)
    assert queue.left(queue.dead_url)[0] == len(WRONG)
    assert len(ledger.find()) == 1


def test_another_request_under_the_same_id_is_a_wrong_message(
    queue: Queue, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    queue.send(BODY)
    assert queue.take(ledger) == {"taken": 1}
    queue.send({**BODY, "format": "pdf"})
    assert queue.take(ledger) == {"left": 1}
    assert "'e-2' was used for another request (format differs)" in caplog.text
    assert [job.format for job in ledger.find()] == ["csv"]


def test_while_the_ledger_is_down_no_message_is_received(queue: Queue, ledger: Ledger) -> None:
    queue.send(BODY)
    with Ledger("postgresql://app:secret@127.0.0.1:1/jobs") as down, pytest.raises(LedgerUnavailableError):
        queue.take(down)
    assert queue.left() == (1, 0)
    assert queue.take(ledger) == {"taken": 1}


def test_messages_interrupted_by_an_outage_are_given_back(
    queue: Queue, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.send(*({**BODY, "exportId": f"e-{number}"} for number in range(5)))
    original, calls = Ledger.request, iter(range(99))

    def request(self: Ledger, *args: Any, **named: Any) -> Any:
        if next(calls) == 2:
            raise LedgerUnavailableError("The database went away.")
        return original(self, *args, **named)

    with monkeypatch.context() as outage:
        outage.setattr(Ledger, "request", request)
        with pytest.raises(LedgerUnavailableError):
            queue.take(ledger)
    assert queue.left() == (3, 0)
    assert queue.take(ledger) == {"taken": 3}
    assert len(ledger.find()) == 5


def test_a_slow_ledger_gives_the_rest_of_a_batch_back(
    queue: Queue, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.send(BODY, {**BODY, "exportId": "e-3"})
    monkeypatch.setattr(intake, "_HANDLED_SECONDS", -1)
    with pytest.raises(LedgerUnavailableError, match="too slow for the queue"):
        queue.take(ledger)
    assert queue.left() == (2, 0)


def test_a_process_that_dies_before_it_deletes_loses_and_doubles_nothing(
    queue: Queue, ledger: Ledger
) -> None:
    queue.send(BODY)

    class Dying(Recording):
        def delete_message(self, **_: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        receive_requests(ledger, declared(), queue.settings, math.inf, Dying(queue))
    assert queue.left() == (0, 1)
    queue.show_again()
    assert queue.take(ledger) == {"taken": 1}
    assert len(ledger.find()) == 1


@pytest.mark.slow
def test_two_daemons_make_one_request_of_each_message(
    queue: Queue, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue may give a message to both, which voids one receipt: then it comes once more, soon."""
    monkeypatch.setattr(intake, "VISIBILITY_SECONDS", 2)
    queue.send(*({**BODY, "exportId": f"e-{number}"} for number in range(30)))
    together = threading.Barrier(2)

    def take(_: int) -> int:
        with Ledger(database.url) as own:
            together.wait()
            return receive_requests(own, declared(), queue.settings, math.inf)["taken"]

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(take, range(2))) >= 30
    until = time.monotonic() + 240
    with Ledger(database.url) as again:
        while queue.left() != (0, 0):
            assert time.monotonic() < until
            receive_requests(again, declared(), queue.settings, math.inf)
    assert database.run("SELECT count(*) FROM export_jobs") == [(30,)]


def test_a_queue_that_cannot_be_used_is_named(queue: Queue, ledger: Ledger) -> None:
    for url in (queue.url + "x", "http://127.0.0.1:1/000/queue"):
        settings = queue.settings.model_copy(update={"queue_url": url})
        with pytest.raises(QueueError, match="EXPORT_QUEUE_URL: the queue cannot be used"):
            receive_requests(ledger, declared(), settings, math.inf)


def test_health_tells_of_a_queue_without_dead_letters_and_of_one_that_is_gone(queue: Queue) -> None:
    assert list(queue_findings(Settings.model_validate({}))) == list(queue_findings(queue.settings)) == []
    for url, code in [(queue.dead_url, "queue_without_dead_letters"), (queue.url + "x", "queue_unusable")]:
        (finding,) = queue_findings(queue.settings.model_copy(update={"queue_url": url}))
        assert (finding.code, finding.is_advice) == (code, code == "queue_without_dead_letters")


def test_amazons_own_queue_has_its_region_in_its_url() -> None:
    url = "https://sqs.eu-central-1.amazonaws.com/123456789012/exports"
    client = intake._client(Settings.model_validate({"queue_url": url}))
    assert client.meta.region_name == "eu-central-1"
    assert client.meta.endpoint_url == "https://sqs.eu-central-1.amazonaws.com"


@pytest.mark.parametrize("sort", ["services", ["-services"], None])
def test_a_type_may_name_a_preset(sort: Any) -> None:
    data = {"fileType": "PDF", "type": "SOW", "exportId": "e", "userId": "u", "sort": sort}
    (asked,) = parse_message(json.dumps({"message": "TABLE_EXPORT", "data": data}), TYPES)
    expected = {"sort": [sort] if isinstance(sort, str) else sort} if sort else {}
    assert (asked["dataset"], asked["format"]) == ("sow_library", "pdf")
    assert asked["options"] == {"preset": "base", **expected}


def test_the_setting_of_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_QUEUE_TYPES", "SOW=sow_library:base, RFP = rfp,")
    assert load_settings().queue_types == {"SOW": "sow_library:base", "RFP": "rfp"}
    monkeypatch.setenv("EXPORT_QUEUE_TYPES", "SOW")
    with pytest.raises(SettingsError, match="EXPORT_QUEUE_TYPES: must be TYPE=dataset"):
        load_settings()


def test_any_text_is_a_request_or_an_error_of_its_own() -> None:
    for text in (
        '""',
        "null",
        "1",
        '{"message": 1}',
        '{"data": {}}',
        '{"message": "TABLE_EXPORT", "data": 1}',
        "NaN",
    ):
        with pytest.raises(MessageError) as refused:
            parse_message(text, {})
        assert "\n" not in str(refused.value)
