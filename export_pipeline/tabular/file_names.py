"""File names of exports."""

from __future__ import annotations

import re
from string import Formatter
from zoneinfo import ZoneInfo

from export_pipeline.core.export_data import ExportData
from export_pipeline.core.strict_model import describe_unknown_name
from export_pipeline.tabular.column_selection import find_preset
from export_pipeline.tabular.spec import TableSpec

PLACEHOLDERS = ("title", "dataset", "preset", "scope", "window", "created")
_CUT = re.compile(r"\.[0-9]{1,3}")
_CLOCK = re.compile(r"%[HMS]")
_TIME = re.compile(r"(%[YmdHMSyjUVbBaA]|[-_ .]|[0-9A-Za-z])+")


def title_of(spec: TableSpec, data: ExportData) -> str:
    """Return the title of the preset, the spec, or the data; the dataset's name if all are empty."""
    preset = find_preset(spec, data.options)
    return (
        data.options.get("title")
        or (preset.title if preset else None)
        or spec.title
        or data.title
        or data.dataset
    )


def file_name(spec: TableSpec, data: ExportData) -> str:
    """Return the file name without extension, from the template of the spec (or the preset).

    {window} of an export without a window is the time of its data. {created} is in the spec's zone; for an
    export of a window it is the window's first and last day, so that October's file never has a date of
    November.
    """
    preset = find_preset(spec, data.options)
    values = {
        "title": title_of(spec, data),
        "dataset": data.dataset,
        "preset": data.options.get("preset") or "",
        "scope": data.scope or "",
        "window": data.file_part,
    }
    parts = []
    for text, name, form, _ in Formatter().parse((preset.file_name if preset else None) or spec.file_name):
        parts.append(text)
        if name == "created":
            parts.append(_format_creation(spec, data, form or "%Y%m%d_%H%M%S"))
        elif name is not None:
            parts.append(format(values[name], form or ""))
    return "".join(parts)


def _format_creation(spec: TableSpec, data: ExportData, form: str) -> str:
    if data.window is None:
        return data.snapshot_at.astimezone(ZoneInfo(spec.file_zone)).strftime(form)
    if data.window.days is None or _CLOCK.search(form):
        return data.window.file_part
    return data.window.formatted(form)


def find_problem(template: str) -> str | None:
    """Return the error in a template of file names, if any."""
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
            return f"placeholders: {describe_unknown_name(name, PLACEHOLDERS)}"
        allowed, example = (_TIME, "%Y%m%d") if name == "created" else (_CUT, ".8")
        if form and not allowed.fullmatch(form):
            return f"{{{name}:{form}}} has an unknown form; write e.g. {{{name}:{example}}}"
    return None
