"""The read privileges of the role on a PostgreSQL table, and the GRANT that is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from export_pipeline.core.columns import Column, Kind

_QUERY = """
SELECT
    current_user::text AS role,
    namespace.nspname::text AS schema,
    has_schema_privilege(class.relnamespace, 'USAGE') AS is_usable,
    attribute.attname::text AS name,
    has_column_privilege(class.oid, attribute.attnum, 'SELECT') AS is_readable
FROM pg_catalog.pg_class AS class
JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = class.relnamespace
JOIN pg_catalog.pg_attribute AS attribute
    ON attribute.attrelid = class.oid AND attribute.attnum > 0 AND NOT attribute.attisdropped
WHERE class.relname = :table AND class.relkind IN ('r', 'v', 'm', 'p', 'f')
    AND CASE :schema WHEN '' THEN pg_table_is_visible(class.oid) ELSE namespace.nspname = :schema END
ORDER BY attribute.attnum
"""
GRANT_COLUMNS = (
    *(Column(name, name, Kind.TEXT) for name in ("role", "schema", "name")),
    *(Column(name, name, Kind.BOOLEAN) for name in ("is_usable", "is_readable")),
)


@dataclass(frozen=True, slots=True)
class Grants:
    """The privileges of a role on a table.

    Attributes:
        role: The role.
        schema: The table's schema.
        table: The table.
        is_usable: True if the role may use the schema.
        readable: Columns that it may read.
        denied: Columns that it may not read.
    """

    role: str
    schema: str
    table: str
    is_usable: bool
    readable: frozenset[str]
    denied: frozenset[str]

    @property
    def is_closed(self) -> bool:
        """True if the role may not read any column."""
        return bool(self.denied or self.readable) and not (self.readable and self.is_usable)

    def lack(self, column: str | None = None) -> str:
        """Return a sentence with the missing privilege on a column or the whole table, and its GRANT."""
        quote = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]
        table, role = f"{quote(self.schema)}.{quote(self.table)}", quote(self.role)
        if column is not None:
            return (
                f"the role {self.role} may not read its column {column!r}; run "
                f"GRANT SELECT ({quote(column)}) ON {table} TO {role}"
            )
        missing = [] if self.is_usable else [f"GRANT USAGE ON SCHEMA {quote(self.schema)} TO {role}"]
        missing += [] if self.readable else [f"GRANT SELECT ON {table} TO {role}"]
        return f"the role {self.role} may not read it; run {'; '.join(missing)}"


def grants_query(table: str, schema: str | None) -> sa.Select[Any]:
    """Return the select, with `GRANT_COLUMNS`, of a role's privileges; no rows if the table is missing."""
    query = sa.text(_QUERY).bindparams(table=table, schema=schema or "")
    grants = query.columns(*(sa.column(one.name) for one in GRANT_COLUMNS)).subquery()
    return sa.select(*(grants.c[one.name] for one in GRANT_COLUMNS))


def grants_of(table: str, rows: Sequence[Any]) -> Grants | None:
    """Return the privileges from the rows of `grants_query`, by name; None if there are no rows."""
    if not rows:
        return None
    readable = frozenset(row["name"] for row in rows if row["is_readable"])
    denied = frozenset(row["name"] for row in rows) - readable
    first = rows[0]
    return Grants(first["role"], first["schema"], table, first["is_usable"], readable, denied)
