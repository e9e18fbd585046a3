"""The route of small exports: the response is the verified file."""

from __future__ import annotations

import base64
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, BinaryIO

import anyio
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from export_pipeline.api.authentication import Reader, Services
from export_pipeline.api.downloads import FILE_CONTENT
from export_pipeline.api.inline_messages import Failure, InlineError, InlineFile, InlineRequest
from export_pipeline.api.inline_pool import BusyError, ExportPool
from export_pipeline.api.parameters import invalid_parameter, refuse_parameters
from export_pipeline.api.problems import Problem, not_found, responses
from export_pipeline.api.requests import NewRequest, check_request, resolve_scope, translate_source_errors
from export_pipeline.api.service import Service
from export_pipeline.datasets.filter_texts import add_filter
from export_pipeline.datasets.request_body import ExportRequest
from export_pipeline.datasets.requests import config_of
from export_pipeline.formats.registry import FORMATS
from export_pipeline.jobs import Job
from export_pipeline.jobs.file_notes import notes_of
from export_pipeline.store import NotFoundError, Store
from export_pipeline.store.file_names import content_disposition
from export_pipeline.store.manifest import ManifestError, read_manifest

router = APIRouter(
    prefix="/v1/datasets", tags=["datasets"], responses=responses(401, 403, 404, 413, 422, 429, 503)
)

_logger = logging.getLogger(__name__)

_Answer = tuple[InlineFile, BinaryIO, ExitStack]
"""A file, its content, and what closes it."""
_CHUNK_BYTES = 64 << 10
_EXTENSIONS = {
    format.extension.removeprefix("."): name for name, format in FORMATS.items() if format.is_general
}
_PLAIN = ("scope", "columns", "preset", "sort")
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The complete file, verified.", "content": FILE_CONTENT}
}


@router.get("/{name}/export.{extension}", response_class=Response, responses=_FILE)
async def export_at_once(
    name: Annotated[str, Path(max_length=200, examples=["records"])],
    extension: Annotated[str, Path(max_length=20, examples=["csv"], description=", ".join(_EXTENSIONS))],
    request: Request,
    service: Services,
    caller: Reader,
    scope: Annotated[str | None, Query(max_length=1_000)] = None,
    columns: Annotated[str | None, Query(max_length=5_000, description="Names, with commas.")] = None,
    preset: Annotated[str | None, Query(max_length=200)] = None,
    sort: Annotated[str | None, Query(max_length=1_000, description="Names, with commas.")] = None,
) -> Response:
    """Export up to 10,000 rows in the response.

    The file is an export like any other: `Export-Id` names it, and the store keeps it.
    `filter.NAME.OPERATOR=VALUE` filters, e.g. `filter.status.in=SENT,PAID` or
    `filter.sale_date.from=2026-01-01`; `option.NAME=VALUE` sets an option of the format. The first byte is
    sent when the file has been read back and compared with the database. A larger export answers 413 with
    the body for `POST /v1/exports`.
    """
    format = _EXTENSIONS.get(extension)
    if format is None:
        raise not_found(f"format .{extension}; there are {', '.join(_EXTENSIONS)}")
    refuse_parameters(request, _PLAIN, ("filter.", "option."))
    with translate_source_errors():
        scope = await resolve_scope(service, caller, name, scope)
    caller.check_scope(scope)
    body = ExportRequest(
        dataset=name,
        format=format,
        scope=scope,
        preset=preset,
        columns=_names(columns),
        sort=_names(sort),
        filters=_filters(request.query_params.multi_items()),
        options={
            key.removeprefix("option."): value
            for key, value in request.query_params.items()
            if key.startswith("option.")
        },
    )
    (new_request,) = await service.run(check_request, service, caller, body)
    file, content, opened = await _find_or_make(service, new_request, body, request.app.state.pool)
    request.scope["state"]["audit"] = {
        "export": file.job_id,
        "dataset": name,
        "scope": scope,
        "rows": file.rows,
        "sha256": file.sha256,
    }
    headers = {
        "Content-Length": str(file.size),
        "Content-Disposition": content_disposition(file.name),
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(file.sha256)).decode()}:",
        "Export-Id": file.job_id,
        "Export-Rows": str(file.rows),
        "Export-Total-Rows": str(file.total_rows),
        "Export-Warnings": str(file.warnings),
    }
    if file.snapshot_at is not None:
        headers["Export-Snapshot-At"] = file.snapshot_at
    return StreamingResponse(_chunks(content, opened), headers=headers, media_type=file.media_type)


