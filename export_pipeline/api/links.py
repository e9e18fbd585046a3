"""Links to files: created by callers, opened by anybody who has them, without a login."""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from export_pipeline.api.authentication import LinkMaker, Services
from export_pipeline.api.downloads import FILE_CONTENT, PartNumber, check_file, send_file
from export_pipeline.api.exports import ExportId
from export_pipeline.api.problems import Problem, not_found, responses, translate
from export_pipeline.jobs import Job, LedgerError
from export_pipeline.jobs.file_notes import notes_of, rows_text, size_text
from export_pipeline.jobs.link_tokens import (
    Link,
    count_use,
    create_link,
    link_address,
    list_links,
    open_link,
    revoke_link,
)
from export_pipeline.jobs.states import Status
from export_pipeline.schedules.periods import period_of
from export_pipeline.store import Store, StoreError
from export_pipeline.store.file_names import safe_file_name
from export_pipeline.store.manifest import read_manifest
from export_pipeline.store.parts import name_part

router = APIRouter(prefix="/v1/exports", tags=["links"], responses=responses(401, 403, 404, 429, 503))
pages = APIRouter(prefix="/d", tags=["links"], responses=responses(404, 410, 503))

_MAX_SECONDS = 90 * 24 * 3600
_REFRESH_SECONDS = 3
Token = Annotated[str, Path(max_length=100)]


