"""Description of a table export: its columns with their origins, and its tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from export_pipeline.core.description import ColumnDescription, Origin, ShapeDescription
from export_pipeline.tabular.column_selection import (
    find_needed_columns,
    inherit_privacy,
    key_of,
    spec_of,
)
from export_pipeline.tabular.columns import make_header
from export_pipeline.tabular.spec import ColumnSpec, TableSpec


def describe(spec: Mapping[str, Any]) -> ShapeDescription:
    """Return the description of a spec (in its JSON form). Hidden columns are not in it."""
    return _describe(key_of(spec))


@lru_cache(256)
def _describe(key: bytes) -> ShapeDescription:
    spec = spec_of(key)
    visible = inherit_privacy(spec, [column for column in spec.columns if not column.hidden])
    return ShapeDescription(tuple(_column(spec, column) for column in visible), tuple(_tables(spec)))


def _column(spec: TableSpec, column: ColumnSpec) -> ColumnDescription:
    read = [one for one in find_needed_columns(spec, [column]) if one.compute is None]
    return ColumnDescription(
        name=column.name,
        header=make_header(column),
        kind=column.type,
        description=column.description,
        origins=tuple(dict.fromkeys(origin for one in read for origin in _origins(spec, one))),
        is_extra=column.extra,
        is_personal=column.personal,
        is_guarded=column.readers is not None,
    )


def _origins(spec: TableSpec, column: ColumnSpec) -> Iterator[Origin]:
    """Yield the columns of the database that a column is read from, as far as the spec says."""
    if column.nested is not None:
        relation = spec.source.relations.get(column.nested.from_ or "")
        if relation is not None:
            for field in (*column.nested.fields.values(), column.nested.value):
                if isinstance(field, str):
                    yield from _origin(spec, relation.table, field)
        return
    yield from _origin(spec, spec.source.table, column.from_ or column.name)


def _origin(spec: TableSpec, table: str | None, path: str) -> Iterator[Origin]:
    """Yield the column of a path: `column` of a table, or `relation.column`. Those of views lead nowhere."""
    name, dot, field = path.partition(".")
    if dot and name in spec.source.relations:
        table, path = spec.source.relations[name].table, field
    if table is not None and table not in spec.source.views:
        yield Origin(table, path)


def _tables(spec: TableSpec) -> Iterator[str]:
    """Yield the tables that an export reads, each once, its main table first."""
    source = spec.source
    main = [source.table] if source.table is not None else tables_in_sql(source.sql or "")
    related = [
        table
        for relation in source.relations.values()
        for table in (
            tables_in_sql(source.views[relation.table].sql)
            if relation.table in source.views
            else [relation.table]
        )
    ]
    scope = [spec.scope.table] if spec.scope is not None else []
    rules = [rule.table for rule in spec.readers.values()]
    yield from dict.fromkeys([*main, *related, *scope, *rules])


_NO_CODE = re.compile(r"--[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/|\Z)|'(?:[^']|'')*'", re.DOTALL)
_NAME = r'(?:"[^"]+"|\w+)(?:\.(?:"[^"]+"|\w+))?'
_READ = re.compile(rf"\b(?:from|join)\s+(?:only\s+|lateral\s+)?({_NAME})(?!\s*\()", re.IGNORECASE)
_DEFINED = re.compile(rf"(?:\bwith\s+(?:recursive\s+)?|,\s*)({_NAME})\s+as\s+(?:\w+\s+)*\(", re.IGNORECASE)


def tables_in_sql(sql: str) -> list[str]:
    """Return the tables after FROM and JOIN in a SELECT. They are only shown: a rare form may be missed."""
    code = _NO_CODE.sub(" ", sql)
    defined = {name.lower() for name in _DEFINED.findall(code)}
    read = (name for name in _READ.findall(code) if name.lower() not in defined)
    return list(dict.fromkeys(name if "." in name else name.strip('"') for name in read))
