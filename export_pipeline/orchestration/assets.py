"""Assets by dataset, cadence and format. All formats of a cadence share one read of the database."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
from croniter import croniter

from export_pipeline.core.description import ColumnDescription
from export_pipeline.datasets.attributes import CadenceRule
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.markdown import choices, example_yaml
from export_pipeline.formats.options import of_other_formats
from export_pipeline.formats.registry import FORMATS
from export_pipeline.orchestration.checks import CHECKS
from export_pipeline.orchestration.launchpad_config import config_schema, in_order
from export_pipeline.orchestration.lineage import application_key, column_lineage, table_schema
from export_pipeline.orchestration.ops import RENDER_OPS, build_export_data, fetch_source, sanitize
from export_pipeline.orchestration.partitions import ON_DEMAND, partitions


def export_assets(
    dataset: Dataset, cadence: str, rule: CadenceRule | None, default_zone: str
) -> dg.AssetsDefinition:
    """Build the assets `[dataset, cadence, format]` of one cadence, subsettable by format.

    Args:
        rule: The cadence's declaration; None for exports on demand. It makes its own formats only.
        default_zone: IANA zone in which windows begin if the cadence names none.
    """
    declared, name, scoped = dataset.attributes, dataset.dataset, dataset.scoped
    timezone = (rule and rule.timezone) or default_zone
    start = declared.start
    formats = (rule and rule.formats) or declared.formats
    partitions_def = partitions(
        name, cadence, start, timezone, scoped=scoped, windows_have_scopes=dataset.windows_have_scopes
    )
    needs_scope = scoped and cadence != ON_DEMAND and not dataset.windows_have_scopes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # of partitioned checks
        checks = {
            (format, check): dg.AssetCheckSpec(
                check,
                asset=dg.AssetKey([name, cadence, format]),
                description=text,
                blocking=True,
                partitions_def=partitions_def,
            )
            for format in formats
            for check, text in CHECKS.items()
        }
    models = dataset.option_models()
    not_offered = {*of_other_formats(formats), *getattr(models[0], "unavailable", ())}
    columns = dataset.describe().columns

    def to_op(config: Mapping[str, Any]) -> dict[str, Any]:
        fetch = {
            "dataset": name, "cadence": cadence,
            "start": start, "timezone": timezone, "scoped": scoped,
            "window": config.get("window") or None, "scope": config.get("scope") or None,
            "options": {
                **declared.options,
                **{option: value for option, value in config.items() if option not in ("window", "scope")},
            },
        }  # fmt: skip
        return {"fetch_source": {"config": fetch}}

    @dg.graph_multi_asset(
        name=f"{name}_{cadence}",
        outs={
            format: dg.AssetOut(
                key=[name, cadence, format],
                is_required=False,
                description=_description(dataset, cadence, format, default_zone),
                owners=list(declared.owners),
                kinds={FORMATS[format].icon, "file"},
                code_version=_VERSION,
                metadata=_metadata(dataset, format, columns),
            )
            for format in formats
        },
        ins={"application": dg.AssetIn(key=application_key(name), dagster_type=dg.Nothing)},
        check_specs=list(checks.values()),
        can_subset=True,
        partitions_def=partitions_def,
        # Without a policy each run of a backfill has the tag of its partition, not that of a range.
        backfill_policy=dg.BackfillPolicy.single_run() if declared.single_run else None,
        group_name=name,
        config=dg.ConfigMapping(
            config_fn=to_op,
            config_schema=in_order(
                config_schema(name, declared.options, *models, leave_out=not_offered),
                _window_config() if cadence == ON_DEMAND else {},
                {"scope": _SCOPE} if needs_scope else {},
            ),
        ),
    )
    def export(application: Any) -> dict[str, Any]:
        data = sanitize(build_export_data(fetch_source(application)))
        outputs = {}
        for format in formats:
            rendered = RENDER_OPS[format](data)
            outputs[format] = rendered.file
            for check in CHECKS:
                outputs[checks[format, check].get_python_identifier()] = getattr(rendered, check)
        return outputs

    if rule is None:
        return export
    policy = _freshness(rule.cron, timezone)  # which a graph's outputs cannot carry
    return export.map_asset_specs(lambda spec: dg.apply_freshness_policy(spec, policy))


def _description(dataset: Dataset, cadence: str, format: str, default_zone: str) -> str:
    """Return the text of an asset's page: what it is, what can be chosen, an example for the launchpad."""
    parts = [f"{dataset.attributes.description} {FORMATS[format].help}"]
    if cadence == ON_DEMAND and (text := example_yaml(dataset)):
        where = "*Open launchpad*, in the menu beside *Materialize*, takes columns, filters and order"
        parts.append(f"{where}, for example:\n\n```yaml\n{text}```")
    parts += choices(dataset, default_zone, heading="####")
    return "\n\n".join(parts)


def _metadata(dataset: Dataset, format: str, columns: Sequence[ColumnDescription]) -> dict[str, Any]:
    """Return the metadata of an asset, which the UI shows before its first run too."""
    declared = dataset.attributes
    shown = [column for column in columns if not column.is_extra]
    origins = {column.header: column.origins for column in shown if column.origins}
    return {
        **({"dagster/column_schema": table_schema(shown)} if columns else {}),
        **({"dagster/column_lineage": column_lineage(origins)} if columns else {}),
        "media type": FORMATS[format].media_type,
        **({"retention days": declared.retention_days} if declared.retention_days else {}),
        **({} if declared.preview else {"preview": False}),
    }


@cache  # most datasets share their crons, and the ticks of all took a tenth of the time to load them
def _freshness(cron: str, timezone: str) -> dg.FreshnessPolicy:
    """Return the policy by which an asset is stale when a window is late."""
    ticks = croniter(cron, datetime(2026, 1, 1, tzinfo=ZoneInfo(timezone)), ret_type=datetime)
    times = [ticks.get_next().astimezone(UTC) for _ in range(_TICKS_COMPARED)]
    longest = max(later - earlier for earlier, later in pairwise(times))
    return dg.FreshnessPolicy.time_window(warn_window=longest + _LATE / 4, fail_window=longest + _LATE)


_TICKS_COMPARED = 60
_LATE = timedelta(hours=2)
"""Time after a tick when its window counts as missing; a warning is shown after a quarter of it."""


_SCOPE = dg.Field(
    str,
    default_value="",
    description="Whose rows: an id, a name, or both as partitions show them. The tag export_pipeline/scope "
    "says it too, for a backfill.",
)


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
