"""Registered webhooks: rows of `export_webhooks`, and the secrets that sign their deliveries.

No secret is stored. Each follows from EXPORT_WEBHOOK_KEY, the webhook's id and the secret's number, so a
reader of the database, or of its backup, cannot sign. Another key makes other secrets for all webhooks.
"""

from __future__ import annotations

import base64
import hmac
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from export_pipeline.delivery.webhooks.addresses import AddressRules, checked_addresses, parse_url
from export_pipeline.jobs import OPERATOR, LedgerError, Viewer
from export_pipeline.jobs.database import transaction
from export_pipeline.jobs.queries import belongs_to
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.storable_text import is_storable
from export_pipeline.jobs.tables import EVENTS, webhooks
from export_pipeline.redaction import RedactedError

if TYPE_CHECKING:
    from export_pipeline.settings import Settings

OVERLAP = timedelta(hours=24)
"""Time for which a replaced secret goes on signing."""
REVOKED = "It was revoked."


class WebhookKeyError(RedactedError):
    """Raised when EXPORT_WEBHOOK_KEY is not set, so nothing can be signed."""


class RevokedWebhookError(LedgerError):
    """Raised when a revoked webhook is switched on."""


class UnknownWebhookError(LedgerError):
    """Raised when a webhook does not exist or the viewer may not see it; the message does not tell which."""

    def __init__(self, webhook_id: str) -> None:
        super().__init__(f"There is no webhook {webhook_id}.")


@dataclass(frozen=True, slots=True)
class Webhook:
    """A registered webhook. Times are UTC; the columns of `export_webhooks` say what the fields are."""

    id: str
    url: str
    scope: str | None
    dataset: str | None
    events: Sequence[str]
    named_only: bool
    created_by: str | None
    secret_number: int
    previous_until: datetime | None
    active: bool
    problem: str | None
    created_at: datetime


def address_rules(settings: Settings) -> AddressRules:
    """Return which addresses the settings allow."""
    return AddressRules(settings.webhook_networks, settings.webhook_http)


def secrets_of(webhook: Webhook, settings: Settings, now: datetime) -> list[str]:
    """Return the secrets that sign at this time, newest first, as receivers configure them (`whsec_…`).

    Raises:
        WebhookKeyError: EXPORT_WEBHOOK_KEY is not set.
    """
    key = _key(settings)
    is_overlapping = webhook.previous_until is not None and webhook.previous_until > now
    numbers = [webhook.secret_number, *([webhook.secret_number - 1] if is_overlapping else [])]
    return [_secret(key, webhook.id, number) for number in numbers]


def _key(settings: Settings) -> bytes:
    if settings.webhook_key is None:
        raise WebhookKeyError(
            "EXPORT_WEBHOOK_KEY is not set, so no webhook can be signed; `openssl rand -base64 32` makes one."
        )
    return settings.webhook_key.encode()


def _secret(key: bytes, webhook_id: str, number: int) -> str:
    message = f"export_pipeline webhook {webhook_id} {number}"
    return f"whsec_{base64.b64encode(hmac.digest(key, message.encode(), 'sha256')).decode()}"


def create_webhook(
    engine: sa.Engine,
    settings: Settings,
    url: str,
    *,
    scope: str | None = None,
    dataset: str | None = None,
    events: Collection[str] = EVENTS,
    named_only: bool = False,
    created_by: str | None = None,
) -> tuple[Webhook, str]:
    """Register a webhook; return it with its secret, which is not shown again.

    Args:
        scope: It hears of this scope's exports only; None for all scopes: for operators.
        dataset: It hears of this dataset only; None for all.
        named_only: It hears only of exports whose request names it.

    Raises:
        WebhookAddressError: the URL is not allowed.
        WebhookKeyError: EXPORT_WEBHOOK_KEY is not set.
        LedgerError: an event is unknown, or the database rejects a value.
    """
    values = {
        "url": _checked_url(url, settings),
        "scope": scope,
        "dataset": dataset,
        "events": _checked_events(events),
        "named_only": named_only,
        "created_by": created_by,
    }
    if not is_storable(values):
        raise LedgerError("The webhook's fields hold a NUL or a broken character; leave it out.")
    _key(settings)
    with transaction(engine, write=True) as connection:
        insert = sa.insert(webhooks).values(**values).returning(*webhooks.c)
        webhook = Webhook(**connection.execute(insert).mappings().one())
    return webhook, secrets_of(webhook, settings, webhook.created_at)[0]


def _checked_url(url: str, settings: Settings) -> str:
    rules = address_rules(settings)
    checked_addresses(parse_url(url, rules), rules)
    return url