class LinkRequest(BaseModel):
    """The life of a link, and the number of its uses."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"expires_in": 86_400}]})

    expires_in: Annotated[
        int | None,
        Field(ge=60, le=_MAX_SECONDS, description="Seconds; by default as long as the file is kept."),
    ] = None
    max_uses: Annotated[
        int | None, Field(ge=1, le=1_000, description="Downloads; by default any number.")
    ] = None


class LinkInfo(BaseModel):
    """A link, without its token."""

    id: str
    created_at: AwareDatetime
    created_by: str | None
    expires_at: AwareDatetime | None
    max_uses: int | None
    uses: int
    revoked_at: AwareDatetime | None


class NewLink(LinkInfo):
    """A new link, with its address, which cannot be shown again."""

    url: str


class LinkList(BaseModel):
    """The links of an export, newest first."""

    data: list[LinkInfo]


@router.post("/{export_id}/links", status_code=201, responses=responses(410, 422))
async def create_export_link(
    export_id: ExportId,
    request: Request,
    service: Services,
    caller: LinkMaker,
    body: LinkRequest | None = None,
) -> NewLink:
    """Create a link by which anybody can download the file once it exists."""
    body = body or LinkRequest()
    job = await service.jobs.get(export_id, caller.viewer)
    if job.status is Status.EXPIRED:
        check_file(job)
    expires_at = None
    if body.expires_in is not None:
        expires_at = datetime.now(UTC) + timedelta(seconds=body.expires_in)
    link, token = await service.run(
        create_link,
        service.engine,
        job.id,
        expires_at=expires_at,
        max_uses=body.max_uses,
        created_by=caller.requested_by,
    )
    base = request.app.state.base_url or str(request.base_url).rstrip("/")
    return NewLink(**_info(link), url=link_address(base, token))


@router.get("/{export_id}/links")
async def list_export_links(export_id: ExportId, service: Services, caller: LinkMaker) -> LinkList:
    """List the links of an export, without their tokens."""
    job = await service.jobs.get(export_id, caller.viewer)
    links = await service.run(list_links, service.engine, job.id)
    return LinkList(data=[LinkInfo(**_info(link)) for link in links])


@router.delete("/{export_id}/links/{link_id}", status_code=204)
async def revoke_export_link(
    export_id: ExportId, link_id: Annotated[str, Path(max_length=100)], service: Services, caller: LinkMaker
) -> None:
    """Revoke a link at once."""
    job = await service.jobs.get(export_id, caller.viewer)
    if not await service.run(revoke_link, service.engine, job.id, link_id):
        raise not_found(f"link {link_id!r}")


_DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page about the file for a browser, or the file.",
        "content": {"text/html": {}, **FILE_CONTENT},
    },
    206: {"description": "A part of the file.", "content": {**FILE_CONTENT, "multipart/byteranges": {}}},
    302: {"description": "The file's address in S3, for at most five minutes."},
    304: {"description": "The caller has it already."},
    416: {"description": "The file has no such part."},
    **{
        status: {**error, "content": {**error["content"], "text/html": {}}}
        for status, error in responses(404, 409, 410, 503).items()
    },
}


@pages.get("/{token}", response_class=Response, responses=_DOWNLOAD)
async def open_download_page(token: Token, request: Request, service: Services) -> Response:
    """Show a browser a page about the file; send a program the file."""
    if "text/html" not in request.headers.get("accept", ""):
        return await download_by_link(token, request, service)
    try:
        job, link = await _opened(service, token)
        if job.status in (Status.PENDING, Status.PROCESSING):
            page = render_page("progress", job=job, percent=job.progress_percent)
            page.headers["Refresh"] = str(_REFRESH_SECONDS)
            return page
        if job.status in (Status.FAILED, Status.CANCELED):
            return render_page("failed", job=job)
        check_file(job)
        facts = await service.run(_facts, service.store, job)
        if link.max_uses is not None:
            facts["parts"] = []  # each would be a use
        return render_page("file", token=token, job=job, **facts)
    except (Problem, LedgerError, StoreError) as error:
        return _error_page(error)


@pages.head("/{token}", include_in_schema=False)
@pages.head("/{token}/file", include_in_schema=False)
@pages.get("/{token}/file", response_class=Response, responses=_DOWNLOAD)
async def download_by_link(
    token: Token, request: Request, service: Services, part: PartNumber = None
) -> Response:
    """Send the file to whoever has the link."""
    try:
        job, link = await _opened(service, token)
        check_file(job)

        async def count() -> None:
            if not await service.run(count_use, service.engine, link):
                raise _dead()

        details = {"by": "link", "link": link.id}
        return await send_file(service, job, request, None, details, part, count)
    except (Problem, LedgerError, StoreError) as error:
        if "text/html" in request.headers.get("accept", ""):
            return _error_page(error)
        raise


async def _opened(service: Services, token: str) -> tuple[Job, Link]:
    """Return the job and the link of a token.

    Raises:
        Problem: there is no such link, or it is dead.
    """
    opened = await service.run(open_link, service.engine, token)
    if opened is None:
        raise Problem(
            404, "not_found", "There is no such link; copy its whole address, or ask for a new one."
        )
    link, job, is_alive = opened
    if not is_alive:
        raise _dead()
    return job, link


def _dead() -> Problem:
    return Problem(410, "expired", "This link has expired, was used up or was revoked; ask for a new one.")


def _error_page(error: Exception) -> HTMLResponse:
    problem = translate(error)
    return render_page("gone", problem.status)


def _facts(store: Store, job: Job) -> dict[str, Any]:
    manifest = None
    with suppress(StoreError):  # it is in the way of nothing but two facts
        manifest = read_manifest(store, str(job.file_key))
    return {
        "name": safe_file_name(job.file_name or job.dataset),
        "size": size_text(job.file_size or 0),
        "rows": rows_text(job.row_count, job.total_rows),
        # Only the manifest knows whether the window limits the rows, or only when they existed.
        "period": (manifest and manifest.period) or period_of(job),
        "snapshot": manifest and manifest.snapshot_at,
        "parts": [
            (
                name_part(job.file_name or job.dataset, number),
                rows_text(part.rows, None),
                size_text(part.bytes),
            )
            for number, part in enumerate(manifest.parts if manifest else (), start=1)
        ],
        "notes": notes_of(job)[:20],
        "made": job.completed_at,
        "expires": None if job.legal_hold else job.expires_at,
    }


def render_page(template: str, status: int = 200, /, **variables: Any) -> HTMLResponse:
    """Return a page that runs no script, loads nothing, cannot be framed, and posts to this service only."""
    environment, style_hash = _templates()
    html = environment.get_template(f"{template}.html").render(status=status, **variables)
    policy = f"default-src 'none'; style-src 'sha256-{style_hash}'; base-uri 'none'; form-action 'self'"
    headers = {
        "Content-Security-Policy": f"{policy}; frame-ancestors 'none'",
        "Cache-Control": "no-store",
        "X-Robots-Tag": "noindex",
    }
    return HTMLResponse(html, status, headers)


@cache
def _templates() -> tuple[Environment, str]:
    environment = Environment(loader=PackageLoader("export_pipeline.api", "pages"), autoescape=True)
    environment.filters["moment"] = lambda at: f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    style = environment.loader.get_source(environment, "style.css")[0].strip()  # type: ignore[union-attr]
    environment.globals["style"] = style
    return environment, base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


def _info(link: Link) -> dict[str, Any]:
    return {name: getattr(link, name) for name in LinkInfo.model_fields}
