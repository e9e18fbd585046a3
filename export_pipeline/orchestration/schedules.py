"""The schedules of a dataset's cadences, and the sensor of its scopes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import dagster as dg

from export_pipeline.jobs.cadences import CadenceWindow, ask_for, newest_window
from export_pipeline.jobs.database import open_engine
from export_pipeline.jobs.migrate import is_current
from export_pipeline.model.one_line import one_line, sentence
from export_pipeline.orchestration.cadences import Cadence
from export_pipeline.orchestration.partitions import (
    SCOPE_TAG,
    ended_since,
    known_scopes,
    last_ended,
    scope_keys,
    scopes_partition,
)
from export_pipeline.settings import load_settings
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError

_TOLD = 10


def cadence_schedule(
    cadence: Cadence,
    *,
    cron: str,
    timezone: str,
    scoped: bool,
    catches_up: bool,
    recipients: Sequence[str],
    owners: Sequence[str],
) -> dg.ScheduleDefinition:
    """Exports the window that ended last, of every scope there is. Off until somebody turns it on.

    One that catches up also exports those that ended since the newest window it has asked for.

    A tick asks for the windows in the ledger, so that they are jobs like all others, each asked for once.
    Without the ledger's tables it starts the runs itself, and nobody gets mail.
    """
    dataset, windows = cadence.dataset, cadence.windows
    told = [owner for owner in owners if "@" in owner]  # the others are teams

    def ask(ended: str, scopes: Sequence[str | None]) -> str | None:
        """What has been asked for; None where there are no tables to ask in."""
        url = load_settings().jobs_url
        if not is_current(url):
            return None
        engine = open_engine(url)
        try:
            since = newest_window(engine, dataset, cadence.name) if catches_up else None
            names = ended_since(windows, since, ended)
            asked = [CadenceWindow(dataset, cadence.name, name, scope) for name in names for scope in scopes]
            new = ask_for(engine, asked, cadence.formats, recipients=recipients, owners=told)
            return f"{new} files of {' to '.join(dict.fromkeys([names[0], ended]))} are asked for"
        finally:
            engine.dispose()

    @dg.schedule(
        name=f"{dataset}_{cadence.name}_schedule",
        job_name=cadence.job_name,  # the job itself belongs to the requests sensor
        cron_schedule=cron,
        execution_timezone=timezone,
        description=f"Exports the {cadence.name} window that ended last{', of every scope' * scoped}.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        ended = last_ended(windows, context.scheduled_execution_time)
        if ended is None:
            yield dg.SkipReason("No window has ended yet.")
            return
        scopes: Sequence[str | None] = [None]
        if scoped:
            scopes = known_scopes(context.instance, dataset)
        if not scopes:
            yield dg.SkipReason(
                f"{dataset} has no scopes yet; is the sensor {dataset}_scopes_sensor running?"
            )
            return
        # The UI can show what a tick would do at any time; it must not ask for a window that goes on.
        said = ask(ended, scopes) if windows.has_partition_key(ended) else None
        if said is not None:
            yield dg.SkipReason(f"{said}; `export-pipeline jobs` lists them.")
            return
        for scope in scopes:
            window = CadenceWindow(dataset, cadence.name, ended, scope)
            yield dg.RunRequest(
                run_key=f"{dataset}/{cadence.name}/{ended}" + (f"/{scope}" if scope is not None else ""),
                **cadence.run_of(window),
                tags={SCOPE_TAG: scope} if scope is not None else {},
            )

    return schedule


def scopes_sensor(
    *, dataset: str, source: str, spec: Mapping[str, Any], interval_seconds: int = 60
) -> dg.SensorDefinition:
    """Keeps the dataset's scope partitions in step with the application: added, and removed when gone."""

    @dg.sensor(
        name=f"{dataset}_scopes_sensor",
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"source"},
        description=f"Keeps the partitions of {dataset} in step with the application's own list.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            with context.resources.source.snapshot() as snapshot:
                there = import_module(source).scopes(snapshot, spec)
        except SourceUnavailableError:
            raise
        except SourceError as error:
            return dg.SkipReason(f"{sentence(str(error))} {how_to_fit(dataset)}")
        keys, problems = scope_keys(there)
        for scope, problem in list(problems.items())[:_TOLD]:
            context.log.warning(f"No export of scope {one_line(scope[:100])!r} can be made: it {problem}.")
        changes = scope_changes(context.instance, dataset, keys)
        if not changes:
            return dg.SkipReason(f"All {len(there)} scopes are known.")
        return dg.SensorResult(dynamic_partitions_requests=changes)

    return sensor


def how_to_fit(dataset: str) -> str:
    """What to do where a dataset was declared for another source than this one."""
    return (
        f"Correct its defs.yaml; if it is not meant for this source, delete export_pipeline/defs/{dataset}."
    )


def scope_changes(
    instance: dg.DagsterInstance, dataset: str, keys: Iterable[str]
) -> list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest]:
    """Return what makes the instance's partitions of a dataset equal to the keys of the scopes there are."""
    definition = scopes_partition(dataset)
    known = dict.fromkeys(instance.get_dynamic_partitions(str(definition.name)))
    wanted = dict.fromkeys(keys)
    added = [key for key in wanted if key not in known]
    gone = [key for key in known if key not in wanted]
    changes: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
    if added:
        changes.append(definition.build_add_request(added))
    if gone:
        changes.append(definition.build_delete_request(gone))
    return changes
