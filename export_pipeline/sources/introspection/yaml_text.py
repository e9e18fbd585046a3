"""Renders the text of a defs.yaml: valid, commented, to be edited by people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from export_pipeline.formats.registry import FORMATS
from export_pipeline.sources.introspection import naming
from export_pipeline.sources.introspection.deleted_rows import DeletedRows
from export_pipeline.sources.introspection.schema import FieldFacts, Reference, TableFacts
from export_pipeline.sources.introspection.sensitivity import is_personal, secret_reason
from export_pipeline.sources.introspection.types import Typed
from export_pipeline.sources.snapshot import SourceError
from export_pipeline.sources.table_names import bare_table

_MAX_DESCRIPTION = 1_000
_SHORT = 16  # maximum characters of a string that is a code rather than prose


@dataclass(slots=True)
class _Column:
    """A column of the YAML with its facts."""

    name: str
    field: FieldFacts
    typed: Typed
    settings: dict[str, Any]
    note: str


@dataclass(slots=True)
class _Plan:
    """The content of the YAML, with the names used there."""

    columns: list[_Column] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    relations: dict[str, Reference] = field(default_factory=dict)
    labels: list[dict[str, Any]] = field(default_factory=list)


def render_yaml(
    dataset: str, table: TableFacts, types: Mapping[str, Typed], deleted: DeletedRows | None = None
) -> str:
    """Return the defs.yaml of a table export.

    Args:
        dataset: Name of the dataset.
        table: Facts of the table.
        types: The declared type of each column.
        deleted: The column that marks deleted rows, if any.

    Raises:
        SourceError: No column can be exported.
    """
    plan = _plan(table, types)
    if not plan.columns:
        raise SourceError(f"{table.name} has no column that a format can hold.")
    if all("hidden" in column.settings for column in plan.columns) and not plan.labels:
        raise SourceError(
            f"All columns of {table.name} look like secrets, so nothing can be exported; if they are not, "
            "write its defs.yaml by hand."
        )
    parts = [
        _head(dataset, table, plan),
        _source(table, plan, deleted),
        _scope(plan),
        _window(plan),
        _columns(plan),
        _filters(table, plan, deleted),
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


def _plan(table: TableFacts, types: Mapping[str, Typed]) -> _Plan:
    plan = _Plan(left_out=list(table.denied))
    names: list[str] = []
    for one in table.fields:
        typed = types[one.name]
        if typed.type_name is None:
            plan.left_out.append((one.name, typed.note))
            continue
        name = naming.safe_name(one.name, names)
        names.append(name)
        settings: dict[str, Any] = {"name": name, "type": typed.type_name}
        if name != one.name:
            settings |= {"from": one.name, "header": one.name}
        settings |= typed.settings
        notes = [typed.note]
        if typed.kind == "integer" and naming.is_cents(one.name):
            notes.append("with `type: money` all files hold whole units")
        if reason := secret_reason(one.name, typed.kind, table.name):
            settings["hidden"] = True
            notes.append(f"{reason}; never exported while it is hidden")
        elif is_personal(one.name, typed.kind, table.name):
            settings["personal"] = True
        if description := " ".join(one.comment.split())[:_MAX_DESCRIPTION]:
            settings["description"] = description
        plan.columns.append(_Column(name, one, typed, settings, "; ".join(filter(None, notes))))
    # Only a relation may precede a dot, so no relation gets the part before a dot in a column's name.
    taken = [*(one.name.partition(".")[0] for one in table.fields if "." in one.name)]
    for reference in table.references:
        relation = naming.relation_name(reference.column, reference.table, [*taken, *plan.relations])
        plan.relations[relation] = reference
        if reference.label is not None and not secret_reason(reference.label, "text", reference.table):
            name = naming.safe_name(f"{relation}_{'_'.join(naming.split_words(reference.label))}", names)
            names.append(name)
            label = {"name": name, "type": "text", "from": f"{relation}.{reference.label}", "extra": True}
            if is_personal(reference.label, "text", reference.table):
                label["personal"] = True
            plan.labels.append(label)
    return plan


def _head(dataset: str, table: TableFacts, plan: _Plan) -> list[str]:
    description = table.comment or f"All rows of {table.name}."
    general = [format.name for format in FORMATS.values() if format.is_general]
    settings = [column.settings for column in plan.columns if not column.settings.get("hidden")]
    shown = {name for column in settings for name in column.get("formats", general)}
    formats = [name for name in general if plan.labels or name in shown]
    return [
        "type: export_pipeline.TableExport",
        "",
        "attributes:",
        f"  dataset: {_scalar(dataset)}",
        f"  description: {_scalar(description)}",
        f"  formats: {_flow(formats)}",
        '  # owners: ["team:reports"]',
        "",
    ]


_KEYS = {
    "primary": [],
    "unique": ["    # There is no primary key; this is a unique constraint."],
    "all": ["    # There is no key. If some columns identify a row, name only these: that sorts faster."],
}


def _source(table: TableFacts, plan: _Plan, deleted: DeletedRows | None) -> list[str]:
    lines = ["  source:", f"    table: {_scalar(table.name)}", *_KEYS[table.key_from]]
    lines.append(f"    key: {_flow(table.key)}")
    if deleted is not None:
        lines += _where(deleted)
    if created := _creation_time(plan, required=False):
        newest = _flow([f"-{created.field.name}"])
        lines.append(f"    # order: {newest}  # newest first; by default the key's order")
    if plan.relations:
        lines.append("    relations:")
        for name, reference in plan.relations.items():
            other = {"table": reference.table, "from": reference.column, "to": reference.to}
            lines.append(f"      {name}: {_flow(other)}")
    return [*lines, ""]


def _where(deleted: DeletedRows) -> list[str]:
    where = f"where: {_flow({deleted.column: deleted.value})}"
    count = f"{deleted.left_out:,} of {deleted.rows:,} rows now"
    if deleted.doubt:
        doubt = f"This would leave out {count}. In doubt: {_comment(deleted.doubt)}"
        return [f"    # Are these rows deleted? {doubt}.", f"    # {where}"]
    return [f"    # Rows that the application has deleted stay out: {count}.", f"    {where}"]


def _scope(plan: _Plan) -> list[str]:
    for name, reference in plan.relations.items():
        if naming.tenant(name) or naming.tenant(bare_table(reference.table)):
            scope = {"column": reference.column, "table": reference.table, "id": reference.to}
            scope["name"] = reference.label or reference.to
            return [
                f"  # There is one export of all rows. With this scope each holds the rows of one {name}:",
                f"  # scope: {_flow(scope)}",
                "",
            ]
    return []


def _creation_time(plan: _Plan, required: bool) -> _Column | None:
    """Return the column that records a row's creation."""
    times = {
        column.field.name: column
        for column in plan.columns
        if column.typed.kind in ("timestamp", "date") and not (required and column.field.nullable)
    }
    name = naming.find_time(list(times))
    return times[name] if name is not None else None


