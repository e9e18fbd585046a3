"""Validate requests: dataset, format, scope, recipients and options, before anything is run."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from export_pipeline.datasets.dataset import Exportable
from export_pipeline.datasets.options import FieldProblem, OptionError
from export_pipeline.datasets.partition_keys import scope_key
from export_pipeline.delivery.addresses import check_addresses
from export_pipeline.formats.registry import FORMATS
from export_pipeline.jobs.errors import ErrorCode
from export_pipeline.redaction import RedactedError
from export_pipeline.schedules.periods import window_of
from export_pipeline.schedules.scheduled_export import SCHEDULE_OPTIONS

CHECK_SECONDS = 5.0
"""Timeout of the check of one request, which normally takes milliseconds."""

Answer = TypeVar("Answer")


class Request(Protocol):
    """The fields of a request: of a job, or of one that is not in the ledger yet."""

    @property
    def dataset(self) -> str: ...
    @property
    def format(self) -> str: ...
    @property
    def scope(self) -> str | None: ...
    @property
    def filters(self) -> Mapping[str, Any]: ...
    @property
    def columns(self) -> Sequence[Any] | None: ...
    @property
    def options(self) -> Mapping[str, Any]: ...
    @property
    def requested_by(self) -> str | None: ...
    @property
    def recipients(self) -> Sequence[Any]: ...


class RequestError(RedactedError):
    """Raised when a request is invalid. The message states what is valid.

    Attributes:
        code: Error code for programs, e.g. unknown_dataset.
        problems: The same by field, where fields are known.
    """

    def __init__(self, code: ErrorCode, message: str, *problems: FieldProblem) -> None:
        super().__init__(message)
        self.code, self.problems = code, problems


def format_names(dataset: Exportable) -> list[str]:
    """Return the names of formats that a request may use: the dataset's formats, then their aliases."""
    return [*dataset.formats, *dataset.format_aliases]


def check_target(
    datasets: Mapping[str, Exportable], scopes_of: Callable[[str], Collection[str]], job: Request
) -> None:
    """Check the dataset, format, scope and recipients of a job.

    Args:
        scopes_of: Returns the scopes of the dataset with this name.

    Raises:
        RequestError: dataset, format, scope or a recipient is invalid.
        SourceError: the scopes cannot be read.
    """
    dataset = datasets.get(job.dataset)
    if dataset is None:
        message = f"There is no dataset {job.dataset!r}; there are {', '.join(datasets)}."
        raise RequestError("unknown_dataset", message, FieldProblem(("dataset",), message, list(datasets)))
    if job.format not in (names := format_names(dataset)):
        message = f"{job.dataset} has no format {job.format!r}; it has {', '.join(names)}."
        raise RequestError("unknown_format", message, FieldProblem(("format",), message, names))
    if dataset.scoped and job.scope is None:
        raise _wrong("no_scope", "scope", f"Say whose rows: {job.dataset} needs a scope.")
    if not dataset.scoped and job.scope is not None:
        raise _wrong("unknown_scope", "scope", f"{job.dataset} has no scopes; leave scope out.")
    if job.scope is not None:
        if job.scope not in scopes_of(job.dataset):
            raise _wrong("unknown_scope", "scope", f"{job.dataset} has no scope {job.scope!r}.")
        try:
            scope_key(job.scope)
        except ValueError as error:
            raise _wrong("unusable_scope", "scope", f"The scope {job.scope!r} {error}.") from None
    try:
        check_addresses(job.recipients)
    except ValueError as error:
        raise _wrong("invalid_recipients", "recipients", f"recipients: {error}.") from None


def _wrong(code: ErrorCode, field: str, message: str) -> RequestError:
    return RequestError(code, message, FieldProblem((field,), message))


def within_time_limit(check: Callable[[], Answer]) -> Answer:
    """Run the check of one request with a timeout, so that a hung check does not block other requests.

    Raises:
        RequestError: it takes longer than CHECK_SECONDS.
    """
    answer: Future[Answer] = Future()

    def run() -> None:
        try:
            answer.set_result(check())
        except BaseException as error:
            answer.set_exception(error)

    thread = threading.Thread(target=run, name="check", daemon=True)
    thread.start()
    try:
        return answer.result(CHECK_SECONDS)
    except TimeoutError:
        if answer.done():  # the check itself raised it
            raise
        # An endless computation would slow down everything after it.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
        )
        message = (
            f"It cannot be checked within {CHECK_SECONDS:g} seconds; request less or filter more simply."
        )
        raise RequestError("check_too_long", message) from None


def config_of(dataset: Exportable, job: Request) -> dict[str, Any]:
    """Return the config of a job's on-demand run: its typed filters, columns and options.

    Raises:
        RequestError: one of them is invalid.
    """
    try:
        typed = typed_options(
            dataset,
            filters=job.filters,
            columns=job.columns,
            options=job.options,
            requested_by=job.requested_by,
        )
        check_parts(typed, [job.format], dataset)
    except OptionError as error:
        raise RequestError("invalid_options", str(error), *error.problems) from error
    try:
        window = window_of(job.options)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        rule = 'options.window must be {"name": …, "start": …, "end": …}, a short name and times of ISO 8601'
        message = f"{rule}, the start before the end; it is {job.options['window']!r}."
        raise _wrong("invalid_options", "window", message) from error
    if window is None:
        return typed
    ends = {"start": window.start.isoformat(), "end": window.end.isoformat()}
    zone = {"timezone": window.timezone} if window.timezone else {}
    return typed | {"window": {"name": window.name, **ends, **zone}}


def check_parts(options: Mapping[str, Any], formats: Sequence[str], dataset: Exportable) -> None:
    """Check that these formats can be exported in parts, if the options ask for parts.

    Raises:
        OptionError: one cannot.
    """
    whole = [
        name
        for name in (dataset.format_aliases.get(name, name) for name in formats)
        if any((options.get("parts") or {}).values()) and not FORMATS[name].has_parts
    ]
    if whole:
        split = ", ".join(name for name in dataset.formats if FORMATS[name].has_parts) or "none here"
        detail = f"{whole[0]} is always one file; parts are for {split}"
        raise OptionError(f"option parts: {detail}", [FieldProblem(("parts",), detail)])


def typed_options(
    dataset: Exportable,
    *,
    filters: Mapping[str, Any],
    columns: Sequence[Any] | None,
    options: Mapping[str, Any],
    requested_by: str | None,
) -> dict[str, Any]:
    """Return the filters, columns and options of a ledger row as typed options of the dataset.

    Raises:
        OptionError: one of them is invalid.
    """
    if "requested_by" in options:
        raise OptionError(
            "option requested_by: only the column requested_by of a request, or owner of a schedule, says "
            "who asks; leave it out of the options"
        )
    given = {name: value for name, value in options.items() if name not in SCHEDULE_OPTIONS}
    if filters:
        given["filters"] = filters
    if columns is not None:
        given["columns"] = list(columns)
    if requested_by and "requested_by" in dataset.option_names():
        given["requested_by"] = requested_by
    return dataset.typed_options(given)
