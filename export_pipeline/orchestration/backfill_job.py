"""The Dagster job that requests the past windows of one scope, for people who use the UI."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from functools import partial
from typing import Any

import dagster as dg

from export_pipeline.datasets.backfills import request_backfill
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.requests import RequestError
from export_pipeline.datasets.scopes import ScopeNameError, ScopeReader, look_up_scope
from export_pipeline.jobs import Ledger
from export_pipeline.orchestration.window_requests import write_requests
from export_pipeline.schedules.backfill import BackfillCounts

JOB = "backfill_scope_job"


def backfill_scope_job(datasets: Mapping[str, Dataset], default_zone: str) -> dg.JobDefinition:
    """Build the job that requests the past windows of one scope. A run takes a second and makes no file.

    Args:
        default_zone: IANA zone in which windows begin if the cadence names none.
    """

    @dg.op(
        config_schema={
            "dataset": dg.Field(str, description="Name of the dataset."),
            "cadence": dg.Field(str, default_value="daily", description="daily, weekly or monthly."),
            "scope": dg.Field(str, default_value="", description="Whose rows: an id or a name."),
            "from": dg.Field(
                str,
                default_value="",
                description="First window, e.g. 2026-01-01. Empty: the dataset's first.",
            ),
            "to": dg.Field(
                str, default_value="", description="Last window, e.g. 2026-03-31. Empty: the last that ended."
            ),
            "formats": dg.Field([str], default_value=[], description="Empty: all formats of the cadence."),
            "again": dg.Field(bool, default_value=False, description="Also windows whose file is there."),
        },
        required_resource_keys={"ledger", "source"},
        description="Write a request into the ledger for each window and format that has no file yet.",
    )
    def backfill_scope(context: dg.OpExecutionContext) -> None:
        ledger, source = context.resources.ledger.open, context.resources.source
        ask = partial(_request, ledger, source, datasets, default_zone, context.op_config)
        counts = write_requests(context, ask)
        context.log.info(f"{counts.requested:,} exports are requested; requests_sensor starts their runs.")
        context.add_output_metadata(asdict(counts))

    @dg.job(
        name=JOB,
        executor_def=dg.in_process_executor,
        description="Exports the past days, weeks or months of one scope that have no file yet.",
        tags={"dagster/priority": "100"},  # short, so exports wait only a second
    )
    def job() -> None:
        backfill_scope()

    return job


def _request(
    ledger: Callable[[], Ledger],
    source: ScopeReader,
    datasets: Mapping[str, Dataset],
    default_zone: str,
    config: Mapping[str, Any],
) -> BackfillCounts:
    try:
        if (dataset := datasets.get(config["dataset"])) is None:
            raise ValueError(f"There is no dataset {config['dataset']!r}; there are {', '.join(datasets)}.")
        if dataset.scoped and not config["scope"]:
            raise ValueError(f"Say whose rows: {dataset.dataset} needs a scope.")
        return request_backfill(
            ledger(),
            dataset,
            default_zone,
            cadence=config["cadence"],
            scope=look_up_scope(source, dataset, config["scope"])[0] if dataset.scoped else None,
            first=_day(config["from"]),
            last=_day(config["to"]),
            formats=config["formats"],
            again=config["again"],
        )
    except (RequestError, ScopeNameError, ValueError) as error:
        raise dg.Failure(str(error), allow_retries=False) from None


def _day(text: str) -> date | None:
    return date.fromisoformat(text) if text else None