def _window(plan: _Plan) -> list[str]:
    column = _creation_time(plan, required=True) or _creation_time(plan, required=False)
    if column is None:
        return []
    window: dict[str, Any] = {"column": column.field.name}
    note = ""
    if column.typed.kind == "date":
        window["type"] = "date"
    elif column.typed.settings.get("zone", "UTC") is None:
        window["zone"] = "UTC"
        note = "  # the zone of the clock that wrote it"
    empty = ["  # Rows without this time are in no window."] if column.field.nullable else []
    return [
        "  # Regular exports hold the rows whose time falls in their day, week or month.",
        *empty,
        f"  window: {_flow(window)}{note}",
        "  # cadences:",
        '  #   daily: { cron: "15 2 * * *", timezone: UTC, formats: [csv] }',
        '  #   monthly: { cron: "45 2 1 * *", timezone: UTC, formats: [excel, pdf] }',
        "",
    ]


def _columns(plan: _Plan) -> list[str]:
    lines = ["  columns:"]
    for column in plan.columns:
        note = _comment(column.note)
        lines.append(f"    - {_flow(column.settings)}" + (f"  # {note}" if note else ""))
    lines += [f"    # {_comment(name)} is left out: {_comment(why)}." for name, why in plan.left_out]
    if plan.labels:
        lines.append("    # Only where they are asked for, or without `extra` always:")
        lines += [f"    - {_flow(label)}" for label in plan.labels]
    return [*lines, "", *_print(plan)]