async def _find_or_make(
    service: Service, new_request: NewRequest, body: ExportRequest, pool: ExportPool
) -> _Answer:
    """Return the file of an identical finished request if the dataset allows it, else have it made.

    Raises:
        Problem: it is too large, a part of the deployment does not answer, or no process is free.
    """
    row = asdict(new_request)
    del row["recipients"]
    dataset = service.datasets[new_request.dataset]
    if dataset.reuse_within is not None:
        reused = await service.run(_reuse, service, row, dataset.reuse_within)
        if reused is not None:
            return reused
    request = InlineRequest(str(uuid.uuid4()), row, config_of(dataset, new_request))
    try:
        file, content = await service.run_inline(pool.run, request)
    except BusyError:
        message = "All processes for small exports are busy; try again in a moment."
        raise Problem(503, "unavailable", message, headers={"Retry-After": "2"}) from None
    except InlineError as error:
        raise _problem(error, body) from None
    opened = ExitStack()
    return file, opened.enter_context(content), opened


def _reuse(service: Service, row: dict[str, Any], within: timedelta) -> _Answer | None:
    """Return the file of an identical finished request, opened; None if there is none."""
    return service.ledger.reuse_inline(row, within, partial(_open, service.store))


def _open(store: Store, job: Job) -> _Answer | None:
    """Return the file of a completed job, opened; None if it is in parts, replaced or gone."""
    format, key, opened = FORMATS[job.format], job.file_key or "", ExitStack()
    try:
        manifest = read_manifest(store, key)
        if manifest.parts or manifest.sha256 != job.sha256:
            return None
        content = opened.enter_context(store.open(key))
    except (NotFoundError, ManifestError):
        return None
    file = InlineFile(
        job_id=job.id,
        name=job.file_name or f"{job.dataset}{format.extension}",
        media_type=format.media_type,
        size=manifest.bytes,
        sha256=manifest.sha256,
        rows=job.row_count or 0,
        total_rows=job.row_count or 0 if job.total_rows is None else job.total_rows,
        warnings=len(notes_of(job)),
        snapshot_at=manifest.snapshot_at.isoformat(),
    )
    return file, content, opened


def _problem(error: InlineError, body: ExportRequest) -> Problem:
    match error.reason:
        case Failure.TOO_LARGE:
            message = f"{error.message} Ask for it with `POST /v1/exports`, whose body is in `request`."
            return Problem(413, "too_large", message, request=body.model_dump(exclude_defaults=True))
        case Failure.SOURCE_UNAVAILABLE:
            message = "The application's database does not answer; try again in a moment."
            return Problem(503, "unavailable", message, headers={"Retry-After": "5"})
        case Failure.SOURCE_ERROR:
            return Problem(422, "source_error", error.message)
        case Failure.CANCELED:
            return Problem(409, "state_conflict", error.message)
    _logger.error("%s", error.message)
    if error.reason is Failure.UNAVAILABLE:
        message = "The ledger or the store cannot be used; try again in a moment."
        return Problem(503, "unavailable", message, headers={"Retry-After": "5"})
    return Problem(500, "internal", "The service cannot do this; its log says why.")


async def _chunks(content: BinaryIO, opened: ExitStack) -> AsyncIterator[bytes]:
    with opened:
        while chunk := await anyio.to_thread.run_sync(content.read, _CHUNK_BYTES):
            yield chunk


def _filters(parameters: list[tuple[str, str]]) -> dict[str, Any]:
    filters: dict[str, dict[str, Any]] = {}
    for key, value in parameters:
        if not key.startswith("filter."):
            continue
        name, _, operator = key.removeprefix("filter.").rpartition(".")
        try:
            add_filter(filters, name or operator, operator, value)
        except ValueError as error:
            raise invalid_parameter(key, f"{key[:100]}: {error}") from None
    return filters


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
