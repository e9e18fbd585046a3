"""What the files of an export are saved as."""

from __future__ import annotations

import re
from datetime import UTC
from string import Formatter
from zoneinfo import ZoneInfo

from export_pipeline.model.export_data import ExportData
from export_pipeline.model.strict import unknown_name
from export_pipeline.model.tabular.choice import preset_of
from export_pipeline.model.tabular.spec import TableSpec

PLACEHOLDERS = ("title", "dataset", "preset", "scope", "window", "created")
_CUT = re.compile(r"\.[0-9]{1,3}")
_TIME = re.compile(r"(%[YmdHMSyjUVbBaA]|[-_ .]|[0-9A-Za-z])+")


def title_of(spec: TableSpec, data: ExportData) -> str:
    """The export's title: the preset's, the spec's, the data's own; the dataset's name if all are empty."""
    preset = preset_of(spec, data.options)
    return (preset.title if preset else None) or spec.title or data.title or data.dataset


def file_name(spec: TableSpec, data: ExportData) -> str:
    """The name without extension, as the spec (or the preset) says it; `created` in the spec's zone.

    {window} of an export without one is the time it was made.
    """
    preset = preset_of(spec, data.options)
    created = (data.as_of or data.snapshot_at).astimezone(UTC).astimezone(ZoneInfo(spec.file_zone))
    values = {
        "title": title_of(spec, data),
        "dataset": data.dataset,
        "preset": data.options.get("preset") or "",
        "scope": data.scope or "",
        "window": data.window.name if data.window else f"{data.snapshot_at:%Y%m%d_%H%M%S}",
        "created": created,
    }
    parts = []
    for text, name, form, _ in Formatter().parse((preset.file_name if preset else None) or spec.file_name):
        parts.append(text)
        if name is not None:
            default = "%Y%m%d_%H%M%S" if name == "created" else ""
            parts.append(format(values[name], form or default))
    return "".join(parts)


def problem_of(template: str) -> str | None:
    """What is wrong with a template of file names; None if nothing is."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        return f"{error}; write {{{{ and }}}} for braces"
    for _, name, form, conversion in parts:
        if name is None:
            continue
        if conversion:
            return f"write {{{name}}} without !{conversion}"
        if name not in PLACEHOLDERS:
            return f"placeholders: {unknown_name(name, PLACEHOLDERS)}"
        allowed, example = (_TIME, "%Y%m%d") if name == "created" else (_CUT, ".8")
        if form and not allowed.fullmatch(form):
            return f"{{{name}:{form}}} has an unknown form; write e.g. {{{name}:{example}}}"
    return None
