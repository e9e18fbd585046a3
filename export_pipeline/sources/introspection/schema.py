"""Reads the schema of a table: columns, key, foreign keys, comments."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from export_pipeline.database_url import openable, parse_database_url, sqlite_file
from export_pipeline.sources.database_errors import drop_after_error, translate_errors
from export_pipeline.sources.database_types import Family, parse_declared_type
from export_pipeline.sources.grants import Grants, grants_of, grants_query
from export_pipeline.sources.introspection.naming import find_label
from export_pipeline.sources.introspection.types import Geometry
from export_pipeline.sources.sessions import prepare_postgres
from export_pipeline.sources.snapshot import SourceError
from export_pipeline.sources.table_names import table_name, table_places


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """A column of the table.

    Attributes:
        name: Name in the database.
        type: Type as SQLAlchemy reflects it.
        type_name: Declared type, if the database does not enforce it (SQLite); else empty.
        nullable: True if it may be null, or if that is unknown.
        comment: The comment on the column in the database.
        default: SQL default of new rows; empty if there is none.
    """

    name: str
    type: sa.types.TypeEngine[Any]
    type_name: str
    nullable: bool
    comment: str
    default: str = ""


@dataclass(frozen=True, slots=True)
class Reference:
    """A single-column foreign key.

    Attributes:
        column: The referring column.
        table: Name of the referenced table in a spec, `schema.table` if needed.
        to: The referenced column.
        label: The referenced table's column by which people recognize its rows, if any.
        columns: Columns of the referenced table.
    """

    column: str
    table: str
    to: str
    label: str | None
    columns: Sequence[str]


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table or view.

    Attributes:
        name: Name in a spec, `schema.table` if needed.
        clause: The FROM clause.
        dialect: SQLAlchemy's name of the database's dialect.
        comment: The comment on the table in the database.
        key: Columns that identify a row.
        key_from: Origin of the key: the primary key, a unique constraint, or all columns that can be sorted.
        denied: Columns that the role may not read, each with the missing privilege.
    """

    name: str
    clause: sa.FromClause
    dialect: str
    comment: str
    fields: Sequence[FieldFacts]
    key: Sequence[str]
    key_from: Literal["primary", "unique", "all"]
    references: Sequence[Reference]
    denied: Sequence[tuple[str, str]] = ()


