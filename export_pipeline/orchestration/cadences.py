"""Cadences of a dataset: one run per window and scope, which makes all formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import dagster as dg

from export_pipeline.datasets.attributes import Resources
from export_pipeline.datasets.dataset import Exportable
from export_pipeline.datasets.requests import RequestError
from export_pipeline.orchestration.partitions import SCOPE, WINDOW
from export_pipeline.schedules.cadence_requests import CadenceWindow


@dataclass(frozen=True, slots=True)
class Cadence:
    """A regular export of a dataset.

    Attributes:
        name: daily, weekly or monthly.
        formats: Formats that its schedule exports.
        windows: Windows of the cadence. Each window that has ended is a partition.
        scoped: True if the dataset's rows belong to scopes.
        has_scope_partitions: True if each scope and window is a partition; False if each window is one, and a
            run's scope is in its config.
        recipients: Mail addresses that get each file of a scheduled window.
        owners: Mail addresses that get a mail about failures.
    """

    dataset: str
    name: str
    formats: Sequence[str]
    windows: dg.TimeWindowPartitionsDefinition
    scoped: bool
    has_scope_partitions: bool
    recipients: Sequence[str] = ()
    owners: Sequence[str] = ()

    def job(self, run_tags: Mapping[str, str]) -> Any:
        """Build the Dagster job of its runs, which have these tags."""
        keys = [dg.AssetKey([self.dataset, self.name, format]) for format in self.formats]
        return dg.define_asset_job(self.job_name, selection=keys, run_tags=run_tags)

    @property
    def job_name(self) -> str:
        """Name of its Dagster job."""
        return f"{self.dataset}_{self.name}_job"

    def run_of(self, window: CadenceWindow, scope_partition: str | None) -> dict[str, Any]:
        """Return the arguments of `dagster.RunRequest` for a window, without those common to all runs.

        Args:
            scope_partition: Partition key of the window's scope; None for a dataset without scopes.
        """
        run: dict[str, Any] = {"job_name": self.job_name, "partition_key": window.window}
        if scope_partition is None:
            return run
        if self.has_scope_partitions:
            return run | {
                "partition_key": dg.MultiPartitionKey({SCOPE: scope_partition, WINDOW: window.window})
            }
        config = {"ops": {f"{self.dataset}_{self.name}": {"config": {"scope": window.scope}}}}
        return run | {"run_config": config}


class Schedulable(Exportable, Protocol):
    """The part of a dataset that requests and schedules use."""

    @property
    def resources(self) -> Resources: ...

    def regular(self) -> Mapping[str, Cadence]: ...


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
