"""Routes of webhooks: register, test and revoke receivers of the events of exports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from export_pipeline.api.authentication import Caller, Services, WebhookReader, WebhookWriter
from export_pipeline.api.problems import Problem, responses
from export_pipeline.api.requests import resolve_scope_of_any, translate_source_errors
from export_pipeline.datasets.options import FieldProblem
from export_pipeline.delivery.webhooks import endpoints
from export_pipeline.delivery.webhooks.addresses import WebhookAddressError
from export_pipeline.delivery.webhooks.queue import DeliveryStatus, find_deliveries
from export_pipeline.jobs.tables import EVENTS

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], responses=responses(401, 403, 429, 503))

WebhookId = Annotated[str, Path(max_length=100, examples=["7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11"])]
EventName = Literal["export.completed", "export.failed", "export.canceled", "export.expired"]


class WebhookRequest(BaseModel):
    """A receiver, and the events that it gets."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"url": "https://app.example.org/hooks/exports"}]}
    )

    url: Annotated[str, Field(max_length=2_000)]
    scope: Annotated[str | None, Field(max_length=1_000, description="Only this scope's exports.")] = None
    dataset: Annotated[str | None, Field(max_length=200, description="Only exports of this dataset.")] = None
    events: Annotated[list[EventName] | None, Field(min_length=1, description="By default all.")] = None
    named_only: Annotated[bool, Field(description="Only exports whose request names it.")] = False


