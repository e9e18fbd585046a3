"""Routes that hand out files: the export file itself, and its manifest."""

from __future__ import annotations

import base64
import re
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, RedirectResponse, Response

from export_pipeline.api.callers import Reader, Services
from export_pipeline.api.exports import ExportId
from export_pipeline.api.problems import Problem, responses
from export_pipeline.api.service import Service
from export_pipeline.formats.registry import format_of
from export_pipeline.jobs import EventKind, Job
from export_pipeline.jobs.errors import SCOPE_DELETED
from export_pipeline.jobs.states import Status
from export_pipeline.store import NotFoundError, Store
from export_pipeline.store.folder import FolderStore
from export_pipeline.store.manifest import ManifestError
from export_pipeline.store.names import content_disposition
from export_pipeline.store.publish import read_manifest

router = APIRouter(prefix="/v1/exports", tags=["files"], responses=responses(401, 403, 404, 409, 410, 503))

LINK_SECONDS = 300
"""Lifetime of a link to S3 that is signed for one download."""
_PARTS_SECONDS = 600.0
_MAX_DOWNLOADS = 10_000
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": {"application/octet-stream": {}}},
    206: {"description": "A part of the file."},
    302: {"description": "The file's address in S3, for at most five minutes."},
    304: {"description": "The caller has it already."},
    416: {"description": "The file has no such part."},
}


@router.head("/{export_id}/file", response_class=Response, responses=_FILE)
@router.get("/{export_id}/file", response_class=Response, responses=_FILE)
async def get_file(export_id: ExportId, request: Request, service: Services, caller: Reader) -> Response:
    """Download the file: from the store's folder with ranges, or by a link to S3 that is signed now."""
    job = await service.jobs.get(export_id, caller.viewer)
    return await hand_out(service, job, request, caller.requested_by, {"by": "api", "caller": caller.id})


@router.get("/{export_id}/manifest", response_class=Response)
async def get_manifest(export_id: ExportId, service: Services, caller: Reader) -> Response:
    """Return the manifest: columns, rows, hash, time of the snapshot, and where the file comes from."""
    job = await service.jobs.get(export_id, caller.viewer)
    check_file(job)
    manifest = await service.run(read_manifest, service.store, job.file_key or "")
    return Response(manifest.to_json(), media_type="application/json")


async def hand_out(
    service: Service, job: Job, request: Request, who: str | None, details: dict[str, str]
) -> Response:
    """Return the answer that downloads a job's file, and record the download.

    Raises:
        Problem: there is no file, or no longer.
        StoreError: the store cannot be used.
    """
    check_file(job)
    format = format_of(job.file_key or "")
    name = job.file_name or f"{job.dataset}{format.extension}"
    store = service.store
    if not isinstance(store, FolderStore):
        await _record(service, job, request, who, details)
        url = await service.run(
            store.link,
            job.file_key or "",
            expires_seconds=min(LINK_SECONDS, seconds_left(job)),
            file_name=name,
            media_type=format.media_type,
        )
        return RedirectResponse(url, 302, {"Cache-Control": "no-store"})
    size = (await service.run(store.stat, job.file_key or "")).bytes
    path = await service.run(store.path, job.file_key or "")
    sha256 = await service.run(_sha256, store, job)
    headers = {
        "ETag": f'"{sha256}"',
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:",
        "Content-Disposition": content_disposition(name),
        "Cache-Control": "private, no-store",
    }
    if {headers["ETag"], "*"} & set(_tags(request.headers.get("if-none-match", ""))):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":  # a range means nothing here (RFC 9110, 14.2)
        more = {"Content-Length": str(size), "Accept-Ranges": "bytes"}
        return Response(headers=headers | more, media_type=format.media_type)
    await _record(service, job, request, who, details)
    if not _is_range(request.headers.get("range", "")):  # is ignored (RFC 9110, 14.2)
        request.scope["headers"] = [one for one in request.scope["headers"] if one[0] != b"range"]
    return FileResponse(path, headers=headers, media_type=format.media_type)


def _sha256(store: Store, job: Job) -> str:
    """Return the hash of a job's file. A new export of a window has replaced it, and so its manifest."""
    with suppress(NotFoundError, ManifestError):
        return read_manifest(store, job.file_key or "").sha256
    return job.sha256 or ""


async def _record(
    service: Service, job: Job, request: Request, who: str | None, details: dict[str, str]
) -> None:
    """Record a download. Later parts of the same file are part of it for a while."""
    if request.method == "HEAD":
        return
    request.scope["state"]["audit"] = {"export": job.id, "scope": job.scope, **details}
    download, now = (job.id, *sorted(details.items())), time.monotonic()
    is_part = re.fullmatch(r"bytes=[1-9][0-9]*-[0-9]*", request.headers.get("range", "")) is not None
    if is_part and now - service.downloads.get(download, float("-inf")) < _PARTS_SECONDS:
        return
    await service.run(service.ledger.record, job.id, EventKind.DOWNLOADED, who, details)
    if len(service.downloads) >= _MAX_DOWNLOADS:
        service.downloads.clear()
    service.downloads[download] = now


def check_file(job: Job) -> None:
    """Raise the answer for a job that has no file, or no longer."""
    if job.status in (Status.PENDING, Status.PROCESSING):
        message = f"Export {job.id} is {job.status}; wait for it with `GET /v1/exports/{job.id}?wait=30`."
        raise Problem(409, "not_ready", message, headers={"Retry-After": "2"})
    if job.status in (Status.FAILED, Status.CANCELED):
        raise Problem(409, "state_conflict", f"Export {job.id} is {job.status} and has no file.")
    if job.status is Status.EXPIRED or job.error_code == SCOPE_DELETED or seconds_left(job) < 1:
        raise Problem(410, "expired", f"The file of export {job.id} has expired; ask for it anew.")


def seconds_left(job: Job) -> int:
    """Return the seconds until a file expires, for which a link may be signed; a week under legal hold."""
    if job.expires_at is None or job.legal_hold:
        return int(timedelta(days=7).total_seconds())
    return int((job.expires_at - datetime.now(UTC)).total_seconds())


_RANGE = r"(\d{1,18}-\d{0,18}|-\d{1,18})"
_RANGES = re.compile(rf"bytes={_RANGE}(\s*,\s*{_RANGE})*", re.ASCII)


def _is_range(text: str) -> bool:
    """Return whether the text names ranges of bytes, each with its end after its start."""
    if _RANGES.fullmatch(text) is None:
        return False
    return all(int(start) <= int(end) for start, end in re.findall(r"(\d+)-(\d+)", text))


def _tags(text: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in text.split(",")]
