"""Assets: one for each dataset, cadence and format, all of a cadence from one read of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any

import dagster as dg

from export_pipeline.formats.options import FormatOptions
from export_pipeline.formats.registry import FORMATS
from export_pipeline.orchestration.checks import CHECKS
from export_pipeline.orchestration.launch_config import config_schema
from export_pipeline.orchestration.ops import RENDER_OPS, build_export_data, fetch_project, sanitize


def application_key(dataset: str) -> dg.AssetKey:
    """The application's own tables: an asset that is made elsewhere, and that every export comes from."""
    return dg.AssetKey([dataset, "application"])


def export_assets(
    *,
    dataset: str,
    cadence: str,
    source: str,
    model: str,
    formats: Sequence[str],
    partitions: dg.PartitionsDefinition,
    description: str,
    owners: Sequence[str],
    options: Mapping[str, Any],
) -> dg.AssetsDefinition:
    """The assets `[dataset, cadence, format]` of one cadence, subsettable by format.

    Args:
        source: Module with `read(snapshot, scope, options, as_of)`.
        model: Module with `Options`, `build` and `layout`.
        options: Defaults of the launchpad; what schedules and backfills, which take no config, use.
    """
    checks = {
        (format, name): dg.AssetCheckSpec(
            name, asset=dg.AssetKey([dataset, cadence, format]), description=text, blocking=True
        )
        for format in formats
        for name, text in CHECKS.items()
    }
    models = (import_module(model).Options, FormatOptions)

    def to_op(config: Mapping[str, Any]) -> dict[str, Any]:
        return {"fetch_project": {"config": {"source": source, "model": model, "options": dict(config)}}}

    @dg.graph_multi_asset(
        name=f"{dataset}_{cadence}",
        outs={
            format: dg.AssetOut(
                key=[dataset, cadence, format],
                is_required=False,
                description=f"{description} {FORMATS[format].help}",
                owners=list(owners),
                kinds={_KINDS.get(format, format), "file"},
                code_version=version("export-pipeline"),
                metadata={"media type": FORMATS[format].media_type},
            )
            for format in formats
        },
        ins={"application": dg.AssetIn(key=application_key(dataset), dagster_type=dg.Nothing)},
        check_specs=list(checks.values()),
        can_subset=True,
        partitions_def=partitions,
        group_name=dataset,
        config=dg.ConfigMapping(config_fn=to_op, config_schema=config_schema(dataset, options, *models)),
    )
    def export(application: Any) -> dict[str, Any]:
        data = sanitize(build_export_data(fetch_project(application)))
        outputs = {}
        for format in formats:
            rendered = RENDER_OPS[format](data)
            outputs[format] = rendered.file
            for name in CHECKS:
                outputs[checks[format, name].get_python_identifier()] = getattr(rendered, name)
        return outputs

    return export


_KINDS = {"ost": "xml"}
