"""Facts that introduce an export: its scope, its filters, and the time of its data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any

from export_pipeline.core.export_data import ExportData
from export_pipeline.tabular.column_selection import find_preset
from export_pipeline.tabular.columns import make_header
from export_pipeline.tabular.filter_values import find_column
from export_pipeline.tabular.spec import FilterSpec, TableSpec

_MAX_VALUES = 5


def describe_export(spec: TableSpec, data: ExportData) -> tuple[tuple[str, str], ...]:
    """Return (label, value) pairs: scope, preset, each filter in words, window, rows, time of the data.

    A preset with a title is named by it: neither its name is repeated, nor a filter by what no column shows.
    """
    facts = []
    if name := scope_name(data):
        facts.append(("For", name))
    preset = find_preset(spec, data.options)
    titled = preset is not None and preset.title is not None
    if preset and not titled:
        facts.append(("Preset", str(data.options["preset"]).replace("_", " ")))
    displayed = data.options.get("filters_display") or {}
    for filters in (preset.filters if preset else {}, data.options.get("filters") or {}):
        for name, operators in filters.items():
            if titled and preset and filters is preset.filters and not _is_column(spec, name):
                continue
            sentences = [
                sentence
                for operator, value in (operators or {}).items()
                if value is not None and (sentence := _words(spec, name, operator, value))
            ]
            if sentences and displayed.get(name) and not (preset and filters is preset.filters):
                sentences = [displayed[name]]
            facts += [(_label(spec, name), sentence) for sentence in sentences]
    if period := period_of(spec, data):
        facts.append(("Period", period))
    facts.append(("Rows", f"{data.source_rows:,}"))
    facts.append(("Data as of", f"{data.snapshot_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"))
    return tuple(facts)


def scope_name(data: ExportData) -> str:
    """Return the name of the scope whose rows these are; "" for a dataset without scopes."""
    return "" if data.scope is None else str(data.subject.get("name") or data.scope)


def title_for_people(spec: TableSpec, data: ExportData) -> str:
    """Return the title of the request, the preset or the spec, else the dataset's name in words.

    The scope is not the title: the facts below it and the pages' footers name it.
    """
    preset = find_preset(spec, data.options)
    chosen = data.options.get("title") or (preset.title if preset else None)
    return chosen or spec.title or data.dataset.replace("_", " ").title()


def period_of(spec: TableSpec, data: ExportData) -> str | None:
    """Return the window in words; None without one."""
    return data.period(as_of=spec.window is not None and spec.window.mode == "as_of")


def _is_column(spec: TableSpec, filter: str) -> bool:
    return find_column(spec, filter, spec.filters.get(filter) or FilterSpec(operators=["equals"])) is not None


def _label(spec: TableSpec, name: str) -> str:
    column = find_column(spec, name, spec.filters.get(name) or FilterSpec(operators=["equals"]))
    return make_header(column) if column else name.replace("_", " ").capitalize()


def _words(spec: TableSpec, name: str, operator: str, value: Any) -> str:
    """Describe one condition in words."""
    filter = spec.filters.get(name)
    column = find_column(spec, name, filter) if filter else None
    labels: Mapping[str, str] = {**column.labels, **column.print.labels} if column else {}
    minor = column.minor_digits if column and column.parsed.minor else 0

    def as_text(one: Any) -> str:
        if isinstance(one, bool):
            return labels.get(str(one).lower(), "yes" if one else "no")
        if minor and isinstance(one, int):
            return f"{one / 10**minor:,.{minor}f}"
        return labels.get(str(one), str(one))

    match operator:
        case "in" | "in_":
            listed = ", ".join(as_text(one) for one in value[:_MAX_VALUES])
            more = len(value) - _MAX_VALUES
            return f"{listed} and {more:,} more" if more > 0 else listed
        case "range" | "range_":
            ends = value.get("from", value.get("from_")), value.get("to")
            ends_in_words = [
                f"{preposition} {as_text(end)}"
                for preposition, end in zip(("from", "to"), ends, strict=True)
                if end is not None
            ]
            return " ".join(ends_in_words)
        case "contains":
            return f"contains “{value}”"
        case "is_null":
            return "missing" if value else "not missing"
    return as_text(value)
