"""Messages that request exports: the body of `POST /v1/exports`, or `TABLE_EXPORT` of Connexus."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from export_pipeline.core.messages import describe_error
from export_pipeline.datasets.request_body import ExportRequest
from export_pipeline.redaction import RedactedError
from export_pipeline.schedules.scheduled_export import SCHEDULE_OPTIONS

ExportId = Annotated[str, Field(min_length=1, max_length=200)]

_FORMATS = {"XLSX": "excel", "CSV": "csv", "PDF": "pdf"}
_RESERVED = {*SCHEDULE_OPTIONS, "requested_by", "preset", "sort"}


class MessageError(RedactedError):
    """Raised when a message cannot be understood. The message is one line with the field's place."""


class QueueRequest(ExportRequest):
    """A request as `POST /v1/exports` takes it, with what HTTP says in headers."""

    exportId: ExportId
    requested_by: Annotated[str | None, Field(max_length=500)] = None


class TableExportData(BaseModel):
    """The body of a `TABLE_EXPORT` message. A dataset with scopes needs `scope`."""

    model_config = ConfigDict(extra="forbid")

    fileType: str
    type: str
    exportId: ExportId
    userId: Annotated[str, Field(max_length=500)]
    scope: Annotated[str | None, Field(max_length=1_000)] = None
    filters: dict[str, Any] | None = None
    sort: list[str] | str | None = None


class TableExportMessage(BaseModel):
    """The message that Connexus sends."""

    model_config = ConfigDict(extra="forbid")

    message: Literal["TABLE_EXPORT"]
    data: TableExportData


def parse_message(body: str, types: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the arguments of `Ledger.request` for each export that a message requests.

    Args:
        body: The message's body, JSON.
        types: Dataset, or `dataset:preset`, by type of `TABLE_EXPORT`. A type that is not there is the
            dataset of its name in small letters.

    Raises:
        MessageError: it is not a request.
    """
    try:
        whole = json.loads(body)
    except (ValueError, RecursionError):
        raise MessageError("The message's body is not JSON.") from None
    try:
        if isinstance(whole, dict) and "message" in whole:
            return [_table_export(TableExportMessage.model_validate(whole).data, types)]
        return _requests(QueueRequest.model_validate(whole))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MessageError(f"{where or 'The message'}: {describe_error(first)}.") from None


def _table_export(data: TableExportData, types: Mapping[str, str]) -> dict[str, Any]:
    dataset, _, preset = types.get(data.type, data.type.lower()).partition(":")
    sort = [data.sort] if isinstance(data.sort, str) else data.sort
    options = {name: value for name, value in {"preset": preset or None, "sort": sort}.items() if value}
    return {
        "dataset": dataset,
        "format": _FORMATS.get(data.fileType, data.fileType.lower()),
        "scope": data.scope,
        "filters": {name: _condition(value) for name, value in (data.filters or {}).items()},
        "options": options,
        "requested_by": data.userId,
        "idempotency_key": data.exportId,
    }


def _condition(value: Any) -> Any:
    """Return the condition that a plain value of a filter means: equal to it, or to one of a list."""
    if isinstance(value, Mapping):
        return value
    return {"in": value} if isinstance(value, list) else {"equals": value}


def _requests(body: QueueRequest) -> list[dict[str, Any]]:
    if reserved := sorted(_RESERVED & body.options.keys()):
        raise MessageError(f"options.{reserved[0]}: this is not an option of a request; leave it out.")
    named = {"preset": body.preset, "sort": body.sort}
    fields = {
        "dataset": body.dataset,
        "scope": body.scope,
        "filters": body.filters,
        "columns": body.columns,
        "options": body.options | {name: value for name, value in named.items() if value is not None},
        "requested_by": body.requested_by,
        "recipients": body.recipients,
        "priority": body.priority,
        "webhook_id": body.webhook_id,
    }
    if body.formats is None:
        return [{**fields, "format": body.format, "idempotency_key": body.exportId}]
    return [
        {**fields, "format": format, "idempotency_key": f"{body.exportId}:{format}"}
        for format in body.formats
    ]
