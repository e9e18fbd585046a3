"""Sends the webhook deliveries that are due. Any number of senders may run at once."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import math
import os
import ssl
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import certifi
import httpx
import sqlalchemy as sa
from standardwebhooks import Webhook as Signer

from export_pipeline.delivery.webhooks import queue as rows
from export_pipeline.delivery.webhooks.addresses import (
    Resolve,
    WebhookAddressError,
    checked_addresses,
    parse_url,
    port_of,
    resolve,
)
from export_pipeline.delivery.webhooks.endpoints import Webhook, address_rules, secrets_of
from export_pipeline.jobs import Job, LedgerError
from export_pipeline.redaction import hide_in_error

if TYPE_CHECKING:
    from export_pipeline.settings import Settings

TRY_SECONDS = 15.0
"""Time limit of one try: connection, request and the head of the answer."""

_SENDERS = 8
_PER_WEBHOOK = 2  # so that one slow receiver does not delay the others
_OK, _GONE = range(200, 300), 410

_logger = logging.getLogger(__name__)


class TryError(Exception):
    """Raised when a receiver did not take a delivery. The message is for people.

    Attributes:
        http_status: Status of the answer; None if there was none.
        retry_after: Time that the receiver asks to wait.
    """

    def __init__(
        self, message: str, http_status: int | None = None, retry_after: timedelta = timedelta(0)
    ) -> None:
        super().__init__(message)
        self.http_status, self.retry_after = http_status, retry_after


@dataclass(slots=True)
class _Sender:
    """Sends the deliveries of one call, from several threads."""

    engine: sa.Engine
    settings: Settings
    until: float
    resolve: Resolve
    counts: Counter[str] = field(default_factory=Counter)
    _busy: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def work(self) -> None:
        """Send deliveries until none is due or the time is over."""
        while time.monotonic() < self.until:
            with self._lock:
                busy = [webhook for webhook, count in self._busy.items() if count >= _PER_WEBHOOK]
                claimed = rows.claim(self.engine, busy)
                if claimed is None:
                    return
                self._busy[claimed[1].id] += 1
            try:
                result = deliver(self.engine, self.settings, *claimed, resolve=self.resolve)
            finally:
                with self._lock:
                    self._busy[claimed[1].id] -= 1
            with self._lock:
                self.counts[result] += 1


def deliver_due(
    engine: sa.Engine, settings: Settings, until: float = math.inf, resolve: Resolve = resolve
) -> Counter[str]:
    """Send the due deliveries, and return their number by result: delivered, postponed, failed, skipped.

    Args:
        engine: Engine of the ledger's database.
        until: Time of `time.monotonic` after which no further delivery is started.

    Raises:
        WebhookKeyError: EXPORT_WEBHOOK_KEY is not set, and a delivery is due.
        LedgerError: the ledger cannot be read or written.
    """
    sender = _Sender(engine, settings, until, resolve)
    if rows.is_due(engine):
        with ThreadPoolExecutor(_SENDERS, "webhooks") as pool:
            for worker in [pool.submit(sender.work) for _ in range(_SENDERS)]:
                worker.result()
    return sender.counts


def deliver(
    engine: sa.Engine,
    settings: Settings,
    delivery: rows.Delivery,
    webhook: Webhook,
    job: Job | None,
    now: datetime,
    *,
    resolve: Resolve = resolve,
) -> str:
    """Send a claimed delivery, record the result and return it: delivered, postponed, failed or skipped."""
    if not webhook.active:
        rows.skip(engine, delivery, "The webhook is switched off.")
        return "skipped"
    try:
        secrets = secrets_of(webhook, settings, now)
    except Exception:
        rows.release(engine, delivery)
        raise
    try:
        status = asyncio.run(
            _post(settings, webhook.url, delivery.id, body_of(delivery, webhook, job), secrets, now, resolve)
        )
    except Exception as error:
        if not isinstance(error, TryError):  # unforeseen: it must not be tried again and again at once
            hide_in_error(error)
            _logger.exception("Webhook %s, delivery %s", webhook.id, delivery.id)
            error = TryError(f"It could not be sent: {type(error).__name__}.")
        result = _failed(engine, delivery, error)
        _logger.warning("Webhook %s, delivery %s: %s; %s", webhook.id, delivery.id, result, error)
        return result
    rows.delivered(engine, delivery, status)
    return "delivered"


def _failed(engine: sa.Engine, delivery: rows.Delivery, error: TryError) -> str:
    if error.http_status == _GONE:
        rows.switch_off(engine, delivery, _GONE, "The receiver answered 410 Gone, so it was switched off.")
        return "failed"
    again = rows.put_back(engine, delivery, str(error), error.http_status, error.retry_after)
    return "postponed" if again else "failed"


def send_test(engine: sa.Engine, settings: Settings, webhook: Webhook) -> rows.Delivery:
    """Send a test event now, once, and return the delivery with its result.

    Raises:
        WebhookKeyError: EXPORT_WEBHOOK_KEY is not set.
        LedgerError: the ledger cannot be read or written.
    """
    delivery_id = rows.add_test(engine, webhook)
    claimed = rows.claim(engine, only=delivery_id)
    if claimed is not None:  # else a sender was faster
        deliver(engine, settings, *claimed)
    sent = rows.find_deliveries(engine, [webhook.id])
    for delivery in sent:
        if delivery.id == delivery_id:
            return delivery
    raise LedgerError(f"The test {delivery_id} of webhook {webhook.id} was deleted meanwhile.")


def body_of(delivery: rows.Delivery, webhook: Webhook, job: Job | None) -> bytes:
    """Return the body of a delivery, the same over all tries. It holds no link and no content."""
    data: dict[str, Any] = {"webhook_id": webhook.id}
    if job is not None:
        status = delivery.event.partition(".")[2]
        has_file = status in ("completed", "expired")
        data = {
            "id": job.id,
            "dataset": job.dataset,
            "scope": job.scope,
            "format": job.format,
            "status": status,
            "rows": job.row_count if has_file else None,
            "total_rows": job.total_rows if has_file else None,
            "sha256": job.sha256 if has_file else None,
        }
    whole = {"type": delivery.event, "timestamp": delivery.created_at.isoformat(), "data": data}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


def signed_headers(delivery_id: str, body: bytes, secrets: list[str], now: datetime) -> dict[str, str]:
    """Return the headers of the Standard Webhooks specification, with a signature by each secret."""
    signatures = [Signer(secret).sign(delivery_id, now, body.decode()) for secret in secrets]
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


async def _post(
    settings: Settings,
    url: str,
    delivery_id: str,
    body: bytes,
    secrets: list[str],
    now: datetime,
    resolve: Resolve,
) -> int:
    """Post a body to a checked address of the URL's host and return the status of the answer.

    Raises:
        TryError: no connection, no answer in time, or an answer that is not 2xx.
    """
    headers = signed_headers(delivery_id, body, secrets, now)
    headers |= {"content-type": "application/json", "user-agent": "export_pipeline", "accept": "*/*"}
    try:
        async with asyncio.timeout(TRY_SECONDS):
            rules = address_rules(settings)
            target = parse_url(url, rules)
            addresses = await asyncio.to_thread(checked_addresses, target, rules, resolve)
            return await _post_to(target, addresses, headers, body)
    except TimeoutError:
        raise TryError(f"No answer within {TRY_SECONDS:g} s.") from None
    except WebhookAddressError as error:
        raise TryError(str(error)) from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise TryError(f"No answer: {error or type(error).__name__}") from None


async def _post_to(target: httpx.URL, addresses: list[str], headers: Mapping[str, str], body: bytes) -> int:
    """Try the addresses in order. The certificate must be the host's; the answer's body is not read."""
    host = target.netloc.decode("ascii")
    transport = httpx.AsyncHTTPTransport(verify=_tls(os.environ.get("SSL_CERT_FILE")))
    # Without the environment: its proxies would connect by name.
    async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=TRY_SECONDS) as client:
        for number, address in enumerate(addresses):
            request = client.build_request(
                "POST",
                target.copy_with(host=address.partition("%")[0], port=port_of(target)),
                content=body,
                headers={**headers, "host": host},
                extensions={"sni_hostname": target.raw_host.decode("ascii")},
            )
            try:
                answer = await client.send(request, stream=True, follow_redirects=False)
            except httpx.ConnectError:
                if number + 1 == len(addresses):
                    raise
                continue
            await answer.aclose()
            if answer.status_code in _OK:
                return answer.status_code
            raise TryError(
                f"The receiver answered {answer.status_code}"
                + ("; redirects are not followed." if answer.has_redirect_location else "."),
                answer.status_code,
                _retry_after(answer.headers.get("retry-after")),
            )
    raise TryError("The host has no address.")


@functools.lru_cache(maxsize=4)
def _tls(authorities: str | None) -> ssl.SSLContext:
    """Return the context that checks certificates; making one takes longer than the rest of a delivery."""
    return ssl.create_default_context(cafile=authorities or certifi.where())


def _retry_after(text: str | None) -> timedelta:
    """Return the time of a Retry-After header, in seconds or as a date; zero if there is none."""
    if text is None:
        return timedelta(0)
    try:
        return timedelta(seconds=min(int(text), rows.DELAYS[-1].total_seconds()))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return timedelta(0)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)
