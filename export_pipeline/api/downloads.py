"""Routes of downloads: export files, their parts and manifests."""

from __future__ import annotations

import base64
import os
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from export_pipeline.api.authentication import Reader, Services
from export_pipeline.api.exports import ExportId
from export_pipeline.api.problems import Problem, not_found, responses
from export_pipeline.api.service import Service
from export_pipeline.formats.registry import FORMATS, format_of
from export_pipeline.jobs import EventKind, Job
from export_pipeline.jobs.errors import SCOPE_DELETED
from export_pipeline.jobs.states import Status
from export_pipeline.store import NotFoundError, Store
from export_pipeline.store.file_names import content_disposition
from export_pipeline.store.folder import FolderStore
from export_pipeline.store.manifest import Manifest, ManifestError, read_manifest
from export_pipeline.store.parts import MAX_PARTS, name_part, zip_parts
from export_pipeline.store.publish import is_whole

router = APIRouter(prefix="/v1/exports", tags=["files"], responses=responses(401, 403, 404, 409, 410, 503))

LINK_SECONDS = 300
"""Lifetime of a link to S3 that is signed for one download."""
_PARTS_SECONDS = 600.0
_MAX_DOWNLOADS = 10_000
_LOOKS, _LOOK_SECONDS = 10, 0.02
"""A new export replaces a file, then its manifest, within less than this time."""
FILE_CONTENT: dict[str, dict[str, Any]] = {
    format.media_type.partition(";")[0]: {} for format in FORMATS.values()
}
"""Media types of files, for the OpenAPI document."""
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": FILE_CONTENT},
    206: {"description": "A part of the file.", "content": {**FILE_CONTENT, "multipart/byteranges": {}}},
    302: {"description": "The file's address in S3, for at most five minutes."},
    304: {"description": "The caller has it already."},
    416: {"description": "The file has no such part."},
}


PartNumber = Annotated[
    int | None, Query(ge=1, le=MAX_PARTS, description="Number of a part, of an export in parts.")
]


class PartInfo(BaseModel):
    """A file of an export in parts."""

    number: int
    file_name: str
    row_count: int
    file_size: int
    sha256: str


class PartList(BaseModel):
    """The files of an export in parts."""

    data: list[PartInfo]


@router.head("/{export_id}/file", response_class=Response, responses=_FILE)
@router.get("/{export_id}/file", response_class=Response, responses=_FILE)
async def get_file(
    export_id: ExportId, request: Request, service: Services, caller: Reader, part: PartNumber = None
) -> Response:
    """Download the file: from a folder with byte ranges, from S3 by a redirect to a newly signed link.

    An export in parts is sent as one ZIP, without ranges; `part` downloads one of its files.
    """
    job = await service.jobs.get(export_id, caller.viewer)
    details = {"by": "api", "caller": caller.id}
    return await send_file(service, job, request, caller.requested_by, details, part)


@router.get("/{export_id}/parts")
async def list_parts(export_id: ExportId, service: Services, caller: Reader) -> PartList:
    """List the files of an export in parts, in the order of their rows. An export of one file has none."""
    job = await service.jobs.get(export_id, caller.viewer)
    check_file(job)
    manifest = await service.run(read_manifest, service.store, job.file_key or "")
    name = job.file_name or job.dataset
    return PartList(
        data=[
            PartInfo(
                number=number,
                file_name=name_part(name, number),
                row_count=part.rows,
                file_size=part.bytes,
                sha256=part.sha256,
            )
            for number, part in enumerate(manifest.parts, start=1)
        ]
    )


@router.get("/{export_id}/manifest", response_class=Response)
async def get_manifest(export_id: ExportId, service: Services, caller: Reader) -> Response:
    """Return the manifest: columns, rows, hash, time of the snapshot, and where the file comes from."""
    job = await service.jobs.get(export_id, caller.viewer)
    check_file(job)
    manifest = await service.run(read_manifest, service.store, job.file_key or "")
    return Response(manifest.to_json(), media_type="application/json")


