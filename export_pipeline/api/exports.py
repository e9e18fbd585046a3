"""Routes of exports: request, follow, list, cancel, retry and delete them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, AwareDatetime

from export_pipeline.api.authentication import Caller, Reader, Services, Writer
from export_pipeline.api.change_notifier import ChangeNotifier
from export_pipeline.api.cursors import read_cursor, write_cursor
from export_pipeline.api.events import RETRY_SECONDS, event_id, stream_events
from export_pipeline.api.models import Export, ExportList
from export_pipeline.api.problems import Problem, responses
from export_pipeline.api.requests import (
    check_request,
    resolve_scope,
    resolve_scope_of_any,
    translate_source_errors,
)
from export_pipeline.api.service import Service
from export_pipeline.datasets.options import FieldProblem
from export_pipeline.datasets.request_body import ExportRequest
from export_pipeline.delivery.webhooks.endpoints import UnknownWebhookError, get_webhook
from export_pipeline.jobs import Job, Place, RefusedError
from export_pipeline.jobs.states import ENDED, Status
from export_pipeline.jobs.store_claim import delete_own
from export_pipeline.sources.snapshot import SourceUnavailableError

router = APIRouter(prefix="/v1/exports", tags=["exports"], responses=responses(400, 401, 403, 429, 503))

MAX_WAIT_SECONDS = 60
ExportId = Annotated[
    str, Path(max_length=100, description="Id.", examples=["7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11"])
]


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("in UTC it is before the year 1 or after 9999") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


@router.post(
    "",
    status_code=202,
    response_model=Export | ExportList,
    responses={
        201: {"description": "It was made within the time of `Prefer: wait`.", "model": Export | ExportList},
        **responses(404, 409, 413, 422),
    },
)
async def create_export(
    body: ExportRequest,
    request: Request,
    response: Response,
    service: Services,
    caller: Writer,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1, max_length=200, description="The same request under the same key is one export."
        ),
    ] = None,
    prefer: Annotated[
        str | None, Header(max_length=200, description="`wait=20` waits so many seconds for the file.")
    ] = None,
) -> Export | ExportList:
    """Request an export. `Location` has its URL; `formats` requests several."""
    with translate_source_errors():
        scope = await resolve_scope(service, caller, body.dataset, body.scope)
    body = body.model_copy(update={"scope": scope})
    caller.check_scope(scope)
    changes: ChangeNotifier = request.app.state.changes
    seconds = _waits(prefer)
    if seconds:
        changes.check_wait_limit(caller.id)
    jobs = await service.run(_ask, service, caller, body, idempotency_key)
    if seconds:
        reads = [partial(service.jobs.get, job.id, caller.viewer) for job in jobs]
        waits = [
            changes.wait_for_end(job, caller.id, seconds, read) for job, read in zip(jobs, reads, strict=True)
        ]
        jobs = await asyncio.gather(*waits)
        if all(job.status in ENDED for job in jobs):
            response.status_code = 201
            response.headers["Preference-Applied"] = f"wait={seconds}"
    if response.status_code != 201:
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    if body.formats is not None:
        return ExportList(data=[Export.of(job) for job in jobs])
    response.headers["Location"] = f"{request.app.state.base_url}/v1/exports/{jobs[0].id}"
    return Export.of(jobs[0])


@router.get("", responses=responses(404, 422))
async def list_exports(
    service: Services,
    caller: Reader,
    status: Annotated[list[Status] | None, Query(description="Only these; may be repeated.")] = None,
    dataset: Annotated[str | None, Query(max_length=200)] = None,
    scope: Annotated[str | None, Query(max_length=1_000)] = None,
    created_after: Moment | None = None,
    idempotency_key: Annotated[str | None, Query(max_length=250)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(max_length=300, description="`next` of the last page.")] = None,
) -> ExportList:
    """List the exports that the caller may see, newest first."""
    with translate_source_errors():
        try:
            scope = await resolve_scope_of_any(service, caller, dataset, scope, stored=False)
        except SourceUnavailableError:
            if caller.scopes is not None:  # its own ids need no look-up
                raise
            if not await service.run(partial(service.ledger.find, caller.viewer_in(scope), limit=1)):
                raise  # it may be a name
    viewer = caller.viewer_in(scope)
    about = (caller.id, sorted(status or ()), dataset, scope, created_after, idempotency_key)

    def find() -> tuple[list[Job], str | None]:
        secret = service.cursor_secret
        after = read_cursor(secret, cursor, *about) if cursor is not None else None
        listed = service.ledger.find(
            viewer,
            status=status,
            dataset=dataset,
            created_after=created_after,
            idempotency_key=idempotency_key,
            limit=limit + 1,
            after=after,
        )
        if len(listed) <= limit:
            return listed, None
        last = listed[limit - 1]
        return listed[:limit], write_cursor(secret, Place(last.created_at, last.id), *about)

    jobs, following = await service.run(find)
    return ExportList(data=[Export.of(job) for job in jobs], next=following)


@router.get("/{export_id}", responses=responses(404, 422))
async def get_export(
    export_id: ExportId,
    request: Request,
    service: Services,
    caller: Reader,
    wait: Annotated[
        int, Query(ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for its end (long poll).")
    ] = 0,
) -> Export:
    """Return an export. `wait` delays the response until it has ended, at most this many seconds."""
    read = partial(service.jobs.get, export_id, caller.viewer)
    job = await read()
    if wait and job.status not in ENDED:
        changes: ChangeNotifier = request.app.state.changes
        changes.check_wait_limit(caller.id)
        job = await changes.wait_for_end(job, caller.id, wait, read)
    return Export.of(job)


@router.get(
    "/{export_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"description": "Server-sent events.", "content": {"text/event-stream": {}}},
        204: {"description": "It has ended, and the caller knows it (`Last-Event-ID`)."},
        **responses(404, 422),
    },
)
async def follow_export(
    export_id: ExportId,
    request: Request,
    service: Services,
    caller: Reader,
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
) -> Response:
    """Follow an export: an event for each change of status, percentage or step, until it ends."""
    read = partial(service.jobs.get, export_id, caller.viewer)
    job = await read()
    if job.status in ENDED and last_event_id == event_id(job):
        return Response(status_code=204)
    changes: ChangeNotifier = request.app.state.changes
    changes.check_wait_limit(caller.id)
    events = stream_events(job, caller.id, read, changes, last_event_id)
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(events, headers=headers, media_type="text/event-stream")


@router.post("/{export_id}/cancel", status_code=202, responses=responses(404, 409))
async def cancel_export(export_id: ExportId, service: Services, caller: Writer) -> Export:
    """Cancel a pending or processing export."""
    return Export.of(
        await service.run(service.ledger.canceled, export_id, caller.requested_by, caller.viewer)
    )


@router.post("/{export_id}/retry", status_code=202, responses=responses(404, 409))
async def retry_export(export_id: ExportId, service: Services, caller: Writer) -> Export:
    """Try a failed or canceled export again, as a new attempt."""
    return Export.of(await service.run(service.ledger.retry, export_id, caller.requested_by, caller.viewer))


@router.delete("/{export_id}", status_code=204, responses=responses(404, 409, 423))
async def delete_export(export_id: ExportId, service: Services, caller: Writer) -> None:
    """Delete an export that has ended, with its file."""

    def delete() -> None:
        remove = partial(delete_own, service.ledger, service.store)
        try:
            service.ledger.delete(export_id, remove, caller.requested_by, caller.viewer)
        except RefusedError as error:
            if service.ledger.get(export_id, caller.viewer).legal_hold:
                raise Problem(423, "legal_hold", str(error)) from None
            raise

    await service.run(delete)


def _ask(service: Service, caller: Caller, body: ExportRequest, idempotency_key: str | None) -> Sequence[Job]:
    """Check a request, and write it into the ledger."""
    requests = check_request(service, caller, body)
    if body.webhook_id is not None:
        try:
            get_webhook(service.engine, body.webhook_id, caller.viewer)
        except UnknownWebhookError as error:
            problem = FieldProblem(("webhook_id",), str(error))
            raise Problem(422, "invalid_options", str(error), [problem]) from None
    keys = [
        f"{idempotency_key}:{one.format}" if idempotency_key and body.formats else idempotency_key
        for one in requests
    ]
    most = service.settings.api_max_pending
    is_new = keys[0] is None or not service.ledger.find(caller.viewer, idempotency_key=keys[0], limit=1)
    if most and is_new and service.ledger.count_pending(body.scope) + len(requests) > most:
        message = f"More than {most:,} exports of this scope wait; ask again when some are done."
        raise Problem(429, "too_many_requests", message, headers={"Retry-After": "30"})
    return [
        service.ledger.request(
            one.dataset,
            one.format,
            scope=one.scope,
            filters=one.filters,
            columns=one.columns,
            options=one.options,
            requested_by=one.requested_by,
            recipients=one.recipients,
            priority=body.priority,
            webhook_id=body.webhook_id,
            reuse_within=service.datasets[one.dataset].reuse_within,
            idempotency_key=key,
        )
        for one, key in zip(requests, keys, strict=True)
    ]


def _waits(prefer: str | None) -> int:
    """Return the seconds of `Prefer: wait=…` (RFC 7240)."""
    wait = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,4})", prefer or "")
    return min(int(wait[1]), MAX_WAIT_SECONDS) if wait else 0