@contextmanager
def connect(url: str, *, statement_timeout: float = 0) -> Iterator[sa.Connection]:
    """Open a read-only connection.

    Raises:
        SourceError: The URL is malformed, the driver is missing, the database cannot be reached, or a query
            in the block failed.
    """
    try:
        parsed = parse_database_url(url)
    except sa.exc.ArgumentError:
        raise SourceError("EXPORT_SOURCE_URL is not a database URL.") from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        settings = {"connect_timeout": "10", "client_encoding": "utf8"}
        parsed = parsed.set(drivername="postgresql+psycopg2").update_query_dict(settings)
    file = sqlite_file(parsed)
    if file is not None and not file.is_file():
        raise SourceError(f"There is no SQLite file {file}; EXPORT_SOURCE_URL names it.")
    try:
        engine = sa.create_engine(
            openable(parsed, read_only=True), poolclass=sa.NullPool, hide_parameters=True
        )
    except (sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise SourceError(f"EXPORT_SOURCE_URL needs a driver that is not installed: {error}") from error
    try:
        with warnings.catch_warnings(), translate_errors():
            warnings.simplefilter("ignore", sa.exc.SAWarning)  # of types that SQLAlchemy has no class for
            with engine.connect() as connection, drop_after_error(connection):
                if backend == "postgresql":
                    connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
                    connection.execute(
                        sa.text(f"SET LOCAL statement_timeout = {int(statement_timeout * 1000)}")
                    )
                    # Introspection does not need the rows that row-level security hides.
                    prepare_postgres(
                        lambda sql: [dict(row._mapping) for row in connection.exec_driver_sql(sql)],
                        row_security=True,
                    )
                yield connection
    finally:
        engine.dispose()


def describe_table(connection: sa.Connection, requested: str) -> TableFacts:
    """Return the facts of a table or view, named `schema.table` if needed.

    Raises:
        SourceError: No table has this name; the message suggests similar names.
    """
    inspector = sa.inspect(connection)
    schema, table = _place(inspector, requested)
    grants = _grants(connection, table, schema)
    if grants is not None and grants.is_closed:
        raise SourceError(f"{table_name(table, schema)} cannot be read: {grants.lack()}.")
    denied = grants.denied if grants is not None else frozenset()
    declared = _declared_types(connection, table, schema)
    columns = [one for one in inspector.get_columns(table, schema) if one["name"] not in denied]
    bases = _bases(connection, table, schema) if any(isinstance(c["type"], _DOMAIN) for c in columns) else {}
    geometries = _geometries(connection, table, schema)
    fields = [
        FieldFacts(
            name=column["name"],
            type=Geometry()
            if column["name"] in geometries
            else _base(column["type"], bases.get(column["name"], "")),
            type_name=declared.get(column["name"], ""),
            nullable=column.get("nullable") is not False,
            comment=column.get("comment") or "",
            default=_default(column.get("default")),
        )
        for column in columns
    ]
    key, key_from = _key(inspector, table, schema, fields)
    comment = ""
    with suppress(NotImplementedError, sa.exc.NoSuchTableError):  # no comments in SQLite, or on system views
        comment = inspector.get_table_comment(table, schema)["text"] or ""
    quoted = None if schema is None else sa.quoted_name(schema, True)
    return TableFacts(
        name=table_name(table, schema),
        clause=sa.table(sa.quoted_name(table, True), schema=quoted),
        dialect=connection.dialect.name,
        comment=comment,
        fields=fields,
        key=key,
        key_from=key_from,
        references=_references(connection, inspector, table, schema, denied),
        denied=tuple((name, grants.lack(name)) for name in sorted(denied)) if grants is not None else (),
    )


def _grants(connection: sa.Connection, table: str, schema: str | None) -> Grants | None:
    """Return the role's privileges on a table; None if the database does not report them."""
    if connection.dialect.name != "postgresql":
        return None
    return grants_of(table, connection.execute(grants_query(table, schema)).mappings().all())


def _default(sql: str | None) -> str:
    """Return the default of a column; empty for NULL in any spelling."""
    return "" if (sql or "").partition("::")[0].strip("()").lower() in ("", "null") else str(sql)


def _declared_types(connection: sa.Connection, table: str, schema: str | None) -> dict[str, str]:
    """Return the declared types of SQLite columns; SQLAlchemy keeps only types that it knows."""
    if connection.dialect.name != "sqlite":
        return {}
    info = sa.text("SELECT name, type FROM pragma_table_xinfo(:name, :schema)")
    rows = connection.execute(info, {"name": table, "schema": schema or "main"})
    return {row.name: row.type for row in rows}


def _geometries(connection: sa.Connection, table: str, schema: str | None) -> set[str]:
    """Return the columns of spatial types of MySQL or MariaDB."""
    if connection.dialect.name not in ("mysql", "mariadb"):
        return set()
    names = sa.text(
        "SELECT column_name FROM information_schema.columns WHERE table_name = :name "
        "AND table_schema = coalesce(:schema, database()) AND (data_type LIKE '%geom%' "
        "OR data_type LIKE '%point' OR data_type LIKE '%linestring' OR data_type LIKE '%polygon')"
    )
    return set(connection.scalars(names, {"name": table, "schema": schema}))


_DOMAIN = postgresql.DOMAIN
_BASES = """
WITH RECURSIVE base (name, oid, modifier) AS (
    SELECT attname, atttypid, atttypmod FROM pg_catalog.pg_attribute
    WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped
  UNION ALL
    SELECT base.name, type.typbasetype, type.typtypmod FROM base
    JOIN pg_catalog.pg_type AS type ON type.oid = base.oid WHERE type.typtype = 'd'
)
SELECT base.name, format_type(base.oid, base.modifier) AS type_name FROM base
JOIN pg_catalog.pg_type AS type ON type.oid = base.oid WHERE type.typtype <> 'd'
"""


def _bases(connection: sa.Connection, table: str, schema: str | None) -> dict[str, str]:
    """Return PostgreSQL's names of the columns' types, with domains resolved to their base types."""
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in (schema, table) if part is not None)
    return {row.name: row.type_name for row in connection.execute(sa.text(_BASES), {"table": quoted})}


def _base(type_: sa.types.TypeEngine[Any], declared: str) -> sa.types.TypeEngine[Any]:
    """Return the base type of a domain, with the precision and the zone that SQLAlchemy loses."""
    if not isinstance(type_, _DOMAIN):
        return type_
    stored = parse_declared_type(declared)
    if stored.family is Family.NUMERIC:
        return sa.Numeric(*(stored.precision or ()))
    if stored.family is Family.INSTANT:
        return sa.DateTime(timezone=True)
    base = type_.data_type
    return _base(base, declared) if isinstance(base, _DOMAIN) else base


def _place(inspector: sa.Inspector, requested: str) -> tuple[str | None, str]:
    """Return schema (None if not needed) and name of a table, typed in any case."""
    places = table_places(requested)
    there: dict[str | None, list[str]] = {schema: _tables(inspector, schema) for schema, _ in places}
    for schema, name in places:
        if name in there[schema]:
            return schema, name
    for schema, name in places:
        same = [one for one in there[schema] if one.lower() == name.lower()]
        if len(same) == 1:
            return schema, same[0]
        if inspector.dialect.name != "sqlite" and inspector.has_table(name, schema):
            return schema, name  # in PostgreSQL's system catalog
    known = [table_name(name, schema) for schema, names in there.items() for name in names]
    elsewhere = [] if len(places) > 1 else list(_elsewhere(inspector, requested))
    raise SourceError(f"There is no table {requested!r}; {_nearest(requested, [*elsewhere, *known])}.")