def _print(plan: _Plan) -> list[str]:
    """Return the columns that people read, if some columns are for programs only."""
    visible = [column for column in plan.columns if "hidden" not in column.settings]
    read = [
        column.name
        for column in visible
        if column.typed.kind not in ("uuid", "json") and not naming.is_for_machines(column.name)
    ]
    if not read or len(read) == len(visible):
        return []
    return [
        "  # PDF and workbooks have only these columns, unless a request names others.",
        f"  print: {_flow(read)}",
        "",
    ]


def _filters(table: TableFacts, plan: _Plan, deleted: DeletedRows | None) -> list[str]:
    referring = {reference.column for reference in table.references}
    same = ""  # has the same value in all exported rows
    if deleted is not None and not deleted.doubt and not isinstance(deleted.value, list):
        same = deleted.column
    visible = [
        column for column in plan.columns if "hidden" not in column.settings and column.field.name != same
    ]
    filters: dict[str, Any] = {}
    for column in visible:
        if operators := _operators(column, table, referring):
            name = naming.filter_name(column.name, filters)
            long = {"operators": operators, "column": column.field.name, "type": column.typed.type_name}
            filters[name] = operators if name == column.name else long
    lines = []
    if plan.labels:
        lines += ["  presets:", "    all: all", ""]
    if filters:
        lines.append("  filters:")
        lines += [f"    {_scalar(name)}: {_flow(operators)}" for name, operators in filters.items()]
    sortable = [column.name for column in visible if column.typed.kind != "json"]
    if sortable:
        lines.append(f"  sort: {_flow(sortable)}")
    return lines


def _operators(column: _Column, table: TableFacts, referring: Iterable[str]) -> list[str]:
    """Return the filter operators of a column."""
    name, kind = column.field.name, column.typed.kind
    length = getattr(column.field.type, "length", None)
    in_key = name in table.key and table.key_from != "all"
    if kind in ("enum", "uuid") or (kind != "json" and (name in referring or in_key)):
        operators = ["equals", "in"]
        operators += ["range"] if kind in ("integer", "date", "timestamp") and name not in referring else []
    elif kind == "boolean":
        operators = ["equals"]
    elif kind in ("date", "timestamp", "integer", "decimal", "float"):
        operators = ["range"]
    elif kind == "text":
        # PostgreSQL types that are merely printed as text are not searchable as text.
        is_text = table.dialect == "sqlite" or isinstance(column.field.type, sa.String)
        short = length is not None and length <= _SHORT
        whole = short or naming.is_code(name) or naming.is_handle(name)
        operators = ["equals", "in"] if is_text and whole else []
        operators += ["contains"] if is_text and not short else []
    else:
        operators = []
    return [*operators, "is_null"] if column.field.nullable and name not in table.key else operators


# --- YAML -------------------------------------------------------------------------------------------

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_WORDS = frozenset(["true", "false", "yes", "no", "on", "off", "null", "none", "y", "n"])


def _scalar(value: Any) -> str:
    """Render a value as YAML: a plain scalar if possible, else in double quotes."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, int):
        return str(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() or c == " " else f"\\U{ord(c):08x}" for c in quoted)


def _flow(value: Any) -> str:
    """Render a list or mapping in one line."""
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_scalar(key)}: {_flow(item)}" for key, item in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_flow, value))}]"
    return _scalar(value)


def _comment(text: str) -> str:
    """Render any string as one line that may follow a #."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
