"""Receives messages of an SQS queue, and writes their requests into the ledger.

A message is deleted once its rows are written. A message that is wrong is logged and left: the queue moves it
to its dead letters after as many receipts as its redrive policy says.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from export_pipeline.datasets.dataset import Exportable
from export_pipeline.datasets.requests import format_names
from export_pipeline.intake.messages import MessageError, parse_message
from export_pipeline.jobs import Ledger, LedgerError, LedgerUnavailableError
from export_pipeline.redaction import RedactedError

if TYPE_CHECKING:
    from export_pipeline.settings import Settings

VISIBILITY_SECONDS = 120
"""Time that nobody else gets a message that was received."""
_HANDLED_SECONDS = 60.0  # of these; the rest of a batch is given back then
_WAIT_SECONDS = 2
_BATCH = 10  # SQS allows no more

_logger = logging.getLogger(__name__)


class QueueError(RedactedError):
    """Raised when the queue cannot be used. The message names the setting."""


def receive_requests(
    ledger: Ledger,
    datasets: Mapping[str, Exportable],
    settings: Settings,
    until: float,
    client: Any = None,
) -> Counter[str]:
    """Receive messages until the queue is empty; return their number by result.

    Args:
        datasets: The datasets that a message may name.
        until: Time of `time.monotonic` after which no further batch is received.
        client: A boto3 SQS client; None makes one.

    Returns:
        Number of messages that were `taken`, and that were `left`, as they are wrong.

    Raises:
        QueueError: the queue cannot be used.
        LedgerUnavailableError: the ledger's database cannot be reached.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    ledger.now()  # each receipt counts towards the dead letters, so none is made in vain
    counts: Counter[str] = Counter()
    try:
        client = client or _client(settings)
        while time.monotonic() < until:
            answer = client.receive_message(
                QueueUrl=settings.queue_url,
                MaxNumberOfMessages=_BATCH,
                VisibilityTimeout=VISIBILITY_SECONDS,
                WaitTimeSeconds=_WAIT_SECONDS,
            )
            batch = answer.get("Messages", [])
            if not batch:
                break
            _handle(ledger, datasets, settings, client, batch, counts)
    except (BotoCoreError, ClientError) as error:
        raise QueueError(f"EXPORT_QUEUE_URL: the queue cannot be used: {error}") from error
    return counts


def has_dead_letters(settings: Settings) -> bool:
    """Return whether the queue has a redrive policy.

    Raises:
        QueueError: the queue cannot be used.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = _client(settings).get_queue_attributes(
            QueueUrl=settings.queue_url, AttributeNames=["RedrivePolicy"]
        )
    except (BotoCoreError, ClientError) as error:
        raise QueueError(f"EXPORT_QUEUE_URL: the queue cannot be used: {error}") from error
    return "RedrivePolicy" in answer.get("Attributes", {})


def _handle(
    ledger: Ledger,
    datasets: Mapping[str, Exportable],
    settings: Settings,
    client: Any,
    batch: list[dict[str, Any]],
    counts: Counter[str],
) -> None:
    """Write the requests of a batch, and delete or leave each message. What was not handled is given back."""
    begun = time.monotonic()
    for number, message in enumerate(batch):
        try:
            if time.monotonic() - begun > _HANDLED_SECONDS:
                raise LedgerUnavailableError("The ledger is too slow for the queue; the next tick goes on.")
            for request in parse_message(message["Body"], settings.queue_types):
                _check(datasets, request)
                ledger.request(**request)
        except LedgerUnavailableError:
            for rest in batch[number:]:
                client.change_message_visibility(
                    QueueUrl=settings.queue_url, ReceiptHandle=rest["ReceiptHandle"], VisibilityTimeout=0
                )
            raise
        except (MessageError, LedgerError) as error:
            counts["left"] += 1
            _logger.warning("Message %s is left to the dead letters: %s", message.get("MessageId"), error)
            continue
        client.delete_message(QueueUrl=settings.queue_url, ReceiptHandle=message["ReceiptHandle"])
        counts["taken"] += 1


def _check(datasets: Mapping[str, Exportable], request: Mapping[str, Any]) -> None:
    """Refuse what this deployment cannot export. The rest is checked when the request is claimed."""
    dataset = datasets.get(request["dataset"])
    if dataset is None:
        raise MessageError(f"There is no dataset {request['dataset']!r}; there are {', '.join(datasets)}.")
    if request["format"] not in (names := format_names(dataset)):
        there = ", ".join(names)
        raise MessageError(f"{request['dataset']} has no format {request['format']!r}; it has {there}.")


def _client(settings: Settings) -> Any:
    """Return a client for the server that the queue's URL names."""
    from boto3.session import Session
    from botocore.config import Config

    url = urlsplit(settings.queue_url or "")
    host = url.hostname or ""
    is_amazon = host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    region = settings.s3_region or (host.split(".")[1] if host.startswith("sqs.") and is_amazon else None)
    config = Config(connect_timeout=5, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 2})
    endpoint = None if is_amazon else f"{url.scheme}://{url.netloc}"
    return Session(region_name=region).client("sqs", endpoint_url=endpoint, config=config)
