"""Combines many rows into one cell: strings with a separator, or nested JSON that the database builds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by

from export_pipeline.sources.casts import as_text
from export_pipeline.sources.database_types import Family, Stored
from export_pipeline.sources.snapshot import SourceError
from export_pipeline.sources.tables import sqlite_operands
from export_pipeline.sources.tables.relations import Field, Frame
from export_pipeline.tabular.spec import NestedSpec, TextSpec

Expression = sa.ColumnElement[Any]


def joined_text(frame: Frame, path: str, separator: str) -> Expression:
    """Join all values of a field of a to-many relation into one string, in the relation's order."""
    name, _ = frame.relations.split(path)
    first = frame.relations.many(path, frame.start)
    if name is None or first is None:
        raise SourceError(f"{path!r} has one value; `separator` is for relations with many rows.")
    inner, belongs = frame.through(first)
    text = as_text(inner.field(path).expression)
    order = inner.order_of(_way(frame, name, first))
    return _aggregate(inner, text, separator, order, [belongs])


def nested_json(frame: Frame, nested: NestedSpec) -> Expression:
    """Return the JSON text of a relation's rows: one object (null if none), or an array of objects."""
    return _nest(frame, nested, frame.start)


def _nest(frame: Frame, nested: NestedSpec, at: str | None) -> Expression:
    if frame.relations.catalogue.snapshot.dialect not in _DIALECTS:
        raise SourceError("nested JSON is built by PostgreSQL and SQLite only.")
    name = nested.from_
    if name is None:
        return _object(frame, nested, at)
    relation = frame.relations.declared[name]
    first = frame.relations.many(f"{name}.{relation.to}", at)
    inner, belongs = frame.through(first or name)
    there = inner.field(f"{name}.{relation.to}").expression.is_not(None)
    shape = _object(inner, nested, name) if nested.value is None else _field(inner, nested.value, name)
    if first is None:
        one = inner.select(shape).where(belongs).order_by(*inner.order_of([name])).limit(1)
        return one.scalar_subquery()
    conditions = [belongs] if first == name else [belongs, there]
    if nested.value is not None:
        conditions.append(_path(inner, nested.value, name).expression.is_not(None))
    array = _aggregate(inner, shape, ",", inner.order_of(_way(frame, name, first)), conditions)
    return _text("[").concat(sa.func.coalesce(array, "")).concat(_text("]"))


def _object(frame: Frame, nested: NestedSpec, at: str | None) -> Expression:
    value: Expression
    shape, sign = _text(""), "{"
    for key, what in nested.fields.items():
        if isinstance(what, NestedSpec):
            value = sa.func.coalesce(_nest(frame, what, at), "null")
        elif isinstance(what, TextSpec):
            value = _value(Field(_filled(frame, what, at), Stored("text", Family.TEXT)), frame)
        else:
            value = _field(frame, what, at)
        shape = shape.concat(_text(f"{sign}{json.dumps(key, ensure_ascii=False)}:")).concat(value)
        sign = ","
    return shape.concat(_text("}"))


def _field(frame: Frame, path: str, at: str | None) -> Expression:
    """Return a field as JSON text."""
    return _value(_path(frame, path, at), frame)


def _path(frame: Frame, path: str, at: str | None) -> Field:
    """Return a field of the relation `at` (None: of the row itself), or of another that starts there."""
    own = at is not None and frame.relations.split(path)[0] is None
    return frame.field(f"{at}.{path}" if own else path)


def _filled(frame: Frame, what: TextSpec, at: str | None) -> Expression:
    """Return a text with its fields and parameters."""
    filled: Expression = _text("")
    for text, name in what.parts():
        filled = filled.concat(_text(text)) if text else filled
        if name is not None and name in frame.relations.parameters:
            filled = filled.concat(_text(str(frame.relations.parameters[name])))
        elif name is not None:
            filled = filled.concat(as_text(_path(frame, name, at).expression))
    return filled


def _way(frame: Frame, name: str, first: str) -> list[str]:
    """Return the path of relations from the first to-many relation to this one."""
    return [first, *frame.relations.chain(name, first)]


def _aggregate(
    frame: Frame, value: Expression, separator: str, order: Sequence[Expression], where: Sequence[Any]
) -> Expression:
    """Aggregate the values of a frame's rows into one string; null if there are none."""
    if frame.relations.catalogue.snapshot.dialect == "postgresql":
        ordered = aggregate_order_by(_text(separator), *order)
        return frame.select(sa.func.string_agg(value, ordered)).where(*where).scalar_subquery()
    rows = frame.select(value.label("value")).where(*where).order_by(*order).subquery()
    return sa.select(sa.func.aggregate_strings(rows.c.value, separator)).scalar_subquery()


def _text(value: str) -> Expression:
    return sa.literal(value, sa.Text())


_DIALECTS = ("postgresql", "sqlite")


def _value(field: Field, frame: Frame) -> Expression:
    """Return a field as JSON text: numbers with all digits, times in ISO 8601, json unchanged."""
    if frame.relations.catalogue.snapshot.dialect == "sqlite":
        return sqlite_operands.json_text(field.expression, field.stored.family)
    raw = field.stored.family is Family.JSON
    shape = field.expression if raw else sa.func.to_json(field.expression)
    return sa.func.coalesce(sa.cast(sa.type_coerce(shape, sa.types.NullType()), sa.Text), "null")