def _tables(inspector: sa.Inspector, schema: str | None) -> list[str]:
    names: list[str] = []
    with suppress(sa.exc.DBAPIError):  # the schema does not exist in SQLite
        names = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
        if isinstance(inspector, postgresql.base.PGInspector):
            names += inspector.get_materialized_view_names(schema)
            names += inspector.get_foreign_table_names(schema)
    return sorted(names)


def _elsewhere(inspector: sa.Inspector, name: str) -> Iterator[str]:
    """Yield tables of this name in other schemas."""
    if inspector.dialect.name == "sqlite":
        return
    for schema in inspector.get_schema_names():
        if schema != "information_schema" and name.lower() in map(str.lower, _tables(inspector, schema)):
            yield table_name(name, schema)


def _nearest(requested: str, known: Sequence[str], limit: int = 12) -> str:
    if not known:
        return "there are none here; one of another schema is written schema.table"
    lowered = {name.lower(): name for name in reversed(known)}
    close = get_close_matches(requested.lower(), lowered, 3, 0.5)
    meant = f"did you mean {', '.join(lowered[one] for one in close)}? " if close else ""
    more = f" and {len(known) - limit} more" if len(known) > limit else ""
    return f"{meant}There {'is' if len(known) == 1 else 'are'} {', '.join(known[:limit])}{more}"


_UNORDERED = (sa.JSON, sa.LargeBinary, sa.types.NullType, postgresql.ARRAY, postgresql.HSTORE)


def _key(
    inspector: sa.Inspector, table: str, schema: str | None, fields: Sequence[FieldFacts]
) -> tuple[Sequence[str], Literal["primary", "unique", "all"]]:
    readable = {field.name for field in fields}
    primary = _constraint(inspector.get_pk_constraint, table, schema).get("constrained_columns")
    if primary and readable.issuperset(primary):
        return primary, "primary"
    required = {field.name for field in fields if not field.nullable}
    unique = [one["column_names"] for one in _list(inspector.get_unique_constraints, table, schema)]
    for index in _list(inspector.get_indexes, table, schema):
        partial = any(option.endswith("_where") for option in index.get("dialect_options", {}))
        if index["unique"] and not partial and None not in index["column_names"]:
            unique.append(index["column_names"])
    # Nulls are distinct from each other, so a unique key of nullable columns may repeat.
    sound = sorted((names for names in unique if names and set(names) <= required), key=len)
    if sound:
        return sound[0], "unique"
    # SQLite sorts any type; PostgreSQL sorts neither JSON nor most of its special types.
    any_order = inspector.dialect.name == "sqlite"
    ordered = [field.name for field in fields if any_order or not isinstance(field.type, _UNORDERED)]
    return ordered or [field.name for field in fields], "all"


def _constraint(get: Any, table: str, schema: str | None) -> Mapping[str, Any]:
    with suppress(sa.exc.NoSuchTableError, NotImplementedError):  # a view
        constraint: Mapping[str, Any] = get(table, schema) or {}
        return constraint
    return {}


def _list(get: Any, table: str, schema: str | None) -> Iterable[Any]:
    with suppress(sa.exc.NoSuchTableError, NotImplementedError):
        items: Iterable[Any] = get(table, schema) or ()
        return items
    return ()


def _references(
    connection: sa.Connection,
    inspector: sa.Inspector,
    table: str,
    schema: str | None,
    denied: Collection[str],
) -> list[Reference]:
    """Return the single-column foreign keys to readable tables; only the first one of each column."""
    by_column: dict[str, Reference] = {}
    for key in _list(inspector.get_foreign_keys, table, schema):
        columns, others = key["constrained_columns"], key["referred_columns"]
        other, other_schema = key["referred_table"], key["referred_schema"]
        if len(columns) != 1 or columns[0] in by_column or columns[0] in denied:
            continue
        try:
            there = inspector.get_columns(other, other_schema)
        except sa.exc.NoSuchTableError:  # SQLite allows references to missing tables
            continue
        grants = _grants(connection, other, other_schema)
        if grants is not None:
            there = [one for one in there if grants.is_usable and one["name"] in grants.readable]
        names = [column["name"] for column in there]
        # SQLite allows a reference without a column; it means the primary key.
        to = [*others, *_constraint(inspector.get_pk_constraint, other, other_schema)["constrained_columns"]]
        matching = [name for name in names if name.lower() == to[0].lower()] if to else []
        if matching:
            texts = [column["name"] for column in there if isinstance(column["type"], sa.String)]
            label = find_label([name for name in texts if name != matching[0]])
            by_column[columns[0]] = Reference(
                columns[0], table_name(other, other_schema), matching[0], label, names
            )
    return list(by_column.values())
