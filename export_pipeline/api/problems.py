"""Errors of the service as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from export_pipeline.core.messages import describe_error
from export_pipeline.datasets.options import FieldProblem
from export_pipeline.jobs import (
    IdempotencyError,
    LedgerError,
    LedgerUnavailableError,
    NoLedgerError,
    RefusedError,
    UnknownJobError,
)
from export_pipeline.jobs.store_claim import StoreClaimError
from export_pipeline.redaction import hide_in_error
from export_pipeline.store import NotFoundError, StoreError, StoreUnavailableError
from export_pipeline.store.manifest import ManifestError

_logger = logging.getLogger(__name__)

CODES: dict[str, str] = {
    "unauthenticated": "The call has no valid key or token.",
    "forbidden": "The key or token lacks the right for this call.",
    "not_found": "There is no such resource, or it belongs to somebody else.",
    "invalid_request": "The call itself is malformed.",
    "invalid_cursor": "The cursor is not one that this service gave to this caller for this list.",
    "state_conflict": "The export's state does not allow this.",
    "not_ready": "The file is not there yet.",
    "expired": "The file was removed or cannot be downloaded any more, or its link has ended.",
    "legal_hold": "The export is under legal hold.",
    "store_of_a_copy": "Another copy of the service's ledger may own the store, so nothing is removed.",
    "idempotency_conflict": "The idempotency key was used for another request.",
    "precondition_failed": "The resource has changed since it was read.",
    "precondition_required": "If-Match is missing: send the ETag of the state that you have read.",
    "too_large": "The call, or the export that it requests, is too large.",
    "too_many_requests": "Too many calls, or too many exports that wait.",
    "unavailable": "A part of the service is unavailable; try again.",
    "internal": "An error of the service itself; its log has the request id.",
    "unknown_dataset": "There is no such dataset.",
    "unknown_format": "The dataset has no such format.",
    "unknown_window": "The dataset has no such windows that have ended.",
    "no_scope": "The dataset needs a scope.",
    "unknown_scope": "There is no such scope.",
    "unusable_scope": "The scope cannot be exported.",
    "invalid_options": "A filter, column or option is invalid.",
    "invalid_recipients": "A recipient is not a mail address.",
    "check_too_long": "The request takes too long to check.",
    "invalid_schedule": "A field of the schedule is invalid.",
    "invalid_webhook": "A field of the webhook is invalid.",
    "source_error": "The application's database does not match the dataset.",
}
"""Error codes of the service, and their titles."""

MEDIA_TYPE = "application/problem+json"


class FieldError(BaseModel):
    """An invalid field."""

    pointer: Annotated[str, Field(description="JSON pointer into the body, or the parameter's name.")]
    detail: str
    allowed: Annotated[list[str] | None, Field(description="The valid values, if they can be listed.")] = None


class ProblemDetails(BaseModel):
    """An error (RFC 9457)."""

    type: Annotated[str, Field(description="Stable URL of the error code.")]
    title: str
    status: int
    detail: str
    code: Annotated[str, Field(description="Stable, for programs.")]
    errors: list[FieldError] = []
    request_id: str
    request: Annotated[
        dict[str, Any] | None, Field(description="The body for `POST /v1/exports`, where that is the way.")
    ] = None


class Problem(Exception):
    """Raised to respond with an error.

    Attributes:
        status: HTTP status.
        code: One of CODES.
        detail: One sentence for people: what is wrong and what to do.
        errors: Invalid fields.
        headers: More headers of the answer.
        request: A body for `POST /v1/exports` that asks for the same.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Iterable[FieldProblem] = (),
        headers: dict[str, str] | None = None,
        request: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.request = request
        self.status, self.code, self.detail = status, code, detail
        self.errors, self.headers = list(errors), headers or {}


def not_found(what: str) -> Problem:
    """Return the 404 for a resource that does not exist or that the caller may not see."""
    return Problem(404, "not_found", f"There is no {what}.")


