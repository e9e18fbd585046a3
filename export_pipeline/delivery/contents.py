"""Contents of a mail about an ended job, computed from the job, its manifest and the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from export_pipeline.delivery.addresses import header_text
from export_pipeline.jobs import Job, Status
from export_pipeline.jobs.errors import SCOPE_DELETED
from export_pipeline.jobs.file_notes import file_notes, notes_of, rows_text, size_text
from export_pipeline.store import NotFoundError, Store, StoreError, manifest_key

if TYPE_CHECKING:
    from export_pipeline.settings import Settings
    from export_pipeline.store.manifest import Manifest

_WARNINGS = 20  # nobody reads more of them in a mail
_LINE_BYTES, _LINE_CHARACTERS = 57, 78  # of base64 in a mail: 76 characters and CRLF for 57 bytes


class GoneError(Exception):
    """Raised when the file is gone, so there is nothing to send; the message says why."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file attached to a mail."""

    content: bytes
    name: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Contents:
    """Contents of a mail before the templates are rendered.

    Attributes:
        template: Name of the template: file or failure.
        subject: Subject, in one line.
        variables: Variables of the templates.
        attachments: The attached files.
    """

    template: str
    subject: str
    variables: dict[str, Any]
    attachments: Sequence[Attachment] = ()


def encoded_bytes(size: int) -> int:
    """Return the encoded size of an attachment from its size in bytes."""
    return -(-size // _LINE_BYTES) * _LINE_CHARACTERS


def failure_contents(job: Job, formats: Sequence[str] = ()) -> Contents:
    """Return the notice that a job has failed.

    Args:
        formats: All formats that have failed together; default: the job's own.
    """
    title = _title(job, None)
    facts = [("Dataset", job.dataset), ("Format", ", ".join(formats) or job.format)]
    facts += [("Scope", job.scope)] if job.scope else []
    period = _period(job)
    facts += [("Period", period)] if period else []
    facts += [("Asked for", _time(job.created_at))]
    facts += [("Code", job.error_code)] if job.error_code else []
    variables = {
        "title": title,
        "error": header_text(job.error_message or "The reason is not known.", 2000),
        "facts": _lines(facts),
        "job_id": job.id,
    }
    return Contents("failure", header_text(f"Export failed: {title}", 150), variables)


@dataclass(frozen=True, slots=True)
class _File:
    """A file of a mail, attached or linked."""

    job: Job
    manifest: Manifest | None
    name: str
    size: int
    attachment: Attachment | None
    link: str | None
    ends: datetime | None


def file_contents(
    job: Job,
    store: Store,
    settings: Settings,
    max_bytes: int | None,
    make_link: Callable[[Job], str] | None = None,
    others: Sequence[Job] = (),
    failed: Sequence[str] = (),
) -> Contents:
    """Return the mail that contains a job's file or a link to it.

    Args:
        max_bytes: Maximum encoded size of all attachments; None for no attachment.
        make_link: Makes a link of the HTTP service, which works as long as the file is there; None to sign
            a link of the store.
        others: Jobs whose files go into the same mail: the same rows in other formats.
        failed: Formats of the same run that could not be made.

    Raises:
        GoneError: the file was removed, or belongs to another dataset or scope.
        StoreError: the store cannot be read now, or the file is being replaced.
    """
    is_note = job.row_count == 0 and job.options.get("empty") == "say"
    files: list[_File] = []
    for one in (job, *others):
        files.append(_read_file(one, store, settings, None if is_note else max_bytes, make_link, is_note))
        if (attachment := files[-1].attachment) and max_bytes is not None:
            max_bytes -= encoded_bytes(len(attachment.content))
    manifest = files[0].manifest
    rows, total_rows = job.row_count, job.total_rows
    if manifest is not None:
        rows, total_rows = manifest.rows, manifest.total_rows
    title = _title(job, manifest)
    period = (manifest.period if manifest else None) or _period(job)
    facts: list[tuple[str, str]] = []
    for file in files if not is_note else ():
        facts += [("File", file.name), ("Size", size_text(file.size))]
    facts += [("Scope", scope)] if (scope := _scope(job, manifest)) else []
    facts += [("Rows", rows_text(rows, total_rows) or "not known")]
    facts += [("Period", period)] if period else []
    filters = _filters(job)
    facts += [("Filters", filters)] if filters else []
    facts += [("Data as of", _time(manifest.snapshot_at))] if manifest else []
    facts += [("Not made", ", ".join(failed))] if failed else []
    links = [file for file in files if file.link]
    ends = [file.ends for file in links if file.ends]
    variables = {
        "title": title,
        "period": header_text(period, 100) if period else None,
        "empty": rows == 0,
        "attached": [file.name for file in files if file.attachment],
        "links": [(file.name, file.link) for file in links],
        "link_ends": _time(min(ends)) if ends else None,
        "warnings": list(dict.fromkeys(note for file in files for note in _notes(file.job, file.manifest))),
        "facts": _lines(facts),
        "job_id": job.id,
    }
    short = header_text(filters, 70) if filters else None
    about = [text for text in (manifest.scope_name if manifest else None, period, short) if text]
    subject = title + (f" ({', '.join(about)})" if about else "")
    subject = f"{subject}: no rows" if rows == 0 else f"Export ready: {subject}"
    attachments = tuple(file.attachment for file in files if file.attachment)
    return Contents("file", header_text(subject, 150), variables, attachments)


def _read_file(
    job: Job,
    store: Store,
    settings: Settings,
    max_bytes: int | None,
    make_link: Callable[[Job], str] | None,
    is_note: bool,
) -> _File:
    """Read a job's file if it fits, or make a link to it.

    Args:
        is_note: Neither attach nor link the file, as the mail says that it has no rows.
    """
    if job.status is not Status.COMPLETED or job.file_key is None:
        raise GoneError(f"the export is {job.status}")
    if job.error_code == SCOPE_DELETED:
        raise GoneError("the application has deleted its scope")
    manifest = _manifest(store, job.file_key)
    if manifest is not None and (manifest.dataset, manifest.scope) != (job.dataset, job.scope):
        raise GoneError("the file in the store is not of this dataset and scope")
    parts = manifest is not None and manifest.parts
    size = manifest.bytes if manifest is not None and parts else _stored_bytes(store, job.file_key)
    name = _file_name(job)
    attachment = link = ends = None
    if max_bytes is not None and not parts and encoded_bytes(size) <= max_bytes:
        attachment = _attachment(job, store, manifest, size)
    elif not is_note:
        key = job.file_key
        if parts and make_link is None:  # only the HTTP service gives them away as one file
            name, key = f"{name}.manifest.json", manifest_key(key)
        link, ends = _link(job, key, store, settings, name, make_link)
    return _File(job, manifest, name, size, attachment, link, ends)


def _stored_bytes(store: Store, key: str) -> int:
    """Return the size of a file in bytes.

    Raises:
        GoneError: the file was removed.
    """
    try:
        return store.stat(key).bytes
    except NotFoundError:
        raise GoneError("the file is no longer in the store") from None


def _manifest(store: Store, key: str) -> Manifest | None:
    """Return the manifest of a file; None if it cannot be read (the mail then has fewer details)."""
    from export_pipeline.store.manifest import ManifestError, read_manifest

    try:
        return read_manifest(store, key)
    except (NotFoundError, ManifestError):
        return None


def _attachment(job: Job, store: Store, manifest: Manifest | None, size: int) -> Attachment:
    from export_pipeline.formats.registry import UnknownFormatError, format_of

    try:
        with store.open(str(job.file_key)) as source:
            content = source.read(size + 1)  # one byte more, to detect that it has grown
    except NotFoundError:
        raise GoneError("the file is no longer in the store") from None
    # A new export of a window replaces the file; then the new manifest has its SHA-256.
    known = {job.sha256, manifest.sha256 if manifest else None}
    if hashlib.sha256(content).hexdigest() not in known:
        raise StoreError("The file in the store is not the one that was made; it may be being replaced.")
    try:
        media_type = format_of(str(job.file_key)).media_type
    except UnknownFormatError:
        media_type = "application/octet-stream"
    return Attachment(content, _file_name(job), media_type)


def _link(
    job: Job, key: str, store: Store, settings: Settings, name: str, make_link: Callable[[Job], str] | None
) -> tuple[str, datetime | None]:
    """Return a new link to a job's file, whose key this is, and the time at which it expires."""
    now = datetime.now(UTC)
    left = settings.mail_link_ttl_seconds
    if job.expires_at is not None:
        left = min(left, int((job.expires_at - now).total_seconds()))
    if left < 1:
        raise GoneError("the file has expired")
    if make_link is not None:
        return make_link(job), job.expires_at
    try:
        link = store.signed_url(key, expires_seconds=left, file_name=name)
    except NotFoundError:
        raise GoneError("the file is no longer in the store") from None
    if not link.startswith("file:"):
        return link, now + timedelta(seconds=left)
    if settings.public_url:
        link = f"{settings.public_url.rstrip('/')}/{quote(key)}"
    return link, job.expires_at


def _file_name(job: Job) -> str:
    from export_pipeline.store.file_names import safe_file_name

    return safe_file_name(job.file_name or str(job.file_key).rpartition("/")[2])


def _title(job: Job, manifest: Manifest | None) -> str:
    return header_text((manifest.title if manifest else None) or job.file_name or job.dataset, 120)


def _notes(job: Job, manifest: Manifest | None) -> list[str]:
    """Return sentences about differences between the file and its source."""
    if manifest is None:
        variables = notes_of(job)
    else:
        variables = file_notes(manifest.rows, manifest.total_rows, manifest.warnings, manifest.changed)
    notes = [header_text(text, 500) for text in variables]
    more = len(notes) - _WARNINGS
    return notes if more <= 0 else [*notes[:_WARNINGS], f"and {more} more"]


def _period(job: Job) -> str | None:
    from export_pipeline.schedules.periods import period_of  # imported late, as it loads Arrow

    return period_of(job)


def _scope(job: Job, manifest: Manifest | None) -> str | None:
    """Return the name of a job's scope, or its id if the name is not known."""
    return (manifest.scope_name if manifest else None) or job.scope


def _filters(job: Job) -> str | None:
    """Return the filters in words, such as "status: PAID; total: min 5"; None if there are none.

    The text that the request gives for a filter stands in for its values.
    """
    displayed = job.options.get("filters_display")
    texts = displayed if isinstance(displayed, dict) else {}
    sentences = []
    for name, operators in sorted(job.filters.items()):
        values = operators if isinstance(operators, dict) else {"equals": operators}
        words = ", ".join(
            _value(value) if operator in ("equals", "in", "range") else f"{operator} {_value(value)}"
            for operator, value in values.items()
            if value is not None
        )
        text = texts.get(name)
        if shown := text if isinstance(text, str) and text else words:
            sentences.append(f"{name.replace('_', ' ')}: {shown}")
    return "; ".join(sentences) or None


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(one)}" for name, one in value.items() if one is not None)
    return value if value and isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _lines(facts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, header_text(value, 300)) for name, value in facts]


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
