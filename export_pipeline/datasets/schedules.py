"""Check a schedule against the datasets when it is created, not when it first runs."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial

from export_pipeline.datasets.dataset import Exportable
from export_pipeline.datasets.options import OptionError
from export_pipeline.datasets.partition_keys import scope_key
from export_pipeline.datasets.requests import RequestError, check_parts, typed_options, within_time_limit
from export_pipeline.datasets.scopes import RecipientReader, ScopeReader, Scopes, names_recipients
from export_pipeline.delivery.addresses import check_addresses
from export_pipeline.jobs.errors import ScheduleError
from export_pipeline.schedules.broken_schedules import Check
from export_pipeline.schedules.due_times import check_choice
from export_pipeline.schedules.scheduled_export import ScheduledExport
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError


def schedule_check(
    datasets: Mapping[str, Exportable],
    scopes: Mapping[str, Collection[str]],
    unreadable: Mapping[str, str] | None = None,
) -> Check:
    """Return a check that raises ScheduleError for a schedule whose runs would all fail.

    A check that hangs counts against its schedule alone, as that of a request does.

    Args:
        scopes: Scopes by dataset. Scopes of other datasets are not checked.
        unreadable: Reasons why the recipients of scopes cannot be read, by dataset.
    """

    def check(schedule: ScheduledExport) -> None:
        try:
            within_time_limit(partial(check_now, schedule))
        except RequestError as error:
            raise ScheduleError(str(error)) from None

    def check_now(schedule: ScheduledExport) -> None:
        check_choice("dataset", schedule.dataset, datasets)
        dataset = datasets[schedule.dataset]
        check_choice("format", schedule.format, dataset.formats)
        for format in schedule.additional_formats:
            check_choice("additional_formats", format, dataset.formats)
        if not dataset.windowed and schedule.export_window == "previous":
            raise ScheduleError(
                f"export_window: nothing says which rows of {schedule.dataset} belong to a period. Set it to "
                "`none` (--window none) to export every row as of each run, or add a window to its "
                "defs.yaml, such as `window: {column: created_at}`."
            )
        _check_scope(schedule, dataset, scopes)
        if schedule.each_scope and (reason := (unreadable or {}).get(schedule.dataset)):
            raise ScheduleError(f"each_scope: {reason}")
        try:
            check_addresses(schedule.recipients)
        except ValueError as error:
            raise ScheduleError(f"recipients: {error}.") from None
        try:
            typed = typed_options(
                dataset,
                filters=schedule.filters,
                columns=schedule.columns,
                options=schedule.options,
                requested_by=schedule.owner,
            )
            check_parts(typed, [schedule.format, *schedule.additional_formats], dataset)
        except OptionError as error:
            text = str(error)
            field = text.removeprefix("option ")
            raise ScheduleError(field if field != text else f"options: {text}") from None

    return check


def known_scopes(
    source: ScopeReader, datasets: Mapping[str, Exportable], names: Iterable[str], until: float = math.inf
) -> dict[str, Collection[str]]:
    """Return the scopes of the named datasets that have scopes and whose source can be read now.

    Args:
        until: Deadline on the clock of `time.monotonic`. No read begins after it.
    """
    scopes = Scopes(source, datasets)
    known: dict[str, Collection[str]] = {}
    for name in names:
        if name in datasets and datasets[name].scoped and time.monotonic() < until:
            with suppress(SourceError):  # an unavailable source does not make a schedule invalid
                known[name] = scopes.of(name)
    return known


def known_recipients(
    source: RecipientReader, datasets: Mapping[str, Exportable], names: Iterable[str], until: float = math.inf
) -> tuple[dict[str, Mapping[str, list[str]]], dict[str, str]]:
    """Read the recipients of scopes of the named datasets.

    Args:
        until: Deadline on the clock of `time.monotonic`. No read begins after it.

    Returns:
        Addresses by dataset and scope, without datasets whose source is unavailable now; and the reasons why
        those of a dataset cannot be read until somebody corrects it.
    """
    known: dict[str, Mapping[str, list[str]]] = {}
    unreadable: dict[str, str] = {}
    for name in names:
        if name not in datasets or not names_recipients(datasets[name]):
            known[name] = {}  # the check of the schedule says so
        elif time.monotonic() < until:
            try:
                known[name] = source.recipients(datasets[name])
            except SourceUnavailableError:
                continue  # the schedule waits
            except SourceError as error:
                known[name], unreadable[name] = {}, str(error)
    return known, unreadable


def _check_scope(
    schedule: ScheduledExport, dataset: Exportable, scopes: Mapping[str, Collection[str]]
) -> None:
    name = schedule.dataset
    lists = f"`export-pipeline datasets --scopes {name}` lists what there is"
    if not dataset.scoped:
        if schedule.scope is not None or schedule.each_scope:
            field = "scope" if schedule.scope is not None else "each_scope"
            raise ScheduleError(f"{field}: {name} has no scopes; leave it out.")
    elif schedule.each_scope:
        if not names_recipients(dataset):
            raise ScheduleError(
                f"each_scope: {name} does not say who gets which scope. Add it to its defs.yaml, such as "
                "`scope: {…, recipients: {table: contacts, scope: account_id, address: email}}`."
            )
    elif schedule.scope is None:
        raise ScheduleError(f"scope: it is missing. Say whose rows; {lists}.")
    elif name in scopes and schedule.scope not in scopes[name]:
        raise ScheduleError(f"scope: {name} has no scope {schedule.scope!r}; {lists}.")
    else:
        try:
            scope_key(schedule.scope)
        except ValueError as error:
            raise ScheduleError(f"scope: {schedule.scope!r} {error}.") from None
