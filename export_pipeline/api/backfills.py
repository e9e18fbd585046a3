"""Route of backfills: request the past windows of one scope."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from export_pipeline.api.authentication import Services, Writer
from export_pipeline.api.problems import Problem, responses
from export_pipeline.api.requests import NewRequest, resolve_scope, translate_source_errors
from export_pipeline.datasets.backfills import TooManyWindowsError, request_backfill
from export_pipeline.datasets.requests import RequestError, check_target

router = APIRouter(prefix="/v1/backfills", tags=["exports"], responses=responses(400, 401, 403, 429, 503))


class BackfillRequest(BaseModel):
    """The past windows to request."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "dataset": "records",
                    "cadence": "daily",
                    "scope": "7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11",
                    "from": "2026-01-01",
                    "to": "2026-03-31",
                }
            ]
        },
    )

    dataset: Annotated[str, Field(max_length=200)]
    cadence: Literal["daily", "weekly", "monthly"]
    scope: Annotated[
        str | None, Field(max_length=1_000, description="Whose rows, where the dataset has scopes.")
    ] = None
    first: Annotated[
        date | None, Field(alias="from", description="Windows that begin on this day or later; default: all.")
    ] = None
    last: Annotated[
        date | None, Field(alias="to", description="Windows that begin on this day or earlier; default: all.")
    ] = None
    formats: Annotated[
        list[Annotated[str, Field(max_length=50)]],
        Field(max_length=10, description="Formats of the cadence; by default all of them."),
    ] = []
    again: Annotated[bool, Field(description="Also windows whose file is there; it is replaced.")] = False


class Backfill(BaseModel):
    """Numbers of exports of a backfill: windows times formats."""

    new: Annotated[int, Field(description="Requested for the first time.")]
    repeated: Annotated[int, Field(description="Requested again: failed, canceled, expired, or by `again`.")]
    waiting: Annotated[int, Field(description="Left alone: a request is under way.")]
    completed: Annotated[int, Field(description="Left alone: the file is there.")]
    held: Annotated[int, Field(description="Left alone: the file is under legal hold.")]


@router.post("", status_code=202, responses=responses(404, 413, 422))
async def create_backfill(body: BackfillRequest, service: Services, caller: Writer) -> Backfill:
    """Request the past days, weeks or months of one scope that have no file yet."""
    with translate_source_errors():
        scope = await resolve_scope(service, caller, body.dataset, body.scope)
    caller.check_scope(scope)

    def ask() -> Backfill:
        datasets = caller.visible(service.datasets)
        known = datasets.get(body.dataset)
        format = (body.formats or (known.formats if known else [""]))[0]
        request = NewRequest(body.dataset, format, scope, {}, None, {}, caller.requested_by, [])
        try:
            with translate_source_errors():
                check_target(datasets, lambda name: service.scopes.of(datasets[name], scope), request)
            counts = request_backfill(
                service.ledger,
                datasets[body.dataset],
                service.settings.timezone,
                cadence=body.cadence,
                scope=scope,
                first=body.first,
                last=body.last,
                formats=body.formats,
                again=body.again,
                requested_by=caller.requested_by,
                most=service.settings.api_max_pending,
            )
        except TooManyWindowsError as error:
            raise Problem(413, "too_large", str(error)) from None
        except RequestError as error:
            raise Problem(422, error.code, str(error), list(error.problems)) from None
        return Backfill(**asdict(counts))

    return await service.run(ask)
