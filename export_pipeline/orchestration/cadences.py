"""Runs of a dataset's cadences: one for each window and scope, which makes all its formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from export_pipeline.orchestration.partitions import SCOPE, WINDOW, scope_key
from export_pipeline.schedules.cadences import CadenceWindow


@dataclass(frozen=True, slots=True)
class Cadence:
    """A regular export of a dataset.

    Attributes:
        name: daily, weekly or monthly.
        formats: Those that its schedule makes.
        windows: Those that have ended are its partitions.
        scoped: Whether the dataset's rows belong to scopes.
        recipients: Mail addresses that get each file of a scheduled window.
        owners: Mail addresses that are told of failures.
    """

    dataset: str
    name: str
    formats: Sequence[str]
    windows: dg.TimeWindowPartitionsDefinition
    scoped: bool
    recipients: Sequence[str] = ()
    owners: Sequence[str] = ()

    def job(self) -> Any:
        """The Dagster job of its runs."""
        keys = [dg.AssetKey([self.dataset, self.name, format]) for format in self.formats]
        return dg.define_asset_job(self.job_name, selection=keys)

    @property
    def job_name(self) -> str:
        """Of its Dagster job."""
        return f"{self.dataset}_{self.name}_job"

    def run_of(self, window: CadenceWindow) -> dict[str, Any]:
        """What asks Dagster for the run of one of its windows, but for what all runs have."""
        return {
            "job_name": self.job_name,
            "partition_key": window.window
            if window.scope is None
            else dg.MultiPartitionKey({SCOPE: scope_key(window.scope), WINDOW: window.window}),
        }
