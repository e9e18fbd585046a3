"""The Dagster job that requests the past windows of one scope, for people who use the UI."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date

import dagster as dg

from export_pipeline.datasets.backfills import request_backfill
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.requests import RequestError
from export_pipeline.datasets.scopes import ScopeNameError, look_up_scope

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
        config = context.op_config
        try:
            if (dataset := datasets.get(config["dataset"])) is None:
                raise ValueError(
                    f"There is no dataset {config['dataset']!r}; there are {', '.join(datasets)}."
                )
            if dataset.scoped and not config["scope"]:
                raise ValueError(f"Say whose rows: {dataset.dataset} needs a scope.")
            given = config["scope"] if dataset.scoped else None
            scope = given and look_up_scope(context.resources.source, dataset, given)[0]
            counts = request_backfill(
                context.resources.ledger.open(),
                dataset,
                default_zone,
                cadence=config["cadence"],
                scope=scope,
                first=_day(config["from"]),
                last=_day(config["to"]),
                formats=config["formats"],
                again=config["again"],
            )
        except (RequestError, ScopeNameError, ValueError) as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        context.log.info(f"{counts.requested:,} exports are requested; requests_sensor starts their runs.")
        context.add_output_metadata(asdict(counts))

    @dg.job(
        name=JOB,
        executor_def=dg.in_process_executor,
        description="Exports the past days, weeks or months of one scope that have no file yet.",
    )
    def job() -> None:
        backfill_scope()

    return job


def _day(text: str) -> date | None:
    return date.fromisoformat(text) if text else None
