"""Selection of an export's columns, their order, and the columns they are computed from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from export_pipeline.expressions.parser import names
from export_pipeline.tabular.spec import ColumnSpec, NestedSpec, Preset, TableSpec, TextSpec


def find_preset(spec: TableSpec, options: Mapping[str, Any]) -> Preset | None:
    """Return the preset named in the options, if any."""
    name = options.get("preset")
    return spec.presets[name] if name else None


def select_columns(spec: TableSpec, options: BaseModel | Mapping[str, Any]) -> list[ColumnSpec]:
    """Return the requested columns, in order: named ones, else the preset's, else all but extra ones.

    Hidden columns are never returned. `options` are validated options, or their JSON form.
    """
    values = options.model_dump() if isinstance(options, BaseModel) else options
    if values.get("columns"):
        return [spec.column(name) for name in values["columns"]]
    preset = find_preset(spec, values)
    visible = [column for column in spec.columns if not column.hidden]
    if preset is None:
        return [column for column in visible if not column.extra]
    return visible if preset.columns == "all" else [spec.column(name) for name in preset.columns]


def is_own_choice(options: Mapping[str, Any]) -> bool:
    """Return whether a request chooses its columns itself, by name or by a preset."""
    return bool(options.get("columns") or options.get("preset"))


def inherit_privacy(spec: TableSpec, columns: Iterable[ColumnSpec]) -> list[ColumnSpec]:
    """Return the columns, each marked as personal or guarded if a column it is computed from is.

    A column is personal too if a personal column is read from the same field.
    """
    fields = {field_of(column) for column in spec.columns if column.personal}
    marked = []
    for column in columns:
        used = find_needed_columns(spec, [column]) if column.compute else [column]
        is_personal = any(one.personal or not fields.isdisjoint(fields_of(one)) for one in used)
        readers = next((one.readers for one in used if one.readers is not None), None)
        marked.append(column.model_copy(update={"personal": is_personal, "readers": readers}))
    return marked


def field_of(column: ColumnSpec) -> str | None:
    """Return the field that a column shows; None for a computed or nested one."""
    return None if column.compute or column.nested else column.from_ or column.name


def fields_of(column: ColumnSpec) -> Iterator[str]:
    """Yield all fields that a column shows; none for a computed one."""
    if column.nested is not None:
        yield from _fields_in(column.nested, "")
    elif field := field_of(column):
        yield field


def _fields_in(nested: NestedSpec, relation: str) -> Iterator[str]:
    relation = nested.from_ or relation
    for field in (*nested.fields.values(), nested.value):
        if isinstance(field, NestedSpec):
            yield from _fields_in(field, relation)
            continue
        names = [name for _, name in field.parts()] if isinstance(field, TextSpec) else [field]
        yield from (f"{relation}.{name}" if relation else name for name in names if name)


def find_needed_columns(spec: TableSpec, columns: Iterable[ColumnSpec]) -> list[ColumnSpec]:
    """Return these columns and all columns that their expressions need, in the order of the spec.

    Columns without `compute` are read from the database; the others are computed from them.
    """
    columns_by_name: dict[str, ColumnSpec] = {}
    waiting = list(columns)
    while waiting:
        column = waiting.pop()
        if column.name not in columns_by_name:
            columns_by_name[column.name] = column
            waiting += [spec.column(name) for name in names(column.compute)] if column.compute else []
    return [column for column in spec.columns if column.name in columns_by_name]


class CircleError(ValueError):
    """Raised if columns are computed from each other.

    Attributes:
        names: The columns.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"{', '.join(names)} are computed from each other; break the circle")
        self.names = names


def sort_by_dependency(columns: Sequence[ColumnSpec]) -> list[ColumnSpec]:
    """Return the computed columns among these, each after the columns that its expression needs.

    Raises:
        CircleError: Columns need each other.
    """
    waiting = {column.name: set(names(column.compute)) for column in columns if column.compute}
    by_name = {column.name: column for column in columns}
    ordered: list[ColumnSpec] = []
    while waiting:
        ready = [name for name, needs in waiting.items() if not needs & waiting.keys()]
        if not ready:
            raise CircleError(list(waiting))
        for name in ready:
            del waiting[name]
            ordered.append(by_name[name])
    return ordered


def key_of(spec: Mapping[str, Any]) -> bytes:
    """Return a spec's JSON form as a cache key."""
    import json

    return json.dumps(spec).encode()


def spec_of(spec: Mapping[str, Any] | bytes) -> TableSpec:
    """Return the typed form of a spec's JSON form (or of its key); cached."""
    return _spec_of(spec if isinstance(spec, bytes) else key_of(spec))


@lru_cache(256)
def _spec_of(key: bytes) -> TableSpec:
    return TableSpec.model_validate_json(key)