class WebhookChange(BaseModel):
    """Changes of a receiver; what is left out stays."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"active": False}, {"rotate_secret": True}]}
    )

    url: Annotated[str | None, Field(max_length=2_000)] = None
    events: Annotated[list[EventName] | None, Field(min_length=1)] = None
    active: Annotated[bool | None, Field(description="False: it receives no events.")] = None
    rotate_secret: Annotated[bool, Field(description="Make a new secret.")] = False
    overlap_hours: Annotated[
        int, Field(ge=0, le=8_760, description="Time for which the old secret signs too.")
    ] = 24


class Webhook(BaseModel):
    """A registered receiver."""

    id: str
    url: str
    scope: str | None
    dataset: str | None
    events: list[str]
    named_only: bool
    created_by: str | None
    active: bool
    problem: Annotated[str | None, Field(description="Why it was switched off.")]
    created_at: AwareDatetime


class NewWebhook(Webhook):
    """A receiver with its secret, which is shown once."""

    secret: str


class ChangedWebhook(Webhook):
    """A changed receiver."""

    secret: Annotated[str | None, Field(description="The new secret, if one was requested.")] = None


class WebhookList(BaseModel):
    """Webhooks, oldest first."""

    data: list[Webhook]


class WebhookDelivery(BaseModel):
    """A delivery of one event."""

    id: str
    job_id: Annotated[str | None, Field(description="The export; null for a test.")]
    event: str
    status: DeliveryStatus
    tries: int
    http_status: int | None
    error_message: str | None
    created_at: AwareDatetime
    next_at: AwareDatetime
    delivered_at: AwareDatetime | None


class WebhookDeliveryList(BaseModel):
    """Deliveries, newest first."""

    data: list[WebhookDelivery]


@router.get("")
async def list_webhooks(service: Services, caller: WebhookReader) -> WebhookList:
    """List the webhooks that the caller may see."""
    listed = await service.run(endpoints.find_webhooks, service.engine, caller.viewer)
    return WebhookList(data=[_shown(one) for one in listed])


@router.post("", status_code=201, responses=responses(404, 409, 422))
async def create_webhook(
    body: WebhookRequest, request: Request, response: Response, service: Services, caller: WebhookWriter
) -> NewWebhook:
    """Register a receiver. Its address is checked; its secret is shown once."""
    with translate_source_errors():
        scope = await resolve_scope_of_any(service, caller, body.dataset, body.scope, stored=True)
    body = body.model_copy(update={"scope": scope})
    _check_range(body, caller)

    def create() -> tuple[endpoints.Webhook, str]:
        with translate_webhook_errors():
            return endpoints.create_webhook(
                service.engine,
                service.settings,
                body.url,
                scope=body.scope,
                dataset=body.dataset,
                events=body.events or EVENTS,
                named_only=body.named_only or caller.sees_only_own,
                created_by=caller.requested_by,
            )

    made, secret = await service.run_slow(create)
    response.headers["Location"] = f"{request.app.state.base_url}/v1/webhooks/{made.id}"
    return NewWebhook(**_shown(made).model_dump(), secret=secret)


@router.get("/{webhook_id}", responses=responses(404))
async def get_webhook(webhook_id: WebhookId, service: Services, caller: WebhookReader) -> Webhook:
    """Return a webhook."""
    return _shown(await service.run(_webhook, service, webhook_id, caller))


@router.patch("/{webhook_id}", responses=responses(404, 409, 422))
async def change_webhook(
    webhook_id: WebhookId, body: WebhookChange, service: Services, caller: WebhookWriter
) -> ChangedWebhook:
    """Change the URL or the events of a webhook, switch it off or on, or give it a new secret."""

    def change() -> ChangedWebhook:
        engine, settings, secret = service.engine, service.settings, None
        with translate_webhook_errors():
            made = endpoints.update_webhook(
                engine,
                settings,
                webhook_id,
                url=body.url,
                events=body.events,
                active=body.active,
                viewer=caller.viewer,
            )
            if body.rotate_secret:
                overlap = timedelta(hours=body.overlap_hours)
                made, secret = endpoints.rotate_secret(engine, settings, webhook_id, overlap, caller.viewer)
        return ChangedWebhook(**_shown(made).model_dump(), secret=secret)

    return await service.run_slow(change)


@router.delete("/{webhook_id}", status_code=204, responses=responses(404))
async def revoke_webhook(webhook_id: WebhookId, service: Services, caller: WebhookWriter) -> None:
    """Switch a webhook off for good; deliveries that wait are skipped."""

    def revoke() -> None:
        with translate_webhook_errors():
            endpoints.revoke_webhook(service.engine, webhook_id, caller.viewer)

    await service.run(revoke)


@router.post("/{webhook_id}/test", responses=responses(404, 409))
async def send_webhook_test(
    webhook_id: WebhookId, service: Services, caller: WebhookWriter
) -> WebhookDelivery:
    """Send a test event now, once, and return the result."""
    from export_pipeline.delivery.webhooks.send import send_test  # its HTTP client has 5 MB

    def send() -> WebhookDelivery:
        webhook = _webhook(service, webhook_id, caller)
        with translate_webhook_errors():
            sent = send_test(service.engine, service.settings, webhook)
        return _delivery(sent)

    return await service.run_slow(send)


@router.get("/{webhook_id}/deliveries", responses=responses(404, 422))
async def list_webhook_deliveries(
    webhook_id: WebhookId,
    service: Services,
    caller: WebhookReader,
    status: Annotated[list[DeliveryStatus] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> WebhookDeliveryList:
    """List deliveries of a webhook, newest first."""

    def find() -> list[WebhookDelivery]:
        webhook = _webhook(service, webhook_id, caller)
        return [_delivery(one) for one in find_deliveries(service.engine, [webhook.id], status or (), limit)]

    return WebhookDeliveryList(data=await service.run(find))


@contextmanager
def translate_webhook_errors() -> Iterator[None]:
    """Turn errors of webhooks into answers."""
    try:
        yield
    except endpoints.UnknownWebhookError as error:
        raise Problem(404, "not_found", str(error)) from None
    except endpoints.RevokedWebhookError as error:
        raise Problem(409, "state_conflict", str(error)) from None
    except WebhookAddressError as error:
        raise Problem(422, "invalid_webhook", str(error), [FieldProblem(("url",), str(error))]) from None
    except endpoints.WebhookKeyError:
        message = "Webhooks are not set up here: the operator has to set EXPORT_WEBHOOK_KEY."
        raise Problem(409, "state_conflict", message) from None


def _check_range(body: WebhookRequest, caller: Caller) -> None:
    """Raise the answer for a webhook that would hear of more than its maker may see."""
    if body.scope is not None:
        caller.check_scope(body.scope)
    elif caller.scopes is not None:
        message = "Name one of your scopes: only a caller with all scopes may receive events of all."
        raise Problem(422, "no_scope", message, [FieldProblem(("scope",), message)])
    if caller.datasets is not None and body.dataset not in caller.datasets:
        message = "Name one of your datasets."
        raise Problem(422, "unknown_dataset", message, [FieldProblem(("dataset",), message, caller.datasets)])


def _webhook(service: Services, webhook_id: str, caller: Caller) -> endpoints.Webhook:
    with translate_webhook_errors():
        return endpoints.get_webhook(service.engine, webhook_id, caller.viewer)


def _shown(webhook: endpoints.Webhook) -> Webhook:
    return Webhook(**{name: getattr(webhook, name) for name in Webhook.model_fields})


def _delivery(delivery: object) -> WebhookDelivery:
    return WebhookDelivery(**{name: getattr(delivery, name) for name in WebhookDelivery.model_fields})
