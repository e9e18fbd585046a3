"""Checks of datasets: their declarations and the number of their partitions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from export_pipeline.health.findings import Finding
from export_pipeline.settings import Settings

if TYPE_CHECKING:
    from export_pipeline.datasets.dataset import Dataset


def dataset_findings(settings: Settings) -> Iterator[Finding]:
    """Find datasets whose declaration does not match this source."""
    from export_pipeline.components.loading import datasets
    from export_pipeline.datasets.loading import DefsError
    from export_pipeline.orchestration.sensors.scopes import misfit_advice
    from export_pipeline.project import SAMPLES, own_project
    from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError, open_snapshot

    unfit: dict[str, str] = {}
    with suppress(DefsError, SourceUnavailableError):  # other checks report these
        for name, dataset in datasets().items():
            try:
                # A snapshot for each dataset, as PostgreSQL rejects every statement after an error.
                with open_snapshot(settings.source_url, statement_timeout=10) as snapshot:
                    scopes = dataset.source.scopes(snapshot, dataset.spec)
                yield from _many_partitions(dataset, len(scopes), settings)
            except SourceUnavailableError:
                raise
            except SourceError as error:
                unfit[name] = str(error)
    samples = [] if own_project() else [name for name in unfit if name in SAMPLES]
    if len(samples) > 1:
        yield Finding(
            "dataset_unfit",
            f"The sample datasets {', '.join(samples)} read tables that this database does not have.",
            "Make a project of your own with `export-pipeline init FOLDER`, or delete their folders in "
            "export_pipeline/defs.",
        )
    for name, problem in unfit.items():
        if name not in samples or len(samples) == 1:
            yield Finding("dataset_unfit", f"{name}: {problem}", misfit_advice(name))


def _many_partitions(dataset: Dataset, scopes: int, settings: Settings) -> Iterator[Finding]:
    """Find the cadence of a dataset that has the most partitions, if they are too many."""
    from export_pipeline.schedules.backfill import past_windows

    if not dataset.windows_have_scopes or not settings.max_partitions:
        return
    start, now = date.fromisoformat(dataset.attributes.start), datetime.now(UTC)
    windows = {
        name: len(past_windows(name, rule.timezone or settings.timezone, start, None, None, now))
        for name, rule in dataset.attributes.cadences.named().items()
    }
    cadence = max(windows, key=lambda name: windows[name], default="")
    if cadence and (partitions := scopes * windows[cadence]) > settings.max_partitions:
        yield Finding(
            "partitions_many",
            f"{dataset.dataset}: {scopes:,} scopes times {windows[cadence]:,} {cadence} windows are "
            f"{partitions:,} partitions of an asset, more than EXPORT_MAX_PARTITIONS "
            f"({settings.max_partitions:,}); Dagster's pages and backfills become slow.",
            "Write `partition_windows_by_scope: false` into its defs.yaml and reload; no history is lost.",
            is_advice=True,
        )