async def send_file(
    service: Service,
    job: Job,
    request: Request,
    who: str | None,
    details: dict[str, str],
    part: int | None = None,
    count_use: Callable[[], Awaitable[None]] | None = None,
) -> Response:
    """Return the response that downloads a job's file, and record the download.

    Args:
        part: Number of the part of an export in parts; None for a ZIP of all.
        count_use: Called before bytes are handed out, when nothing else can be in the way. It may refuse.

    Raises:
        Problem: there is no file, or none any more.
        StoreError: the store cannot be used.
    """
    check_file(job)
    format = format_of(job.file_key or "")
    name = job.file_name or f"{job.dataset}{format.extension}"
    store, key = service.store, job.file_key or ""
    is_head = request.method == "HEAD"  # says what the file is; a signed link would hand it out

    async def record() -> None:
        if count_use is not None:
            await count_use()
        await _record(service, job, request, who, details)

    manifest = await service.run(_manifest, store, key) if format.has_parts or part is not None else None
    if manifest is not None and manifest.parts and part is None:
        if not await service.run(is_whole, store, key):
            raise NotFoundError(f"A part of {key} is missing.")
        answer = _zip(store, key, manifest, name, request)
        if isinstance(answer, StreamingResponse):
            await record()
        return answer
    if part is not None:
        parts = manifest.part_keys(key) if manifest is not None else []
        if part > len(parts):
            raise not_found(f"part {part}; it has {len(parts)} parts")
        key, name, details = parts[part - 1], name_part(name, part), {**details, "part": str(part)}
    size = (await service.run(store.stat, key)).bytes
    if not isinstance(store, FolderStore) and not is_head:
        url = await service.run(
            store.signed_url,
            key,
            expires_seconds=min(LINK_SECONDS, seconds_left(job)),
            file_name=name,
            media_type=format.media_type,
        )
        await record()
        return RedirectResponse(url, 302, {"Cache-Control": "no-store"})
    if part is not None and manifest is not None:
        sha256 = manifest.parts[part - 1].sha256
    else:  # a new export of a window has replaced the file, and so its manifest
        manifest = manifest or await service.run(_manifest, store, key)
        sha256 = manifest.sha256 if manifest is not None else job.sha256 or ""
    headers = {
        **_digests(sha256),
        "Content-Disposition": content_disposition(name),
        "Cache-Control": "private, no-store",
    }
    if {headers["ETag"], "*"} & set(_tags(request.headers.get("if-none-match", ""))):
        return Response(status_code=304, headers=headers)
    if is_head:  # a range means nothing here (RFC 9110, 14.2)
        more = {"Content-Length": str(size), "Accept-Ranges": "bytes"}
        return Response(headers=headers | more, media_type=format.media_type)
    assert isinstance(store, FolderStore)  # of another one, a HEAD was answered above
    with ExitStack() as opened:
        file, current = await service.run(_open_current, store, key, opened)
        if part is None and current is not None:
            headers |= _digests(current.sha256)
        answer = _OpenFileResponse(file, headers=headers, media_type=format.media_type)
        ranges = _ranges(request.headers.get("range", ""), answer.size)
        if request.headers.get("if-range", answer.headers["etag"]) not in (
            answer.headers["etag"],
            answer.headers["last-modified"],
        ):
            ranges = []
        if any(start >= answer.size for start in ranges):
            beyond = {"Content-Range": f"bytes */{answer.size}", "Cache-Control": "no-store"}
            return Response(status_code=416, headers=beyond)
        await record()  # it may refuse, and the file is closed then
        answer.opened = opened.pop_all()
    if not ranges:  # is ignored (RFC 9110, 14.2)
        request.scope["headers"] = [one for one in request.scope["headers"] if one[0] != b"range"]
    return answer


def _digests(sha256: str) -> dict[str, str]:
    """Return the headers that name a file's content."""
    digest = base64.b64encode(bytes.fromhex(sha256)).decode()
    return {"ETag": f'"{sha256}"', "Repr-Digest": f"sha-256=:{digest}:"}


