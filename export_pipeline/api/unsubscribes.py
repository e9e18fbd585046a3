"""The page on which a recipient unsubscribes from the mails of a schedule or cadence, without a login."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse

from export_pipeline.api.authentication import Services
from export_pipeline.api.links import render_page
from export_pipeline.api.problems import not_found, responses
from export_pipeline.delivery.subscriptions import find_subscription, unsubscribe

pages = APIRouter(prefix="/unsubscribe", tags=["links"], responses=responses(404, 503))

MailId = Annotated[str, Path(max_length=100, description="Random id of a mail, from its own link.")]


@pages.get("/{mail_id}", response_class=HTMLResponse)
async def ask_to_unsubscribe(mail_id: MailId, request: Request, service: Services) -> HTMLResponse:
    """Show the page with the button. Programs that open each link of a mail change nothing by it."""
    subscription = await service.run(find_subscription, service.engine, mail_id)
    if subscription is None:
        return _gone(request)
    _, recipient, dataset = subscription
    return render_page("unsubscribe", recipient=recipient, dataset=dataset, done=False)


@pages.post("/{mail_id}", response_class=HTMLResponse)
async def end_subscription(mail_id: MailId, request: Request, service: Services) -> HTMLResponse:
    """End the mails: the button of the page, or of a mail program (RFC 8058). Twice changes nothing."""
    known = await service.run(find_subscription, service.engine, mail_id)
    if known is None:
        return _gone(request)
    subscription, recipient, dataset = known
    await service.run(unsubscribe, service.engine, subscription, recipient)
    return render_page("unsubscribe", recipient=recipient, dataset=dataset, done=True)


def _gone(request: Request) -> HTMLResponse:
    """Return the page for a person; a program gets the problem."""
    if "text/html" in request.headers.get("accept", ""):
        return render_page("gone", 404)
    raise not_found("such mail")
