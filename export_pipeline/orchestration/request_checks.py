"""Checks of a request that depend on Dagster: its dispatches, and the windows of its cadence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from export_pipeline.datasets.dataset import Exportable
from export_pipeline.datasets.requests import RequestError, check_target
from export_pipeline.datasets.scopes import Scopes
from export_pipeline.jobs import Job
from export_pipeline.orchestration.cadences import Cadence
from export_pipeline.schedules.cadences import CadenceWindow

MAX_DISPATCHES = 10
"""Maximum number of times that a request is dispatched to Dagster before it fails."""


class Schedulable(Exportable, Protocol):
    """The part of a dataset that requests and schedules use."""

    def regular(self) -> Mapping[str, Cadence]: ...


def check_request(datasets: Mapping[str, Schedulable], scopes: Scopes, job: Job) -> Schedulable:
    """Return the dataset of a job, after a check of the job's format, scope and recipients.

    Raises:
        RequestError: one of them is invalid, or no run can be started for the job.
        SourceError: the scopes cannot be read.
    """
    if job.offers > MAX_DISPATCHES:
        message = f"No run could be started in {MAX_DISPATCHES} tries; is the Dagster daemon healthy?"
        raise RequestError("not_started", message)
    check_target(datasets, scopes.of, job)
    return datasets[job.dataset]


def cadence_of(dataset: Schedulable, window: CadenceWindow, format: str) -> Cadence:
    """Return the cadence of a window that has ended, after a check that it exports the format.

    Raises:
        RequestError: the dataset no longer has the cadence, or the cadence lacks the window or format.
    """
    cadence = dataset.regular().get(window.cadence)
    if cadence is None or format not in cadence.formats:
        there = "; ".join(f"{name}: {', '.join(one.formats)}" for name, one in dataset.regular().items())
        message = f"{window.dataset} makes no {window.cadence} {format}; it makes {there or 'none'}."
        raise RequestError("unknown_window", message)
    if not cadence.windows.has_partition_key(window.window):
        message = f"{window.dataset} has no {window.cadence} window {window.window!r} that has ended."
        raise RequestError("unknown_window", message)
    return cadence
