"""Routes of schedules: exports at regular times."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from export_pipeline.api.authentication import Caller, ScheduleReader, ScheduleWriter, Services
from export_pipeline.api.models import Export
from export_pipeline.api.problems import Problem, responses
from export_pipeline.api.requests import resolve_scope, translate_source_errors
from export_pipeline.api.service import Service
from export_pipeline.datasets.options import FieldProblem
from export_pipeline.datasets.schedules import known_recipients, schedule_check
from export_pipeline.jobs.errors import ScheduleError, UnknownScheduleError
from export_pipeline.schedules import editing
from export_pipeline.schedules.due_requests import run_now
from export_pipeline.schedules.scheduled_export import ScheduledExport

router = APIRouter(prefix="/v1/schedules", tags=["schedules"], responses=responses(401, 403, 429, 503))

ScheduleId = Annotated[str, Path(max_length=100, examples=["7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11"])]
IfMatch = Annotated[
    str | None, Header(max_length=200, description="The `ETag` of the state that is meant, or `*`.")
]


class ScheduleFields(BaseModel):
    """The export of a schedule, and its times."""

    model_config = ConfigDict(extra="forbid")

    format: Annotated[str, Field(max_length=50)]
    additional_formats: Annotated[
        list[Annotated[str, Field(max_length=50)]],
        Field(max_length=10, description="Further formats, sent in the same mail."),
    ] = []
    cadence: Literal["hourly", "daily", "weekly", "monthly", "cron"]
    cron: Annotated[
        str | None,
        Field(
            max_length=200,
            description="Of the cadence `cron`: minute, hour, day of month, month, day of week.",
            examples=["0 7 * * 1-5"],
        ),
    ] = None
    export_window: Annotated[
        Literal["previous", "none"],
        Field(description="The rows of the time before a run, or `none`: every row as of the run."),
    ] = "previous"
    hour: Annotated[int, Field(ge=0, le=23)] = 0
    minute: Annotated[int, Field(ge=0, le=59)] = 0
    weekday: Annotated[int, Field(ge=1, le=7, description="1 Monday to 7 Sunday.")] = 1
    day_of_month: Annotated[int, Field(ge=1, le=31, description="31 is the last day.")] = 1
    timezone: Annotated[str, Field(max_length=100, description="IANA name.")] = "UTC"
    filters: dict[str, Any] = {}
    columns: Annotated[list[str] | None, Field(max_length=5_000)] = None
    options: dict[str, Any] = {}
    recipients: Annotated[list[Annotated[str, Field(max_length=320)]], Field(max_length=100)] = []
    misfire: Annotated[
        Literal["skip", "last", "all"], Field(description="Which missed windows to make up.")
    ] = "last"
    empty: Annotated[
        Literal["send", "skip", "say"], Field(description="What to do where there are no rows.")
    ] = "send"


class ScheduleRequest(ScheduleFields):
    """A new schedule."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "dataset": "records",
                    "format": "excel",
                    "scope": "7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11",
                    "cadence": "weekly",
                    "weekday": 1,
                    "hour": 7,
                    "timezone": "Europe/Berlin",
                    "recipients": ["ann@example.org"],
                }
            ]
        }
    )

    dataset: Annotated[str, Field(max_length=200)]
    scope: Annotated[str | None, Field(max_length=1_000)] = None
    each_scope: Annotated[
        bool,
        Field(
            description="One export for each scope, to the recipients that the dataset names; only for keys "
            "of every scope."
        ),
    ] = False


class ScheduleChange(ScheduleFields):
    """Changes of a schedule; what is left out stays."""

    format: Annotated[str, Field(max_length=50)] = ""
    cadence: Literal["hourly", "daily", "weekly", "monthly", "cron"] = "daily"
    active: bool = True


class Schedule(BaseModel):
    """A schedule."""

    id: str
    dataset: str
    format: str
    additional_formats: list[Any]
    scope: str | None
    each_scope: bool
    cadence: str
    cron: str | None
    export_window: str
    hour: int
    minute: int
    weekday: int
    day_of_month: int
    timezone: str
    filters: dict[str, Any]
    columns: list[Any] | None
    options: dict[str, Any]
    recipients: list[Any]
    misfire: str
    empty: str
    active: bool
    owner: str | None
    problem: Annotated[str | None, Field(description="Why the pipeline set it inactive.")]
    last_run: AwareDatetime | None
    next_run: AwareDatetime | None
    created_at: AwareDatetime


class ScheduleList(BaseModel):
    """Schedules: active ones by next run, then the others."""

    data: list[Schedule]


@router.get("", responses=responses(422))
async def list_schedules(
    service: Services,
    caller: ScheduleReader,
    dataset: Annotated[str | None, Query(max_length=200)] = None,
    active: bool | None = None,
) -> ScheduleList:
    """List the schedules that the caller may see."""
    listed = await service.run(
        editing.list_schedules, service.engine, caller.viewer, dataset=dataset, active=active
    )
    return ScheduleList(data=[_shown(schedule) for schedule in listed])


@router.post("", status_code=201, responses=responses(404, 413, 422))
async def create_schedule(
    body: ScheduleRequest, request: Request, response: Response, service: Services, caller: ScheduleWriter
) -> Schedule:
    """Create a schedule that starts now. The caller becomes its owner."""
    with translate_source_errors():
        scope = await resolve_scope(service, caller, body.dataset, body.scope)
    body = body.model_copy(update={"scope": scope})
    caller.check_scope(body.scope)

    def create() -> ScheduledExport:
        with _translated():
            check = _check_for(service, caller, body.dataset)
            chosen = {**body.model_dump(), "owner": caller.requested_by}
            return editing.create_schedule(service.engine, chosen, _now(), caller.viewer, check)

    made = await service.run(create)
    response.headers["Location"] = f"{request.app.state.base_url}/v1/schedules/{made.id}"
    response.headers["ETag"] = _etag(made)
    return _shown(made)


