"""Markdown pages about datasets: their columns, filters, presets and cadences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, get_args, get_origin

import yaml

from export_pipeline.core.description import ColumnDescription
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.options import OptionError, parse_options

_ODD = re.compile(r"([\\`*_{}\[\]<>#|~])")
_MAX_PRESET_COLUMNS = 12


def page(datasets: Iterable[Dataset], default_zone: str) -> str:
    """Return one page about all datasets, with their columns.

    Args:
        default_zone: IANA zone of cadences that name none.
    """
    there = list(datasets)
    contents = "\n".join(
        f"- [{one.dataset}](#{one.dataset}): {_text(one.attributes.description)}" for one in there
    )
    sections = [part for dataset in there for part in _section(dataset, default_zone)]
    return "\n\n".join(["# Datasets", contents, *sections]) + "\n"


def _section(dataset: Dataset, default_zone: str) -> list[str]:
    declared = dataset.attributes
    parts = [f"## {dataset.dataset}", _text(declared.description)]
    formats = ", ".join(dataset.formats)
    parts.append(f"Formats: {formats}." + (" One export for each scope." if dataset.scoped else ""))
    if declared.owners:
        parts.append(f"Owners: {', '.join(map(_text, declared.owners))}.")
    described = dataset.describe()
    if described.columns:
        rows = [
            [f"`{column.name}`", _text(column.header), column.kind, _column_notes(column)]
            for column in described.columns
        ]
        parts += ["### Columns", _table(["name", "header", "type", "about"], rows)]
    parts += choices(dataset, default_zone, heading="###")
    if described.tables:
        parts.append(f"Read from {', '.join(map(_text, described.tables))}.")
    return parts


def choices(dataset: Dataset, default_zone: str, *, heading: str) -> list[str]:
    """Return the sections about filters, presets and regular exports, those that the dataset has."""
    parts: list[str] = []
    spec = dataset.spec
    if filters := spec.get("filters"):
        rows = [
            [f"`{name}`", ", ".join(filter["operators"]), _text(filter.get("description") or "")]
            for name, filter in filters.items()
        ]
        parts += [f"{heading} Filters", _table(["filter", "operators", "about"], rows)]
    if presets := spec.get("presets"):
        lines = [f"- `{name}`: {_preset(preset)}" for name, preset in presets.items()]
        parts += [f"{heading} Presets", "\n".join(lines)]
    if sort := spec.get("sort"):
        parts.append("Can be sorted by " + ", ".join(f"`{name}`" for name in sort) + ".")
    if cadences := dataset.attributes.cadences.named():
        rows = [
            [
                name,
                f"`{rule.cron}` {rule.timezone or default_zone}",
                ", ".join(rule.formats or dataset.formats),
                ", ".join(map(_text, rule.recipients)) or "–",
            ]
            for name, rule in cadences.items()
        ]
        parts += [f"{heading} Regular exports", _table(["cadence", "when", "formats", "mailed to"], rows)]
    return parts


def example(dataset: Dataset) -> dict[str, Any]:
    """Return example options of a dataset: a preset or columns, a filter and an order."""
    spec = dataset.spec
    columns = {column["name"]: column for column in spec.get("columns", ())}
    usual = [name for name, one in columns.items() if not one.get("hidden") and not one.get("extra")]
    candidates: list[dict[str, Any]] = []
    if presets := list(spec.get("presets", ())):
        candidates.append({"preset": presets[0]})
    elif len(usual) > 1:
        candidates.append({"columns": usual[:2]})
    candidates += [{"filters": one} for one in _example_filters(spec, columns)]
    candidates += [{"sort": [f"-{name}"]} for name in list(spec.get("sort", ()))[:1]]
    own = dataset.option_models()[0]
    candidates += [
        {name: get_args(field.annotation)[-1]}
        for name, field in own.model_fields.items()
        if get_origin(field.annotation) is Literal and name not in _LISTED
    ]
    chosen: dict[str, Any] = {}
    for candidate in candidates:
        if not candidate.keys() & chosen.keys():
            with suppress(OptionError):
                parse_options({**dataset.attributes.options, **chosen, **candidate}, *dataset.option_models())
                chosen |= candidate
    return chosen


_LISTED = ("preset", "columns", "filters", "sort")


def example_yaml(dataset: Dataset) -> str:
    """Return the example as YAML for the launchpad; empty if the dataset has no options."""
    options = example(dataset)
    config = {"ops": {f"{dataset.dataset}_on_demand": {"config": options}}}
    return (
        yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000) if options else ""
    )


_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


_VALUES: Mapping[str, Any] = {
    "date": "2026-01-01", "timestamp": "2026-01-01", "integer": 1, "boolean": True, "money": 100,
    "float": 1, "text": "a", "uuid": "00000000-0000-0000-0000-000000000001",
}  # fmt: skip


def _example_filters(
    spec: Mapping[str, Any], columns: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield a filter by a listed value or by a range, as far as the types are known; the best first."""
    examples: list[tuple[int, dict[str, Any]]] = []
    for name, filter in spec.get("filters", {}).items():
        column = columns.get(name, {})
        kind = str(filter.get("type") or column.get("type", "text")).partition("(")[0]
        labels = list(column.get("labels") or ())
        operators = filter["operators"]
        if kind == "enum" and labels and "in" in operators:
            examples.append((0, {name: {"in": labels[:2]}}))
        elif kind in ("date", "timestamp") and "range" in operators:
            examples.append((1, {name: {"range": {"from": _VALUES[kind]}}}))
        elif kind in _VALUES and "equals" in operators:
            examples.append((2, {name: {"equals": _VALUES[kind]}}))
        elif "contains" in operators:
            examples.append((3, {name: {"contains": "a"}}))
    yield from (filter for _, filter in sorted(examples, key=lambda one: one[0]))


def _preset(preset: Any) -> str:
    columns = preset.get("columns") if isinstance(preset, Mapping) else preset
    if columns == "all" or columns is None:
        return "all columns"
    shown = ", ".join(f"`{name}`" for name in columns[:_MAX_PRESET_COLUMNS])
    more = len(columns) - _MAX_PRESET_COLUMNS
    return f"{shown} and {more} more" if more > 0 else shown


def _column_notes(column: ColumnDescription) -> str:
    notes = [_text(column.description)] if column.description else []
    notes += ["only on request"] if column.is_extra else []
    notes += ["personal"] if column.is_personal else []
    notes += ["guarded: empty for those who may not read it"] if column.is_guarded else []
    return "; ".join(notes)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(text: str) -> str:
    """Return text as one line of Markdown that shows it as it is."""
    return _ODD.sub(r"\\\1", " ".join(text.split()))