def _open_current(store: FolderStore, key: str, opened: ExitStack) -> tuple[BinaryIO, Manifest | None]:
    """Open a file together with its manifest, also while a new export of its window replaces both.

    Args:
        opened: Closes the file.
    """
    for last in (False,) * _LOOKS + (True,):
        with ExitStack() as one:
            file = one.enter_context(store.open(key))
            manifest, facts = _manifest(store, key), os.fstat(file.fileno())
            is_current = os.path.samestat(facts, store.path(key).stat())
            if last or manifest is None or (is_current and manifest.bytes == facts.st_size):
                opened.enter_context(one.pop_all())
                return file, manifest
        time.sleep(_LOOK_SECONDS)
    raise AssertionError


class _OpenFileResponse(FileResponse):
    """Sends an open file: the whole of it, even if it is replaced or removed meanwhile.

    Attributes:
        size: Bytes of the file.
        opened: Closed after the file is sent.
    """

    def __init__(self, file: BinaryIO, **options: Any) -> None:
        self.opened, facts = ExitStack(), os.fstat(file.fileno())
        self.size = facts.st_size
        super().__init__(f"/dev/fd/{file.fileno()}", stat_result=facts, **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.opened:
            await super().__call__(scope, receive, send)


def _zip(store: Store, key: str, manifest: Manifest, name: str, request: Request) -> Response:
    """Return the answer that sends all parts of an export as one ZIP."""
    headers = {
        "ETag": f'"{manifest.sha256}"',
        "Content-Disposition": content_disposition(f"{name}.zip"),
        "Cache-Control": "private, no-store",
    }
    if {headers["ETag"], "*"} & set(_tags(request.headers.get("if-none-match", ""))):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers=headers, media_type="application/zip")
    return StreamingResponse(
        zip_parts(store, key, manifest, name), headers=headers, media_type="application/zip"
    )


def _manifest(store: Store, key: str) -> Manifest | None:
    with suppress(NotFoundError, ManifestError):
        return read_manifest(store, key)
    return None


async def _record(
    service: Service, job: Job, request: Request, who: str | None, details: dict[str, str]
) -> None:
    """Record a download. Later parts of the same file are part of it for a while."""
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
    """Raise Problem if a job has no file, or none any more."""
    if job.status in (Status.PENDING, Status.PROCESSING):
        message = f"Export {job.id} is {job.status}; wait for it with `GET /v1/exports/{job.id}?wait=30`."
        raise Problem(409, "not_ready", message, headers={"Retry-After": "2"})
    if job.status in (Status.FAILED, Status.CANCELED):
        raise Problem(409, "state_conflict", f"Export {job.id} is {job.status} and has no file.")
    if job.error_code == SCOPE_DELETED:
        kept = "; it is kept under legal hold" if job.legal_hold else ""
        message = (
            f"The scope of export {job.id} was deleted, so its file cannot be downloaded any more{kept}."
        )
        raise Problem(410, "expired", message)
    if job.status is Status.EXPIRED or seconds_left(job) < 1:
        raise Problem(410, "expired", f"The file of export {job.id} has expired; request it again.")


def seconds_left(job: Job) -> int:
    """Return the seconds until a job's file expires, which limit its links; a week under legal hold."""
    if job.expires_at is None or job.legal_hold:
        return int(timedelta(days=7).total_seconds())
    return int((job.expires_at - datetime.now(UTC)).total_seconds())


_RANGE = r"(\d{1,18}-\d{0,18}|-\d{1,18})"
_RANGES = re.compile(rf"bytes={_RANGE}(\s*,\s*{_RANGE})*", re.ASCII)


def _ranges(text: str, size: int) -> list[int]:
    """Return where the ranges of bytes begin that a header names; none if one is malformed."""
    if _RANGES.fullmatch(text) is None:
        return []
    named = re.findall(r"(\d*)-(\d*)", text)
    if any(start and end and int(start) > int(end) for start, end in named):
        return []
    return [int(start) if start else max(size - int(end), 0) for start, end in named]


def _tags(text: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in text.split(",")]