@router.get("/{schedule_id}", responses=responses(404))
async def get_schedule(
    schedule_id: ScheduleId, response: Response, service: Services, caller: ScheduleReader
) -> Schedule:
    """Return a schedule, with an `ETag` for changing it."""
    schedule = await service.run(_schedule, service, schedule_id, caller)
    response.headers["ETag"] = _etag(schedule)
    return _shown(schedule)


@router.patch("/{schedule_id}", responses=responses(404, 412, 413, 422, 428))
async def change_schedule(
    schedule_id: ScheduleId,
    body: ScheduleChange,
    response: Response,
    service: Services,
    caller: ScheduleWriter,
    if_match: IfMatch = None,
) -> Schedule:
    """Change a schedule at once. `If-Match` says which state is changed; `active` pauses and resumes it."""
    changes = body.model_dump(exclude_unset=True)

    def change() -> ScheduledExport:
        with _translated():
            was = _schedule(service, schedule_id, caller)
            _require_match(if_match, was)
            check = _check_for(service, caller, was.dataset)
            made = editing.update_schedule(
                service.engine,
                schedule_id,
                {name: value for name, value in changes.items() if name != "active"},
                caller.viewer,
                check,
                expected=lambda now: _require_match(if_match, now),
            )
            match changes.get("active"):
                case True:
                    made = editing.resume_schedule(service.engine, schedule_id, _now(), caller.viewer, check)
                case False:
                    made = editing.pause_schedule(service.engine, schedule_id, caller.viewer)
            return made

    made = await service.run(change)
    response.headers["ETag"] = _etag(made)
    return _shown(made)


@router.delete("/{schedule_id}", status_code=204, responses=responses(404, 412))
async def delete_schedule(
    schedule_id: ScheduleId, service: Services, caller: ScheduleWriter, if_match: IfMatch = None
) -> None:
    """Delete a schedule. The exports that it has made stay."""

    def delete() -> None:
        with _translated():
            if if_match is not None:
                _require_match(if_match, _schedule(service, schedule_id, caller))
            editing.delete_schedule(service.engine, schedule_id, caller.viewer)

    await service.run(delete)


@router.post("/{schedule_id}/run", status_code=202, responses=responses(404, 422))
async def run_schedule(
    schedule_id: ScheduleId, request: Request, response: Response, service: Services, caller: ScheduleWriter
) -> Export:
    """Request its export now: the window of its last run, or every row as of now. Its next run stays."""

    def run() -> str:
        with _translated():
            schedule = editing.get_schedule(service.engine, schedule_id, caller.viewer)
            names = [schedule.dataset] if schedule.each_scope else []
            recipients, unreadable = known_recipients(service.scopes, service.datasets, names)
            if unreadable:
                raise ScheduleError(f"each_scope: {unreadable[schedule.dataset]}")
            now = _now()
            return run_now(service.engine, schedule_id, now, caller.viewer, recipients=recipients)[0]

    job = await service.run(service.ledger.get, await service.run(run))
    response.headers["Location"] = f"{request.app.state.base_url}/v1/exports/{job.id}"
    return Export.of(job)


def _schedule(service: Service, schedule_id: str, caller: Caller) -> ScheduledExport:
    with _translated():
        return editing.get_schedule(service.engine, schedule_id, caller.viewer)


def _check_for(service: Service, caller: Caller, dataset: str) -> Any:
    datasets = caller.visible(service.datasets)
    known = {}
    if dataset in datasets and datasets[dataset].scoped:
        with translate_source_errors():
            known[dataset] = service.scopes.of(datasets[dataset])
    return schedule_check(datasets, known)


def _require_match(if_match: str | None, schedule: ScheduledExport) -> None:
    """Raise the answer for a schedule that is not in the state that the caller means."""
    if if_match is None:
        raise Problem(428, "precondition_required", "Send the schedule's ETag as If-Match, or `*`.")
    tags = [tag.strip() for tag in if_match.split(",")]
    if "*" not in tags and _etag(schedule) not in tags:
        message = "The schedule has changed meanwhile; read it again."
        raise Problem(412, "precondition_failed", message, headers={"ETag": _etag(schedule)})


def _etag(schedule: ScheduledExport) -> str:
    fields = {name: value for name, value in asdict(schedule).items() if name in _STATE}
    return f'"{hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:32]}"'


_STATE = {*editing.EDITABLE, "active", "id"}
"""Fields that people change; the pipeline changes the others, which is no conflict."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except UnknownScheduleError as error:
        raise Problem(404, "not_found", str(error)) from None
    except ScheduleError as error:
        field, colon, _ = str(error).partition(":")
        path = tuple(field.split(".")) if colon and field.replace("_", "").replace(".", "").isalnum() else ()
        if path and path[0] not in editing.EDITABLE:
            path = ("options", *path)
        problem = FieldProblem(path, str(error))
        raise Problem(422, "invalid_schedule", str(error), [problem]) from None


def _shown(schedule: ScheduledExport) -> Schedule:
    values: Mapping[str, Any] = asdict(schedule)
    return Schedule(**{name: values[name] for name in Schedule.model_fields})


def _now() -> datetime:
    return datetime.now(UTC)
