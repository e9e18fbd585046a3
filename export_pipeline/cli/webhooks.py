"""Commands for webhooks, which receive the events of exports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from export_pipeline.cli.console import UserError, print_json
from export_pipeline.cli.jobs_view import moment, print_lines, printable
from export_pipeline.cli.lookups import declared, scope_id
from export_pipeline.cli.options import By, Json, OnlyDataset, ScopeId, ViewerScopes, caller, viewer_of
from export_pipeline.cli.output import WebhookWithSecret, fields_of
from export_pipeline.delivery.webhooks import endpoints
from export_pipeline.delivery.webhooks.addresses import WebhookAddressError
from export_pipeline.delivery.webhooks.endpoints import Webhook, WebhookKeyError
from export_pipeline.delivery.webhooks.queue import Delivery, find_deliveries
from export_pipeline.jobs.database import opened_engine
from export_pipeline.jobs.tables import EVENTS
from export_pipeline.settings import load_settings

app = typer.Typer(
    no_args_is_help=False,
    invoke_without_command=True,
    help="List, make, test and revoke webhooks, which are told when an export ends.\n\n"
    "Examples: `export-pipeline webhooks`, `export-pipeline webhooks create https://example.org/hooks "
    "--scope ID`",
)

WebhookId = Annotated[str, typer.Argument(metavar="ID", help="Id of the webhook, as `webhooks` lists it.")]


@app.callback()
def webhooks(context: typer.Context, as_json: Json = False) -> None:
    """List the webhooks, unless another command follows."""
    if context.invoked_subcommand is None:
        list_(as_json=as_json)


@app.command("list")
def list_(viewer_scope: ViewerScopes = None, as_json: Json = False) -> None:
    """List webhooks, oldest first.

    Example: `export-pipeline webhooks list --viewer-scope ID`
    """
    with _engine() as engine:
        listed = endpoints.find_webhooks(engine, viewer_of(viewer_scope))
    print_json(listed) if as_json else print_lines([_row(one) for one in listed])


@app.command()
def create(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where deliveries are posted to; https.")],
    scope: ScopeId = None,
    dataset: OnlyDataset = None,
    event: Annotated[
        list[str] | None,
        typer.Option(metavar="EVENT", help=f"Only {', '.join(EVENTS)}; repeatable. Default: all."),
    ] = None,
    named_only: Annotated[
        bool, typer.Option("--named-only", help="Only exports whose request names the webhook.")
    ] = False,
    by: By = None,
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """Create a webhook and print its secret, which is not shown again.

    Example: `export-pipeline webhooks create https://example.org/hooks --scope ID --event export.completed`
    """
    viewer = viewer_of(viewer_scope)
    scope = (
        scope_id(load_settings(), declared().values(), scope, viewer_scope, stored=True) if scope else None
    )
    if viewer.scopes is not None and scope not in viewer.scopes:
        raise UserError("--scope must be one of --viewer-scope.")
    with _engine() as engine, _mistakes():
        webhook, secret = endpoints.create_webhook(
            engine,
            load_settings(),
            url,
            scope=scope,
            dataset=dataset,
            events=event or EVENTS,
            named_only=named_only,
            created_by=caller(by),
        )
    _print_secret(webhook, secret, as_json)


@app.command("test")
def send_test(webhook_id: WebhookId, viewer_scope: ViewerScopes = None, as_json: Json = False) -> None:
    """Post a test event now, once. Exit code 1 means that the receiver did not accept it.

    Example: `export-pipeline webhooks test ID`
    """
    from export_pipeline.delivery.webhooks import send

    with _engine() as engine, _mistakes():
        webhook = endpoints.get_webhook(engine, webhook_id, viewer_of(viewer_scope))
        delivery = send.send_test(engine, load_settings(), webhook)
    if as_json:
        print_json(delivery)
    else:
        typer.echo(f"{delivery.status}: {printable(delivery.error_message or delivery.http_status, 500)}")
    if delivery.status != "delivered":
        raise typer.Exit(1)


@app.command()
def rotate(
    webhook_id: WebhookId,
    overlap_hours: Annotated[
        float,
        typer.Option(metavar="HOURS", min=0, max=24 * 365, help="How long the old secret signs too."),
    ] = 24,
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """Give a webhook a new secret and print it. Until the overlap ends, both secrets sign each delivery.

    Example: `export-pipeline webhooks rotate ID --overlap-hours 48`
    """
    with _engine() as engine, _mistakes():
        webhook, secret = endpoints.rotate_secret(
            engine, load_settings(), webhook_id, timedelta(hours=overlap_hours), viewer_of(viewer_scope)
        )
    _print_secret(webhook, secret, as_json)


@app.command()
def revoke(webhook_id: WebhookId, viewer_scope: ViewerScopes = None, as_json: Json = False) -> None:
    """Switch a webhook off for good. Deliveries that wait are skipped.

    Example: `export-pipeline webhooks revoke ID`
    """
    with _engine() as engine:
        webhook = endpoints.revoke_webhook(engine, webhook_id, viewer_of(viewer_scope))
    print_json(webhook) if as_json else typer.echo(f"{webhook.id}: Revoked.")


@app.command()
def deliveries(
    webhook_id: Annotated[str | None, typer.Argument(metavar="ID", help="Only of this webhook.")] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATUS", help="Only pending, claimed, delivered, failed or skipped ones; repeatable."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="NUMBER", min=1, max=10_000, help="At most this many.")] = 20,
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """List deliveries, newest first, with the reason of the last failure.

    Example: `export-pipeline webhooks deliveries ID --status failed`
    """
    viewer = viewer_of(viewer_scope)
    with _engine() as engine:
        seen = endpoints.find_webhooks(engine, viewer)
        if webhook_id is not None:
            seen = [endpoints.get_webhook(engine, webhook_id, viewer)]
        chosen: list[Any] = status or []
        listed = find_deliveries(engine, [webhook.id for webhook in seen], chosen, limit)
    print_json(listed) if as_json else print_lines([_row_of(one) for one in listed])


def _print_secret(webhook: Webhook, secret: str, as_json: bool) -> None:
    if as_json:
        print_json(WebhookWithSecret(**fields_of(webhook), secret=secret))
    else:
        typer.echo(f"{webhook.id}: its secret, which is not shown again:\n{secret}")


def _row(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": printable(webhook.url),
        "scope": webhook.scope,
        "dataset": webhook.dataset,
        "events": ", ".join(event.partition(".")[2] for event in webhook.events),
        "state": "active" if webhook.active else f"off: {webhook.problem}",
    }


def _row_of(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "job": delivery.job_id,
        "event": delivery.event,
        "status": delivery.status,
        "tries": delivery.tries,
        "next": moment(delivery.next_at) if delivery.status == "pending" else "",
        "answer": printable(delivery.error_message or delivery.http_status or ""),
    }


def _engine() -> AbstractContextManager[sa.Engine]:
    return opened_engine(load_settings().jobs_url)


@contextmanager
def _mistakes() -> Iterator[None]:
    """Report wrong addresses and a missing key as wrong calls."""
    try:
        yield
    except (WebhookAddressError, WebhookKeyError) as error:
        raise UserError(str(error)) from None
