"""Checks of requests for exports, and look-up of their scopes, for all routes that start exports."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from export_pipeline.api.authentication import Caller
from export_pipeline.api.problems import Problem
from export_pipeline.api.service import Service
from export_pipeline.datasets.options import FieldProblem
from export_pipeline.datasets.request_body import ExportRequest
from export_pipeline.datasets.requests import RequestError, check_target, config_of, within_time_limit
from export_pipeline.datasets.scopes import ScopeNameError, find_scope_of_any
from export_pipeline.schedules.scheduled_export import SCHEDULE_OPTIONS
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError

_logger = logging.getLogger(__name__)
_Scope = TypeVar("_Scope", str, str | None)


@dataclass(frozen=True, slots=True)
class NewRequest:
    """A request before it is in the ledger."""

    dataset: str
    format: str
    scope: str | None
    filters: dict[str, Any]
    columns: list[str] | None
    options: dict[str, Any]
    requested_by: str | None
    recipients: list[str]


def check_request(service: Service, caller: Caller, body: ExportRequest) -> list[NewRequest]:
    """Check a request as the requests sensor will, and return one request for each format.

    Raises:
        Problem: it is invalid.
    """
    if reserved := sorted({*SCHEDULE_OPTIONS, "requested_by", "preset", "sort"} & body.options.keys()):
        message = f"{reserved[0]} is not an option of a request; leave it out."
        raise Problem(422, "invalid_options", message, [FieldProblem(("options", reserved[0]), message)])
    named = {"preset": body.preset, "sort": body.sort}
    options = body.options | {name: value for name, value in named.items() if value is not None}
    requests = [
        NewRequest(
            body.dataset,
            format,
            body.scope,
            body.filters,
            body.columns,
            options,
            caller.requested_by,
            body.recipients,
        )
        for format in body.formats or [body.format or ""]
    ]
    for one in requests:
        _check(service, caller, one, body)
    return requests


def _check(service: Service, caller: Caller, request: NewRequest, body: ExportRequest) -> None:
    datasets = caller.visible(service.datasets)
    try:
        with translate_source_errors():
            check_target(datasets, lambda name: service.scopes.of(datasets[name], request.scope), request)
        within_time_limit(partial(config_of, datasets[request.dataset], request))
    except RequestError as error:
        problems = [_locate_problem(one, request, body) for one in error.problems]
        raise Problem(422, error.code, str(error), problems) from None


def _locate_problem(problem: FieldProblem, request: NewRequest, body: ExportRequest) -> FieldProblem:
    """Return a problem with its place in the body, where an option may be a field of its own."""
    first, *rest = problem.path or ("",)
    path: tuple[str | int, ...] = (first, *rest)
    if first == "format" and body.formats is not None:
        path = ("formats", body.formats.index(request.format))
    elif first in request.options and first not in ("preset", "sort"):
        path = ("options", first, *rest)
    return FieldProblem(path, problem.detail, problem.allowed)


async def resolve_scope(service: Service, caller: Caller, dataset: str, given: str | None) -> str | None:
    """Return the id of the scope that the caller named by id or name.

    Raises:
        Problem: several scopes that the caller may see have this name.
        SourceError: the scopes cannot be read.
    """
    if given is None:
        return None

    def find() -> str | None:
        known = caller.visible(service.datasets).get(dataset)
        return service.scope_id(known, given, caller.scopes)

    return await _translated(service, find)


async def resolve_scope_of_any(
    service: Service, caller: Caller, dataset: str | None, given: str | None, *, stored: bool
) -> str | None:
    """Return the id of the scope with this id or name, in the dataset or in any visible one.

    Args:
        stored: The result is stored; see `find_scope_of_any`.

    Raises:
        Problem: the name is that of several scopes.
        SourceUnavailableError: the scopes of a dataset that may have it cannot be read now.
    """
    if given is None:
        return None

    def find() -> str:
        visible = caller.visible(service.datasets).values()
        chosen = [one for one in visible if dataset in (None, one.dataset)]
        return find_scope_of_any(chosen, service.scopes.of, given, caller.scopes, stored=stored)

    return await _translated(service, find)


async def _translated(service: Service, find: Callable[[], _Scope]) -> _Scope:
    """Run a search for a scope, whose mistakes are those of the request."""
    try:
        return await service.run(find)
    except ScopeNameError as error:
        problem = FieldProblem(("scope",), str(error))
        raise Problem(422, "unknown_scope", str(error), [problem]) from None


@contextmanager
def translate_source_errors() -> Iterator[None]:
    """Turn errors of the application's database into answers."""
    try:
        yield
    except SourceUnavailableError:
        message = "The application's database does not answer; try again in a moment."
        raise Problem(503, "unavailable", message, headers={"Retry-After": "5"}) from None
    except SourceError as error:
        _logger.error("%s", error)
        message = "The application's database does not fit the dataset; the service's log says why."
        raise Problem(503, "source_error", message) from None
