"""The output of commands with --json: one shape for each command. See docs/commands.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from export_pipeline.delivery.queue import Mail
from export_pipeline.delivery.webhooks.endpoints import Webhook
from export_pipeline.jobs import Event, Job, Status
from export_pipeline.jobs.api_keys import Key
from export_pipeline.jobs.file_findings import FileFinding


@dataclass(frozen=True, slots=True)
class FormatOutput:
    """A format, as `formats` lists it."""

    format: str
    extension: str
    type: str
    help: str


@dataclass(frozen=True, slots=True)
class ScopeOutput:
    """A scope of a dataset."""

    scope: str
    name: str


@dataclass(frozen=True, slots=True)
class DatasetOutput:
    """A dataset, as `datasets` lists it.

    Attributes:
        scopes: Its scopes with `--scopes`, else None.
    """

    dataset: str
    description: str
    formats: Sequence[str]
    cadences: Sequence[str]
    scopes: Sequence[ScopeOutput] | None


@dataclass(frozen=True, slots=True)
class ExportOutput:
    """One format of a request. Fields are named as those of a job.

    Attributes:
        id: Id of the job; None without a ledger.
    """

    id: str | None
    dataset: str
    scope: str | None
    format: str
    status: Status
    run_id: str | None
    row_count: int | None
    total_rows: int | None
    file_key: str | None
    file_size: int | None
    sha256: str | None
    warnings: Sequence[str]
    changed_cells: Mapping[str, Mapping[str, int]]
    error_code: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class RequestOutput:
    """The output of `request`.

    Attributes:
        store: URL of the store in which the files are.
        log: Log file of an export in the background without a ledger, else None.
        exports: The request's formats.
    """

    store: str
    log: str | None
    exports: Sequence[ExportOutput]


@dataclass(frozen=True, slots=True)
class LinkOutput:
    """The output of `link`.

    Attributes:
        link: The link; of an export in parts, the one to its manifest.
        parts: Links to the files of an export in parts, in the order of their rows.
    """

    link: str
    parts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class DownloadOutput:
    """The output of `download`: paths of the files, relative to the current folder or absolute as given."""

    files: Sequence[str]


@dataclass(frozen=True, slots=True)
class FileOutput:
    """A job's file: whether the store has it, and what its manifest says.

    Attributes:
        there: None if the store is unavailable.
    """

    store: str
    there: bool | None
    note: str
    period: str | None
    totals: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDetails(Job):
    """A job with everything that is known about it, as `show` prints it."""

    period: str | None
    run_url: str | None
    worker: str | None
    file: FileOutput | None
    events: Sequence[Event]
    deliveries: Sequence[Mail]
    unsent: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CanceledJob(Job):
    """A job that `cancel` has canceled, and the fate of its run."""

    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledJob(Job):
    """The job of a schedule's last window, and whether `schedules run-now` has made it."""

    new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWithToken(Key):
    """A new or rotated key of the HTTP service, and the token that is not shown again."""

    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookWithSecret(Webhook):
    """A new or rotated webhook, and the secret that is not shown again."""

    secret: str


@dataclass(frozen=True, slots=True)
class MigrateOutput:
    """The output of `migrate`."""

    database: str
    tables: str


@dataclass(frozen=True, slots=True)
class DeletedScopesOutput:
    """Scopes of a dataset that the application has deleted, as `purge` prints them."""

    dataset: str
    gone: Sequence[str]
    doubtful: Sequence[str]
    canceled: int
    due: int


@dataclass(frozen=True, slots=True)
class PurgeOutput:
    """The output of `purge`: the numbers of findings of each kind, what was freed, and the findings."""

    dry_run: bool
    expired: int
    outdated: int
    incomplete: int
    lost: int
    stray: int
    foreign: int
    failed: int
    bytes: int
    uploads: int
    events: int
    staged: Sequence[str]
    staged_bytes: int
    scopes: Sequence[DeletedScopesOutput]
    ended: bool
    findings: Sequence[FileFinding]


def fields_of(record: Any) -> dict[str, Any]:
    """Return the fields of a dataclass instance by name, not recursively."""
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
