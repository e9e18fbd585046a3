"""Assets by dataset, cadence and format. All formats of a cadence share one read of the database."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import dagster as dg

from export_pipeline.core.export_data import Shape
from export_pipeline.formats.options import FormatOptions, of_other_formats
from export_pipeline.formats.registry import FORMATS
from export_pipeline.orchestration.checks import CHECKS
from export_pipeline.orchestration.launch_config import config_schema
from export_pipeline.orchestration.ops import RENDER_OPS, build_export_data, fetch_source, sanitize
from export_pipeline.orchestration.partitions import ON_DEMAND, partitions


def application_key(dataset: str) -> dg.AssetKey:
    """Return the key of the external asset for the application's tables, the upstream of every export."""
    return dg.AssetKey([dataset, "application"])


def export_assets(
    *,
    dataset: str,
    cadence: str,
    shape: Shape,
    spec: Mapping[str, Any],
    formats: Sequence[str],
    start: str,
    timezone: str,
    scoped: bool,
    single_run: bool,
    description: str,
    owners: Sequence[str],
    options: Mapping[str, Any],
    retention_days: int | None,
    preview: bool,
) -> dg.AssetsDefinition:
    """Build the assets `[dataset, cadence, format]` of one cadence, subsettable by format.

    Args:
        shape: The dataset's shape.
        spec: Description of the dataset for its shape.
        start: First day of the first window, as YYYY-MM-DD.
        timezone: IANA zone in which windows begin.
        scoped: True if the rows belong to scopes.
        single_run: True if a backfill is one run over all its partitions instead of one run per partition.
        options: Defaults of the launchpad. Schedules and backfills take no config and use these.
        retention_days: Days that files are kept, if the dataset sets its own period.
        preview: True to show the first rows of each file in Dagster's UI.
    """
    partitions_def = partitions(dataset, cadence, start, timezone, scoped)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # of partitioned checks
        checks = {
            (format, name): dg.AssetCheckSpec(
                name,
                asset=dg.AssetKey([dataset, cadence, format]),
                description=text,
                blocking=True,
                partitions_def=partitions_def,
            )
            for format in formats
            for name, text in CHECKS.items()
        }
    models = (shape.options(spec), FormatOptions)

    def to_op(config: Mapping[str, Any]) -> dict[str, Any]:
        fetch = {
            "dataset": dataset, "cadence": cadence,
            "start": start, "timezone": timezone, "scoped": scoped,
            "window": config.get("window") or None,
            "options": {name: value for name, value in config.items() if name != "window"},
        }  # fmt: skip
        return {"fetch_source": {"config": fetch}}

    @dg.graph_multi_asset(
        name=f"{dataset}_{cadence}",
        outs={
            format: dg.AssetOut(
                key=[dataset, cadence, format],
                is_required=False,
                description=f"{description} {FORMATS[format].help}",
                owners=list(owners),
                kinds={FORMATS[format].icon, "file"},
                code_version=_VERSION,
                metadata={
                    "media type": FORMATS[format].media_type,
                    **({"retention days": retention_days} if retention_days else {}),
                    **({} if preview else {"preview": False}),
                },
            )
            for format in formats
        },
        ins={"application": dg.AssetIn(key=application_key(dataset), dagster_type=dg.Nothing)},
        check_specs=list(checks.values()),
        can_subset=True,
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run() if single_run else dg.BackfillPolicy.multi_run(1),
        group_name=dataset,
        config=dg.ConfigMapping(
            config_fn=to_op,
            config_schema=config_schema(dataset, options, *models, leave_out=of_other_formats(formats))
            | (_window_config() if cadence == ON_DEMAND else {}),
        ),
    )
    def export(application: Any) -> dict[str, Any]:
        data = sanitize(build_export_data(fetch_source(application)))
        outputs = {}
        for format in formats:
            rendered = RENDER_OPS[format](data)
            outputs[format] = rendered.file
            for name in CHECKS:
                outputs[checks[format, name].get_python_identifier()] = getattr(rendered, name)
        return outputs

    return export


def _window_config() -> dict[str, dg.Field]:
    """Return the config field for the window of an on-demand run."""
    end = "A day or a time with zone, e.g. 2026-11-01 or 2026-11-01T00:00:00+01:00."
    return {
        "window": dg.Field(
            {
                "name": dg.Field(str, is_required=False, description="Name in file names and manifests."),
                "start": dg.Field(str, is_required=False, description=f"First moment in it. {end}"),
                "end": dg.Field(str, is_required=False, description=f"First moment after it. {end}"),
                "timezone": dg.Field(str, is_required=False, description="IANA zone of the days."),
            },
            is_required=False,
            description="Export only rows of this window.",
        )
    }


_VERSION = version("export-pipeline")
