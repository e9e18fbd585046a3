"""Checks that the database still has what a spec declares, with types that can be read as declared."""

from __future__ import annotations

from collections.abc import Iterator

from export_pipeline.core.columns import Kind
from export_pipeline.sources.database_types import Family, Stored
from export_pipeline.sources.snapshot import SourceError
from export_pipeline.sources.tables.database_tables import MissingError
from export_pipeline.sources.tables.relations import Relations
from export_pipeline.tabular.filter_values import describe_filter
from export_pipeline.tabular.spec import NestedSpec, TableSpec, TextSpec
from export_pipeline.tabular.types import ColumnType

_READ_AS: dict[Kind, tuple[Family, ...]] = {
    Kind.INTEGER: (Family.INTEGER, Family.NUMERIC),
    Kind.DECIMAL: (Family.INTEGER, Family.NUMERIC),
    Kind.MONEY: (Family.INTEGER, Family.NUMERIC),
    Kind.FLOAT: (Family.FLOAT, Family.INTEGER, Family.NUMERIC),
    Kind.PERCENT: (Family.FLOAT, Family.INTEGER, Family.NUMERIC),
    Kind.BOOLEAN: (Family.BOOLEAN,),
    Kind.DATE: (Family.DATE,),
    Kind.TIMESTAMP: (Family.WALL_CLOCK, Family.INSTANT),
    Kind.UUID: (Family.UUID, Family.TEXT),
    Kind.JSON: (Family.JSON, Family.TEXT),
}
_DOUBLE_DIGITS = 15


def explain_misread(stored: Stored, type_: ColumnType, zone: str | None) -> str | None:
    """Return why an enforced type cannot be read exactly as the declared one; None if it can."""
    kind = type_.kind
    if kind is Kind.INTEGER and stored.type_name.startswith("tinyint"):
        return None  # TINYINT(1), MySQL's BOOLEAN, holds other numbers too
    if kind in _READ_AS and stored.family not in _READ_AS[kind]:
        return f"it is {stored.type_name} there, which cannot be read as {kind}"
    scale = stored.precision[1] if stored.precision else 0
    if kind is Kind.INTEGER or type_.minor:
        return f"it is {stored.type_name} there, which has decimals" if scale > 0 else None
    if kind in (Kind.DECIMAL, Kind.MONEY) and stored.precision and type_.precision:
        digits, decimals = type_.precision
        if scale > decimals or stored.precision[0] - scale > digits - decimals:
            before = max(stored.precision[0] - scale, digits - decimals)
            most = max(scale, decimals)
            return (
                f"it is {stored.type_name} there, more than {kind}({digits},{decimals}) holds; "
                f"declare {kind}({before + most},{most})"
            )
    long = stored.type_name == "int8" or (
        stored.precision is not None and stored.precision[0] > _DOUBLE_DIGITS
    )
    if kind in (Kind.FLOAT, Kind.PERCENT) and long:
        return f"it is {stored.type_name} there, which has more digits than a {kind} keeps"
    if kind is Kind.TIMESTAMP and zone is None and stored.family is Family.INSTANT:
        return f"it is {stored.type_name} there, a moment and no wall clock's time; name a zone"
    return None


def check_drift(spec: TableSpec, relations: Relations, typed: bool) -> None:
    """Compare the declared export with the database.

    Args:
        spec: The declared export.
        relations: The source and its relations, to look up fields.
        typed: True if the database enforces column types; SQLite does not.

    Raises:
        SourceError: They differ; the message names all differences.
    """
    differences: list[str] = []

    def look(what: str, path: str, type_: ColumnType | None = None, zone: str | None = "UTC") -> None:
        try:
            stored = relations.stored(path)
        except MissingError as missing:
            differences.append(f"{what}: {missing}")
            return
        wrong = explain_misread(stored, type_, zone) if typed and type_ is not None else None
        if wrong:
            differences.append(f"{what}: {wrong}")

    def look_in(what: str, table: str, *columns: str | None) -> None:
        for column in columns:
            try:
                live = relations.table(table)
                if column is not None:
                    live.column(column)
            except MissingError as missing:
                differences.append(f"{what}: {missing}")

    for name, relation in spec.source.relations.items():
        look(f"relation {name}", f"{name}.{relation.to}")
        look(f"relation {name}", relation.from_)
        names = [order_name.removeprefix("-") for order_name in relation.order]
        look_in(f"relation {name}", relation.table, *relation.where, *names)
    for column in spec.columns:
        if column.nested is not None:
            for path in _fields(column.nested, relations):
                look(f"column {column.name}", path)
        elif column.compute is None:
            type_ = None if column.separator is not None else column.parsed
            look(f"column {column.name}", column.from_ or column.name, type_, column.zone)
    for path in (*spec.source.key, *spec.source.where):
        look(f"source {path}", path)
    for order_name in spec.source.order:
        look(f"order {order_name}", order_name.removeprefix("-"))
    for name, filter_ in spec.filters.items():
        if filter_.among is not None:
            look_in(f"filter {name}", filter_.among.table, filter_.among.column, filter_.among.scope)
        if filter_.column is not None and not filter_.parameter:
            about = describe_filter(spec, name, filter_)
            look(f"filter {name}", filter_.column, about.type, about.zone)
    if spec.scope is not None:
        look("scope", spec.scope.column)
        look_in("scope", spec.scope.table, spec.scope.id, spec.scope.name)
    if spec.window is not None:
        kind = ColumnType(Kind.DATE if spec.window.type == "date" else Kind.TIMESTAMP)
        look("window", spec.window.column, kind)
    for name, rule in spec.readers.items():
        look_in(f"readers {name}", rule.table, rule.user, rule.scope)
    if differences:
        named = "; ".join(dict.fromkeys(differences))
        raise SourceError(f"The source differs from what is declared: {named}")


def _fields(nested: NestedSpec, relations: Relations) -> Iterator[str]:
    for what in nested.fields.values() if nested.value is None else (nested.value,):
        if isinstance(what, NestedSpec):
            yield from _fields(what, relations)
            continue
        names = [name for _, name in what.parts()] if isinstance(what, TextSpec) else [what]
        for name in names:
            if name is not None and name not in relations.parameters:
                own = nested.from_ is not None and relations.split(name)[0] is None
                yield f"{nested.from_}.{name}" if own else name