def answer(request: Request, problem: Problem) -> JSONResponse:
    """Return a problem as a response."""
    request_id = request.scope["state"].get("request_id", "")
    details = ProblemDetails(
        type=f"{request.app.state.base_url}/errors/{problem.code}",
        title=CODES[problem.code],
        status=problem.status,
        detail=problem.detail,
        code=problem.code,
        errors=[
            FieldError(
                pointer=_pointer(one.path),
                detail=one.detail,
                allowed=None if one.allowed is None else list(one.allowed),
            )
            for one in problem.errors
        ],
        request_id=request_id,
        request=problem.request,
    )
    content = details.model_dump(exclude_none=True)
    headers = {"X-Request-Id": request_id, **problem.headers}
    return JSONResponse(content, problem.status, headers, media_type=MEDIA_TYPE)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's description of these error answers."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
        }
        for status in statuses
    }


def translate(error: Exception) -> Problem:
    """Return the problem for an error of the ledger, the store, or the service itself."""
    match error:
        case Problem():
            return error
        case UnknownJobError():
            return Problem(404, "not_found", str(error))
        case IdempotencyError():
            return Problem(409, "idempotency_conflict", str(error))
        case RefusedError():
            return Problem(409, "state_conflict", str(error))
        case StoreClaimError():
            _logger.error("%s", error)
            return Problem(
                409,
                "store_of_a_copy",
                "Nothing was removed: the service works on a copy of its ledger, or its ledger was restored "
                "from a backup. `export-pipeline health` tells operators what to do; then delete the export "
                "again.",
            )
        case NoLedgerError() | LedgerUnavailableError() | StoreUnavailableError():
            _logger.error("%s", error)
            message = "A part of the service is unavailable; try again in a moment."
            return Problem(503, "unavailable", message, headers={"Retry-After": "5"})
        case NotFoundError():
            return Problem(410, "expired", "The file is no longer in the store; request it again.")
        case ManifestError():
            _logger.error("%s", error)
            return Problem(410, "expired", "The file in the store is damaged; request it again.")
        case LedgerError() | StoreError():
            _logger.error("%s", error)
            return Problem(500, "internal", "The service cannot do this; its log says why.")
    hide_in_error(error)
    _logger.exception("An unforeseen error", exc_info=error)
    return Problem(500, "internal", "The service cannot do this; its log says why.")


def install(app: FastAPI) -> None:
    """Register error handlers that respond with problems."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        return answer(request, translate(error))

    async def handle_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 413: "too_large"}.get(error.status_code, "invalid_request")
        detail = "There is no such address." if error.status_code == 404 else f"{error.detail}."
        problem = Problem(error.status_code, code, detail, headers=dict(error.headers or {}))
        return answer(request, problem)

    async def handle_validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        errors = error.errors()[:20]
        wrong = [FieldProblem(_path(one["loc"]), describe_error(one), _allowed(one)) for one in errors]
        detail = "; ".join(f"{_pointer(one.path)}: {one.detail}" for one in wrong[:3])
        return answer(request, Problem(422, "invalid_request", f"{detail}.", wrong))

    for kind in (Problem, LedgerError, StoreError, Exception):
        app.add_exception_handler(kind, handle)
    app.add_exception_handler(HTTPException, handle_http)
    app.add_exception_handler(RequestValidationError, handle_validation)


def _path(loc: Sequence[str | int]) -> tuple[str | int, ...]:
    return tuple(loc[1:]) if loc and loc[0] in ("body", "query", "path", "header") else tuple(loc)


def _pointer(path: Sequence[str | int]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def _allowed(error: Any) -> list[str] | None:
    expected = error.get("ctx", {}).get("expected") if error["type"] == "literal_error" else None
    if not isinstance(expected, str):
        return None
    return [word.strip().strip("'") for word in expected.replace(" or ", ", ").split(",")]