def _checked_events(events: Collection[str]) -> list[str]:
    if unknown := sorted(set(events) - set(EVENTS)):
        raise LedgerError(f"There is no event {unknown[0]}; there are {', '.join(EVENTS)}.")
    if not events:
        raise LedgerError(f"Choose at least one event; there are {', '.join(EVENTS)}.")
    return [event for event in EVENTS if event in events]


def update_webhook(
    engine: sa.Engine,
    settings: Settings,
    webhook_id: str,
    *,
    url: str | None = None,
    events: Collection[str] | None = None,
    active: bool | None = None,
    viewer: Viewer = OPERATOR,
) -> Webhook:
    """Change a webhook; fields that are None stay. A webhook that is switched on receives events from now on.

    Raises:
        UnknownWebhookError: it does not exist, or the viewer may not see it.
        RevokedWebhookError: it was revoked, so it cannot be switched on.
        WebhookAddressError: the URL is not allowed.
        LedgerError: an event is unknown.
    """
    values: dict[str, Any] = {}
    if url is not None:
        values["url"] = _checked_url(url, settings)
    if events is not None:
        values["events"] = _checked_events(events)
    if active is not None:
        values |= {"active": active, "problem": None}
    with transaction(engine, write=True) as connection:
        named = _named(webhook_id, viewer)
        webhook = _one(connection.execute(sa.select(webhooks).where(*named).with_for_update()), webhook_id)
        if webhook.problem == REVOKED and active is not None:
            raise RevokedWebhookError(f"Webhook {webhook_id} was revoked; create another one.")
        if not values:
            return webhook
        update = sa.update(webhooks).where(*named).values(**values).returning(*webhooks.c)
        return _one(connection.execute(update), webhook_id)


def find_webhooks(engine: sa.Engine, viewer: Viewer = OPERATOR) -> list[Webhook]:
    """Return the webhooks that the viewer may see, oldest first."""
    select = sa.select(webhooks).where(_seen_by(viewer)).order_by(webhooks.c.created_at, webhooks.c.id)
    with transaction(engine, write=False) as connection:
        return [Webhook(**row) for row in connection.execute(select).mappings()]


def get_webhook(engine: sa.Engine, webhook_id: str, viewer: Viewer = OPERATOR) -> Webhook:
    """Return a webhook.

    Raises:
        UnknownWebhookError: it does not exist, or the viewer may not see it.
    """
    with transaction(engine, write=False) as connection:
        select = sa.select(webhooks).where(*_named(webhook_id, viewer))
        return _one(connection.execute(select), webhook_id)


def rotate_secret(
    engine: sa.Engine,
    settings: Settings,
    webhook_id: str,
    overlap: timedelta = OVERLAP,
    viewer: Viewer = OPERATOR,
) -> tuple[Webhook, str]:
    """Give a webhook a new secret and return it. For the overlap, deliveries are signed with the old one too.

    Raises:
        UnknownWebhookError: it does not exist, or the viewer may not see it.
        WebhookKeyError: EXPORT_WEBHOOK_KEY is not set.
    """
    _key(settings)
    with transaction(engine, write=True) as connection:
        now = connection.scalars(sa.select(utc_now())).one()
        values = {"secret_number": webhooks.c.secret_number + 1, "previous_until": now + overlap}
        update = sa.update(webhooks).where(*_named(webhook_id, viewer)).values(**values)
        webhook = _one(connection.execute(update.returning(*webhooks.c)), webhook_id)
    return webhook, secrets_of(webhook, settings, now)[0]


def revoke_webhook(engine: sa.Engine, webhook_id: str, viewer: Viewer = OPERATOR) -> Webhook:
    """Switch a webhook off for good: deliveries that wait are skipped.

    Raises:
        UnknownWebhookError: it does not exist, or the viewer may not see it.
    """
    values = {"active": False, "problem": REVOKED}
    with transaction(engine, write=True) as connection:
        update = sa.update(webhooks).where(*_named(webhook_id, viewer)).values(**values)
        return _one(connection.execute(update.returning(*webhooks.c)), webhook_id)


def _named(webhook_id: str, viewer: Viewer) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions that select a webhook if the viewer may see it."""
    try:
        known = str(uuid.UUID(webhook_id))
    except ValueError:
        raise UnknownWebhookError(webhook_id) from None
    return (webhooks.c.id == known, _seen_by(viewer))


def _seen_by(viewer: Viewer) -> sa.ColumnElement[bool]:
    """Return the condition that the viewer may see a webhook. One of all scopes is for operators only."""
    seen = belongs_to(viewer, webhooks.c.scope, webhooks.c.created_by, webhooks.c.dataset)
    return seen if viewer.scopes is None else sa.and_(seen, webhooks.c.scope.is_not(None))


def _one(result: sa.Result[Any], webhook_id: str) -> Webhook:
    row = result.mappings().one_or_none()
    if row is None:
        raise UnknownWebhookError(webhook_id)
    return Webhook(**row)
