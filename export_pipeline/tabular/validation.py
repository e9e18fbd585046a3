"""Checks that a spec's parts agree; all errors are reported at once, each at its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Self

from pydantic import ValidationError, model_validator

from export_pipeline.core.columns import Kind
from export_pipeline.core.messages import describe_error
from export_pipeline.core.strict_model import describe_unknown_name, error_at
from export_pipeline.expressions.compiler import compile_expression, explain_mismatch
from export_pipeline.expressions.parser import ExpressionError
from export_pipeline.tabular.column_selection import (
    CircleError,
    field_of,
    fields_of,
    find_needed_columns,
    sort_by_dependency,
)
from export_pipeline.tabular.columns import expression_type
from export_pipeline.tabular.file_names import find_problem
from export_pipeline.tabular.filter_values import OPERATORS, describe_filter, find_column
from export_pipeline.tabular.options import filters_model
from export_pipeline.tabular.report_validation import (
    DIGITS,
    TIMES,
    Place,
    SpecProblem,
    find_report_problems,
    quote_names,
)
from export_pipeline.tabular.source_validation import SourceFields
from export_pipeline.tabular.spec import ColumnSpec, FilterSpec, PrintSpec, TableSpec
from export_pipeline.time_zones import zone_problem


class CheckedTableSpec(TableSpec):
    """A table export whose parts agree. All errors are raised at once, each at its place."""

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if messages := problems(self):
            raise error_at("TableExport", messages)
        return self


def problems(spec: TableSpec) -> dict[Place, str]:
    """Return the errors of a spec whose single fields are valid, by place; empty if there are none."""
    messages: dict[Place, str] = {}
    for place, message in _Check(spec).all():
        messages.setdefault(place, message)
    return messages


class _Check:
    def __init__(self, spec: TableSpec) -> None:
        self.spec = spec
        self.by_name = {column.name: column for column in spec.columns}
        self.fields = SourceFields(spec.source)

    def all(self) -> Iterator[SpecProblem]:
        yield from self.fields.problems()
        yield from self._names()
        yield from self._columns()
        yield from self._expressions()
        yield from self._filters()
        yield from self._sort()
        yield from self._presets()
        yield from find_report_problems(self.spec)
        yield from self._others()

    # --- columns ---

    def _names(self) -> Iterator[SpecProblem]:
        first: dict[str, int] = {}
        for index, column in enumerate(self.spec.columns):
            if column.name in first:
                place = first[column.name] + 1
                yield ("columns", index, "name"), f"{column.name!r} is the name of column {place} already"
            first.setdefault(column.name, index)
        if all(column.hidden for column in self.spec.columns):
            yield ("columns",), "all columns are hidden; an export needs at least one that is not"

    def _columns(self) -> Iterator[SpecProblem]:
        guarded = {field_of(column): column.name for column in self.spec.columns if column.readers}
        for index, column in enumerate(self.spec.columns):
            for field, message in (*self._origin(column), *_meaning(column), *_printable_texts(column)):
                yield ("columns", index, *field), message
            if column.readers is not None and column.readers not in self.spec.readers:
                yield ("columns", index, "readers"), describe_unknown_name(column.readers, self.spec.readers)
            twins = (guarded[field] for field in fields_of(column) if field in guarded)
            if column.readers is None and (twin := next(twins, None)):
                yield ("columns", index), f"{twin} has readers and reads the same field; give both the same"

    def _origin(self, column: ColumnSpec) -> Iterator[SpecProblem]:
        """Check the origin of a column: a field, rows of a relation, or other columns."""
        ways = [name for name in ("compute", "nested", "from_") if getattr(column, name) is not None]
        if len(ways) > 1:
            names = " and ".join(way.rstrip("_") for way in ways)
            yield (ways[0].rstrip("_"),), f"a column has one origin, not {names}"
            return
        if column.nested is not None:
            if column.parsed.kind is not Kind.JSON:
                yield ("type",), f"nested rows are json, not {column.type}"
            if column.separator is not None:
                yield ("separator",), "nested rows are JSON; only a single field has a separator"
            for place, message in self.fields.nested(column.nested):
                yield ("nested", *place), message
        elif column.compute is not None:
            if column.separator is not None:
                yield ("separator",), "only a field read from a relation has a separator"
            if column.readers is not None:
                yield ("readers",), "guard the columns that it is computed from, not a computed one"
        else:
            yield from self._read(column)

    def _read(self, column: ColumnSpec) -> Iterator[SpecProblem]:
        path = column.from_ or column.name
        place = ("from",) if column.from_ else ("name",)
        if problem := self.fields.path(path):
            yield place, problem
        many = self.fields.many(path)
        if many and column.separator is None:
            yield (
                place,
                f"of {many} several rows may belong to one; say a separator that joins them, or use nested",
            )
        if column.separator is not None:
            if not many:
                yield ("separator",), "a separator is only for fields of a relation with many: true"
            if column.parsed.kind is not Kind.TEXT:
                yield ("type",), f"values joined with a separator are text, not {column.type}"

    def _expressions(self) -> Iterator[SpecProblem]:
        types = {}
        for index, column in enumerate(self.spec.columns):
            try:
                types[column.name] = expression_type(column)
            except ValueError as error:
                yield ("columns", index, "type"), str(error)
        sound = True
        for index, column in enumerate(self.spec.columns):
            if column.compute is None:
                continue
            place = ("columns", index, "compute")
            try:
                type = compile_expression(column.compute, types).type
            except ExpressionError as error:
                sound = False
                yield place, str(error)
                continue
            if column.name in types and (problem := explain_mismatch(type, types[column.name])):
                yield place, f"does not fit {column.type}: {problem}"
        if sound:
            try:
                sort_by_dependency(find_needed_columns(self.spec, self.spec.columns))
            except CircleError as error:
                first = next(i for i, column in enumerate(self.spec.columns) if column.name in error.names)
                yield ("columns", first, "compute"), str(error)

    # --- options ---

    def _filters(self) -> Iterator[SpecProblem]:
        for name, filter in self.spec.filters.items():
            for place, message in self._filter(name, filter):
                yield ("filters", name, *place), message

    def _filter(self, name: str, filter: FilterSpec) -> Iterator[SpecProblem]:
        column = find_column(self.spec, name, filter)
        if filter.parameter:
            if self.spec.source.sql is None:
                yield ("parameter",), "only the select of a .sql file has parameters"
            if filter.column is not None:
                yield ("column",), "the value is a parameter; it has no column to filter by"
            if list(filter.operators) != ["equals"]:
                yield ("operators",), "a parameter is one value; its only operator is equals"
        elif filter.column is not None:
            if problem := self.fields.path(filter.column):
                yield ("column",), problem
        elif column is None:
            known = [name for name, column in self.by_name.items() if self._is_read(column)]
            yield (), f"{describe_unknown_name(name, known)}; or say its column or parameter"
            return
        elif not self._is_read(column):
            what = "computed" if column.compute is not None else "nested or joined"
            yield (), f"{name} is {what}; the database can only filter by what it holds"
            return
        if column is None and filter.type is None and set(filter.operators) != {"is_null"}:
            yield (), "say the type of its values, e.g. `type: text`; no column says it"
        if column is not None and column.readers is not None:
            yield (), f"{column.name} has readers; whoever filters by it learns what it holds"
        kind = describe_filter(self.spec, name, filter).type.kind
        for operator in filter.operators:
            if operator not in OPERATORS[kind]:
                yield ("operators",), f"{kind} has no {operator}; there are {', '.join(OPERATORS[kind])}"

    @staticmethod
    def _is_read(column: ColumnSpec) -> bool:
        """Return whether the column is read from the database as a single value."""
        return column.compute is None and column.nested is None and column.separator is None

    def _sort(self) -> Iterator[SpecProblem]:
        sortable = [
            name
            for name, one in self.by_name.items()
            if self._is_read(one) and one.parsed.kind is not Kind.JSON
        ]
        for index, name in enumerate(self.spec.sort):
            column = self.by_name.get(name)
            if column is None:
                yield ("sort", index), describe_unknown_name(name, sortable)
            elif name not in sortable:
                yield ("sort", index), f"{name} is computed, nested or json; the database cannot sort by it"
            elif column.readers is not None:
                yield ("sort", index), f"{name} has readers; whoever sorts by it learns what it holds"

    def _presets(self) -> Iterator[SpecProblem]:

        if self.spec.preset_required and not self.spec.presets:
            yield ("preset_required",), "there are no presets to choose from; add some under presets"
        visible = [name for name, column in self.by_name.items() if not column.hidden]
        for name, preset in self.spec.presets.items():
            place: Place = ("presets", name)
            if not isinstance(preset.columns, str):
                yield from quote_names((*place, "columns"), preset.columns, visible)
                if not preset.columns:
                    yield (*place, "columns"), "a preset has at least one column"
            if preset.file_name is not None and (problem := find_problem(preset.file_name)):
                yield (*place, "file_name"), problem
            if preset.filters:
                try:
                    filters_model(self.spec).model_validate(preset.filters)
                except ValidationError as error:
                    for one in error.errors(include_url=False):
                        yield (*place, "filters", *one["loc"]), describe_error(one)

    # --- the rest ---

    def _others(self) -> Iterator[SpecProblem]:
        spec = self.spec
        if problem := find_problem(spec.file_name):
            yield ("file_name",), problem
        if problem := zone_problem(spec.file_zone):
            yield ("file_zone",), problem
        if not spec.json_key:
            yield ("json_key",), "a key has at least one character"
        for name, part in (("scope", spec.scope), ("window", spec.window)):
            if part is not None and (problem := self.fields.single(part.column)):
                yield (name, "column"), problem
        if (
            spec.window is not None
            and spec.window.zone is not None
            and (problem := zone_problem(spec.window.zone))
        ):
            yield ("window", "zone"), problem
        for name, rule in spec.readers.items():
            if rule.scope is not None and spec.scope is None:
                yield ("readers", name, "scope"), "this export has no scope"
        for name, filter in spec.filters.items():
            if filter.among is not None and filter.among.scope is not None and spec.scope is None:
                yield ("filters", name, "among", "scope"), "this export has no scope"


_ONLY_FOR: dict[str, frozenset[Kind]] = {
    "digits": DIGITS,
    "grouping": DIGITS,
    "total": DIGITS,
    "currency": frozenset({Kind.MONEY}),
    "minor_digits": frozenset({Kind.MONEY}),
    "zone": frozenset({Kind.TIMESTAMP}),
    "pattern": TIMES,
    "labels": frozenset({Kind.ENUM, Kind.BOOLEAN}),
}


_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\u202d\u202e\ud800-\udfff]")


def _printable_texts(column: ColumnSpec) -> Iterator[SpecProblem]:
    """Check strings that are written to files unchanged; strings from the database are cleaned instead."""
    texts = {"header": column.header or "", "null_text": column.null_text, "currency": column.currency}
    places: list[tuple[Place, str]] = [((name,), text) for name, text in texts.items()]
    places += [(("labels", value), label) for value, label in column.labels.items()]
    places += [(("print", "labels", value), label) for value, label in column.print.labels.items()]
    places.append((("print", "header"), column.print.header or ""))
    for place, text in places:
        if match := _UNPRINTABLE.search(text):
            yield place, f"holds the character U+{ord(match[0]):04X}, which no file may hold; leave it out"


def _meaning(column: ColumnSpec) -> Iterator[SpecProblem]:
    """Check the settings that depend on a column's type."""
    kind = column.parsed.kind
    for name, kinds in _ONLY_FOR.items():
        if kind in kinds:
            continue
        mistake = f"only for {', '.join(sorted(kinds))}; this is {column.type}"
        if getattr(column, name) != ColumnSpec.model_fields[name].default:
            yield (name,), mistake
        if getattr(column.print, name, None):
            yield ("print", name), mistake
    if column.total and column.grouping is False:
        yield ("total",), "numbers without grouping identify something, so their sum means nothing"
    if kind is Kind.TIMESTAMP and column.zone is not None and (problem := zone_problem(column.zone)):
        yield ("zone",), problem
    looks: tuple[tuple[Place, ColumnSpec | PrintSpec], ...] = (((), column), (("print",), column.print))
    for place, look in looks:
        if kind in TIMES and (problem := pattern_problem(look.pattern, times=kind is Kind.TIMESTAMP)):
            yield (*place, "pattern"), problem
        if kind is Kind.BOOLEAN and (others := set(look.labels) - {"true", "false"}):
            yield (
                (*place, "labels"),
                f"labels of a boolean are for 'true' and 'false', not {min(others)!r}; write them quoted",
            )
    if column.formats is not None and not column.formats:
        yield ("formats",), "name at least one format, or leave it out for all"


DAY_PARTS = ("yyyy", "MMM", "MM", "dd")
TIME_PARTS = ("HH", "mm", "ss")
_WORD = re.compile(r"[A-Za-z]+")
_PARTS = re.compile(f"(?>{'|'.join((*DAY_PARTS, *TIME_PARTS, 'T'))})++")


def pattern_problem(pattern: str | None, times: bool) -> str | None:
    """Return the error in a pattern such as `MMM dd, yyyy`; None if it is valid.

    Args:
        times: True if the column has a time of day.
    """
    if pattern is None:
        return None
    known = (*DAY_PARTS, *TIME_PARTS) if times else DAY_PARTS
    for token in _WORD.findall(pattern):
        if not _PARTS.fullmatch(token):
            return f"no part of a pattern: {describe_unknown_name(token, known)}"
        if not times and any(part in token for part in TIME_PARTS):
            return f"a date has no {token}; there are {', '.join(DAY_PARTS)}"
    if not any(part in pattern for part in known):
        return f"a pattern has at least one of {', '.join(known)}"
    return None
