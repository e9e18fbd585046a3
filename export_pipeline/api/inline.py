"""The route of small exports: the file itself is the answer, sent when it has been proven."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from typing import Annotated, Any, BinaryIO

import anyio
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from export_pipeline.api.callers import Caller, Reader, Services
from export_pipeline.api.exports import MadeRequest, check_request, resolve_scope, translate_source_errors
from export_pipeline.api.pool import BusyError, DeadlineError, ExportPool
from export_pipeline.api.problems import Problem, not_found, responses
from export_pipeline.api.service import Service
from export_pipeline.datasets.filter_texts import add_filter
from export_pipeline.datasets.options import FieldProblem
from export_pipeline.datasets.request_body import ExportRequest
from export_pipeline.datasets.requests import config_of
from export_pipeline.formats.registry import FORMATS
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError
from export_pipeline.store.names import content_disposition

router = APIRouter(
    prefix="/v1/datasets", tags=["datasets"], responses=responses(401, 403, 404, 413, 422, 429, 503)
)

_CHUNK_BYTES = 64 << 10
_EXTENSIONS = {
    format.extension.removeprefix("."): name
    for name, format in FORMATS.items()
    if name in ("csv", "json", "jsonl", "excel", "pdf", "parquet")
}
_PLAIN = ("scope", "columns", "preset", "sort")
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file, whole and proven.", "content": {"application/octet-stream": {}}}
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
    """Export up to 10,000 rows at once.

    `filter.NAME.OPERATOR=VALUE` filters, e.g. `filter.status.in=SENT,PAID` or
    `filter.sale_date.from=2026-01-01`; `option.NAME=VALUE` sets an option of the format. The first byte is
    sent when the file has been read back and compared with the database. A larger export answers 413 with
    the body for `POST /v1/exports`.
    """
    format = _EXTENSIONS.get(extension)
    if format is None:
        raise not_found(f"format .{extension}; there are {', '.join(_EXTENSIONS)}")
    _refuse_unknown(request.query_params.multi_items())
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
    (asked,) = await service.run(check_request, service, caller, body)
    file = await _make(service, caller, asked, body, request.app.state.pool)
    opened = await service.run(_open_and_unlink, file.path)
    request.scope["state"]["audit"] = {
        "dataset": name,
        "scope": scope,
        "rows": file.rows,
        "sha256": file.sha256,
    }
    headers = {
        "Content-Length": str(file.size),
        "Content-Disposition": content_disposition(file.name),
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(file.sha256)).decode()}:",
        "Export-Rows": str(file.rows),
        "Export-Warnings": str(len(file.warnings)),
        "Export-Snapshot-At": file.snapshot_at,
    }
    return StreamingResponse(_chunks(opened), headers=headers, media_type=file.media_type)


async def _make(
    service: Service, caller: Caller, asked: MadeRequest, body: ExportRequest, pool: ExportPool
) -> Any:
    """Have the file made.

    Raises:
        Problem: it is too large, the source cannot be read, or no process is free.
    """
    from export_pipeline.api.inline_work import InlineRequest, TooManyRowsError

    config = config_of(service.datasets[asked.dataset], asked)
    made = InlineRequest(
        service.settings.source_url, asked.dataset, asked.format, asked.scope, config, pool.folder
    )
    again = body.model_dump(exclude_defaults=True)
    try:
        return await service.run_inline(pool.run, made)
    except BusyError:
        message = "All processes for small exports are busy; try again in a moment."
        raise Problem(503, "unavailable", message, headers={"Retry-After": "2"}) from None
    except (TooManyRowsError, DeadlineError) as error:
        message = f"{error} Ask for it with `POST /v1/exports`, whose body is in `request`."
        raise Problem(413, "too_large", message, request=again) from None
    except SourceUnavailableError:
        message = "The application's database does not answer; try again in a moment."
        raise Problem(503, "unavailable", message, headers={"Retry-After": "5"}) from None
    except SourceError as error:
        raise Problem(422, "source_error", str(error)) from None


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    """Yield a file's bytes. It has no name any more, so its room is free as soon as it is closed."""
    with file:
        while chunk := await anyio.to_thread.run_sync(file.read, _CHUNK_BYTES):
            yield chunk


def _open_and_unlink(path: str) -> BinaryIO:
    file = open(path, "rb")  # noqa: SIM115
    os.unlink(path)
    return file


def _filters(parameters: list[tuple[str, str]]) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {}
    for key, value in parameters:
        if not key.startswith("filter."):
            continue
        name, _, operator = key.removeprefix("filter.").rpartition(".")
        try:
            add_filter(found, name or operator, operator, value)
        except ValueError as error:
            raise _invalid(key, f"{key[:100]}: {error}") from None
    return found


def _refuse_unknown(parameters: list[tuple[str, str]]) -> None:
    """Refuse a parameter that does not exist or is given twice; only the last of its values would count."""
    seen: set[str] = set()
    for key, _ in parameters:
        if key not in _PLAIN and not key.startswith(("filter.", "option.")):
            known = [*_PLAIN, "filter.NAME.OPERATOR", "option.NAME"]
            raise _invalid(key, f"There is no parameter {key[:100]!r}.", known)
        if key in seen:
            raise _invalid(key, f"The parameter {key[:100]} is given twice; give it once.")
        seen.add(key)


def _invalid(key: str, message: str, allowed: list[str] | None = None) -> Problem:
    return Problem(422, "invalid_request", message, [FieldProblem((key[:100],), message, allowed)])


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
