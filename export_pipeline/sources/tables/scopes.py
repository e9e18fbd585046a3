"""Scopes in the database: their names and recipients, and whether values exist in a scope."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from export_pipeline.core.columns import Column, Kind
from export_pipeline.sources.casts import BYTE_ORDER, Query
from export_pipeline.sources.database_types import Family, Stored
from export_pipeline.sources.snapshot import Snapshot
from export_pipeline.sources.tables.database_tables import Catalogue
from export_pipeline.sources.tables.operands import Condition, Domain, can_store, make_operand
from export_pipeline.tabular.spec import Scope

_COLUMNS = (Column("id", "Id", Kind.TEXT), Column("name", "Name", Kind.TEXT))
_INTEGER = re.compile(r"-?[0-9]{1,1000}")
"""Ids of columns of numbers. PostgreSQL's numbers have at most 1,000 digits, if they have a precision."""


def match_scopes(
    expression: sa.ColumnElement[Any], stored: Stored, dialect: str, scopes: Iterable[str]
) -> Condition:
    """Return the condition that a column of any type holds the id of one of the scopes."""
    about = make_operand(expression, stored, dialect)
    ids = [scope for scope in scopes if can_store(scope, stored, dialect)]
    numbers = {id: int(id) for id in ids if _INTEGER.fullmatch(id) and about.domain is Domain.NUMBER}
    if dialect == "sqlite":
        # Compare as stored, so that an index can be used.
        numbers = {id: number for id, number in numbers.items() if -(2**63) <= number < 2**63}
        text = sa.collate(sa.cast(expression, sa.Text), "BINARY")
        texts = [id for id in ids if id not in numbers]
        return sa.or_(
            replace(about, expression=expression).one_of([*numbers.values()]),
            replace(about, expression=text, domain=Domain.TEXT).one_of(texts),
        )
    match about.domain:
        case Domain.NUMBER:
            return about.one_of([*numbers.values()])
        case Domain.UUID | Domain.TEXT:
            return about.one_of(ids)
    return sa.cast(expression, sa.Text).in_([sa.literal(id, sa.Text()) for id in ids])


def read_scope_names(
    snapshot: Snapshot, declared: Scope, among: Collection[str] | None = None
) -> dict[str, str]:
    """Return scopes, names by id, ordered by name in code point order, then by id.

    Args:
        among: Only those whose rows `match_scopes` finds by these ids; None for all.
    """
    select = _scopes(snapshot, declared)
    chosen = None if among is None else frozenset(among)
    if among is not None:
        stored = Catalogue.of(snapshot).table(declared.table).column(declared.id)
        select = select.where(match_scopes(select.selected_columns[0], stored, snapshot.dialect, among))
    by_bytes = [
        sa.collate(sa.cast(e, sa.Text), snapshot.byte_order) for e in reversed(select.selected_columns)
    ]
    rows = snapshot.rows(select.order_by(*by_bytes), _COLUMNS)
    return {
        row["id"]: row["id"] if row["name"] is None else row["name"]
        for row in rows
        if row["id"] is not None and (chosen is None or row["id"] in chosen)
    }


def read_recipients(snapshot: Snapshot, declared: Scope) -> dict[str, list[str]]:
    """Return the mail addresses of each scope, in code point order; an empty list where there are none."""
    by_scope: dict[str, list[str]] = {scope: [] for scope in read_scope_names(snapshot, declared)}
    if declared.recipients is None:
        return by_scope
    live = Catalogue.of(snapshot).table(declared.recipients.table)
    names = (declared.recipients.scope, declared.recipients.address)
    for name in names:
        live.column(name)
    select = sa.select(*(live.clause.c[name] for name in names)).select_from(live.clause)
    for row in snapshot.rows(select.distinct(), _COLUMNS):
        if row["id"] in by_scope and row["name"] and row["name"].strip():
            by_scope[row["id"]].append(row["name"].strip())
    return {scope: sorted(set(addresses)) for scope, addresses in by_scope.items()}


def read_scope_name(snapshot: Snapshot, declared: Scope, scope: str) -> str | None:
    """Return the name of a scope; None if it does not exist."""
    live = Catalogue.of(snapshot).table(declared.table)
    stored = live.column(declared.id)
    mine = match_scopes(live.clause.c[declared.id], stored, snapshot.dialect, [scope])
    for row in snapshot.rows(_scopes(snapshot, declared).where(mine), _COLUMNS):
        if row["id"] == scope:
            return scope if row["name"] is None else str(row["name"])
    return None


def find_values(
    snapshot: Snapshot,
    table: str,
    column: str,
    values: Sequence[str],
    scope: tuple[str, str, bool] | None = None,
) -> set[str]:
    """Return those of the given values that a column holds.

    Args:
        snapshot: The snapshot to read.
        table: Name of the table.
        column: Name of its column.
        values: The values as strings.
        scope: (column, id, True to include rows with a null scope): search only rows of this scope.
    """
    live = Catalogue.of(snapshot).table(table)
    expression, stored = live.clause.c[column], live.column(column)
    about = make_operand(expression, stored, snapshot.dialect)
    if about.domain not in (Domain.TEXT, Domain.UUID):
        as_text = Stored("text", Family.TEXT, codec=stored.codec)
        about = make_operand(sa.cast(expression, sa.Text), as_text, snapshot.dialect)
    text = sa.cast(expression, sa.Text)
    # Collations that ignore case would treat values that differ only in case as equal.
    distinct = sa.collate(text, BYTE_ORDER[snapshot.dialect]) if snapshot.dialect in BYTE_ORDER else text
    select: Query = sa.select(distinct, sa.null()).where(about.one_of(values)).distinct()
    if scope is not None:
        name, mine, shared = scope
        field = live.clause.c[name]
        condition = match_scopes(field, live.column(name), snapshot.dialect, [mine])
        select = select.where(sa.or_(condition, field.is_(None)) if shared else condition)
    there = {_key(row["id"]) for row in snapshot.rows(select, _COLUMNS)}
    return {value for value in values if _key(value) in there}


def _key(text: str) -> str:
    """Return a UUID in any spelling in one form; any other string unchanged."""
    try:
        return uuid.UUID(text).hex
    except ValueError:
        return text


def _scopes(snapshot: Snapshot, declared: Scope) -> Query:
    live = Catalogue.of(snapshot).table(declared.table)
    for name in (declared.id, declared.name):
        live.column(name)
    return sa.select(live.clause.c[declared.id], live.clause.c[declared.name]).select_from(live.clause)
