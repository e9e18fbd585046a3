"""Keep the partitions of a dataset in step with the application's scopes."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dagster as dg

from export_pipeline.core.messages import one_line, sentence
from export_pipeline.datasets.partition_keys import label_of_key, scope_key, scope_of_key
from export_pipeline.jobs import LedgerError, LedgerUnavailableError
from export_pipeline.jobs.database import opened_engine
from export_pipeline.jobs.deleted_scopes import end_deleted_scopes
from export_pipeline.orchestration.dagster_compat.ticks import NOT_PREVIEWED, is_preview
from export_pipeline.orchestration.partitions import scopes_partition
from export_pipeline.redaction import redacted_errors
from export_pipeline.settings import load_settings
from export_pipeline.sources.snapshot import Source, SourceError, SourceUnavailableError

_MAX_WARNINGS = 10
_MAX_REQUESTED = 500
"""Maximum number of partitions of one kind that a tick lets the daemon add or delete, one after another."""
_Change = dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest


def scopes_sensor(
    *,
    dataset: str,
    source: Source,
    spec: Mapping[str, Any],
    labels_scopes: bool = True,
    interval_seconds: int = 60,
) -> dg.SensorDefinition:
    """Build the sensor that adds and removes scope partitions as the application's scopes change."""

    @dg.sensor(
        name=f"{dataset}_scopes_sensor",
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"source"},
        description=f"Keeps the partitions of {dataset} in step with the application's own list.",
    )
    @redacted_errors()
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            there = context.resources.source.scopes(source, spec)
        except SourceUnavailableError:
            raise
        except SourceError as error:
            return dg.SkipReason(f"{sentence(str(error))} {misfit_advice(dataset)}")
        changes, problems = scope_changes(context.instance, dataset, there, labels_scopes)
        for scope, problem in list(problems.items())[:_MAX_WARNINGS]:
            context.log.warning(f"No export of scope {one_line(scope[:100])!r} can be made: it {problem}.")
        if not changes:
            return dg.SkipReason(f"All {len(there)} scopes are known.")
        if any(isinstance(change, dg.DeleteDynamicPartitionsRequest) for change in changes):
            if is_preview(context):
                return dg.SkipReason(NOT_PREVIEWED)
            try:
                _end_deleted(dataset, there)
            except LedgerUnavailableError as error:
                return dg.SkipReason(str(error))  # the next tick tries again
            except LedgerError:
                pass  # without a ledger there are no requests
        if is_preview(context):
            return dg.SensorResult(dynamic_partitions_requests=[_part(change) for change in changes])
        added = _add_many(context.instance, changes)
        return dg.SensorResult(
            dynamic_partitions_requests=[_part(change) for change in changes if change is not added],
            skip_reason=dg.SkipReason(f"{len(added.partition_keys):,} scopes are added.") if added else None,
        )

    return sensor


def _add_many(instance: dg.DagsterInstance, changes: Sequence[_Change]) -> _Change | None:
    """Add the partitions of a change with many of them, and return it; None if there is no such change.

    The daemon would look for each key by itself first, which takes minutes for 20,000.
    """
    for change in changes:
        is_large = len(change.partition_keys) > _MAX_REQUESTED
        if is_large and isinstance(change, dg.AddDynamicPartitionsRequest):
            instance.add_dynamic_partitions(change.partitions_def_name, change.partition_keys)
            return change
    return None


def _part(change: _Change) -> _Change:
    """Return the first keys of a change. The next ticks do the rest."""
    return type(change)(change.partitions_def_name, change.partition_keys[:_MAX_REQUESTED])


def _end_deleted(dataset: str, there: Collection[str]) -> None:
    with opened_engine(load_settings().jobs_url) as engine:
        end_deleted_scopes(engine, dataset, there, f"{dataset}_scopes_sensor")


def misfit_advice(dataset: str) -> str:
    """Return advice for a dataset that was declared for another source."""
    return (
        f"Correct its defs.yaml; if it is not meant for this source, delete export_pipeline/defs/{dataset}."
    )


def scope_changes(
    instance: dg.DagsterInstance, dataset: str, scopes: Mapping[str, str], labels_scopes: bool
) -> tuple[list[_Change], dict[str, str]]:
    """Return the changes after which a dataset has a partition for each scope.

    The first partition of a scope stays as it is, whatever the scope is called now. Others are deleted, and
    so are all with names if the dataset shows ids alone: names may be personal.

    Args:
        scopes: Names by id.
        labels_scopes: True if partitions carry the names.

    Returns:
        The changes, and problems by scope for scopes that cannot have a partition.
    """
    definition = scopes_partition(dataset)
    have: set[str] = set()
    gone: list[str] = []
    for key in instance.get_dynamic_partitions(str(definition.name)):
        scope = scope_of_key(key)
        if scope in scopes and scope not in have and (labels_scopes or label_of_key(key) is None):
            have.add(scope)
        else:
            gone.append(key)
    added: list[str] = []
    problems: dict[str, str] = {}
    for scope, name in scopes.items():
        if scope not in have:
            try:
                added.append(scope_key(scope, name if labels_scopes else None))
            except ValueError as error:
                problems[scope] = str(error)
    changes: list[_Change] = []
    if added:
        changes.append(definition.build_add_request(added))
    if gone:
        changes.append(definition.build_delete_request(gone))
    return changes, problems
