"""The tables of the database with their columns and keys, looked up once per read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any
from weakref import WeakKeyDictionary, ref

import sqlalchemy as sa

from export_pipeline.sources.database_types import Stored
from export_pipeline.sources.grants import GRANT_COLUMNS, Grants, grants_of, grants_query
from export_pipeline.sources.snapshot import Snapshot, SourceError
from export_pipeline.sources.table_names import table_places
from export_pipeline.sources.tables.type_order import TypeOrder, find_type_order


@dataclass(frozen=True, slots=True)
class LiveTable:
    """An existing table or view, or a statement.

    Attributes:
        name: Name in the spec.
        grants: The role's privileges on it; None if the database does not report them.
        clause: The FROM clause; its columns have the names and types of `fields`.
        fields: The columns that the role may read, in order.
        keys: Sets of columns whose values are unique among rows, the primary key first.
    """

    name: str
    clause: sa.FromClause
    fields: Mapping[str, Stored]
    keys: Sequence[frozenset[str]]
    grants: Grants | None = None

    def column(self, name: str) -> Stored:
        """Return the type of a column.

        Raises:
            MissingError: The column does not exist, or the role may not read it.
        """
        if self.grants is not None and name in self.grants.denied:
            raise MissingError(f"{self.name}: {self.grants.lack(name)}")
        if name not in self.fields:
            raise MissingError(f"{self.name} has no column {name!r} ({suggest_name(name, self.fields)})")
        return self.fields[name]


class MissingError(SourceError):
    """Raised when a table or column that the spec names does not exist."""


def suggest_name(name: str, known: Iterable[str], most: int = 12) -> str:
    """Return the end of a message: the known name most similar to `name`, and the names that exist."""
    listed = list(known)
    by_lowered = {one.lower(): one for one in reversed(listed)}
    close = get_close_matches(name.lower(), by_lowered, 1, 0.6)
    meant = f"did you mean {by_lowered[close[0]]!r}? " if close else ""
    there = ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
    return f"{meant}There {'is' if len(listed) == 1 else 'are'} {there or 'none'}"


class Catalogue:
    """The tables of one snapshot, by their names in a spec."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = ref(snapshot)
        self._live: dict[str, LiveTable] = {}
        self._names: dict[str | None, frozenset[str]] = {}
        self._orders: dict[str, TypeOrder] = {}

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot; it stays open as long as the catalogue is used."""
        snapshot = self._snapshot()
        assert snapshot is not None
        return snapshot

    @staticmethod
    def of(snapshot: Snapshot) -> Catalogue:
        """Return the snapshot's catalogue; all reads of the snapshot share its look-ups."""
        return _OF.setdefault(snapshot, Catalogue(snapshot))

    def table(self, name: str) -> LiveTable:
        """Return the table or view of this name, `schema.name` if it has a schema.

        A name whose dots are ambiguous is quoted: `"a.b"."c"`.

        Raises:
            MissingError: No table has this name, or more than one.
        """
        if name not in self._live:
            self._live[name] = self._look_up(name)
        return self._live[name]

    def type_order(self, name: str) -> TypeOrder:
        """Return the sort order of a PostgreSQL type, named as in `Stored.type_name`."""
        if name not in self._orders:
            self._orders[name] = find_type_order(self.snapshot, name)
        return self._orders[name]

    def statement(
        self, name: str, clause: sa.Subquery, fields: Sequence[tuple[str, Stored]], keys: Sequence[str] = ()
    ) -> LiveTable:
        """Return a statement's result as if it were a table with this primary key."""
        return LiveTable(name, clause, dict(fields), (frozenset(keys),) if keys else ())

    def columns(self, fields: Mapping[str, Stored]) -> list[sa.ColumnClause[Any]]:
        """Return columns of these names, typed only for PostgreSQL: SQLite's types are mere hints."""
        typed = self.snapshot.dialect == "postgresql"
        return [
            sa.column(sa.quoted_name(name, True), stored.sql_type if typed else sa.types.NullType())
            for name, stored in fields.items()
        ]

    def _look_up(self, name: str) -> LiveTable:
        places = table_places(name)
        there = [(schema, table) for schema, table in places if table in self._tables(schema)]
        if len(there) > 1:
            read = " or ".join(".".join(f'"{part}"' for part in place if part) for place in there)
            raise MissingError(f"{name!r} may be {read}; write schema and table, each in quotes")
        for schema_name, table in there:
            grants = self._grants(table, schema_name)
            if grants is not None and grants.is_closed:
                raise MissingError(f"{name}: {grants.lack()}")
            denied = grants.denied if grants is not None else ()
            fields = {
                column: stored
                for column, stored in self.snapshot.table_fields(table, schema_name).items()
                if column not in denied
            }
            clause = sa.table(
                sa.quoted_name(table, True),
                *self.columns(fields),
                schema=None if schema_name is None else sa.quoted_name(schema_name, True),
            )
            return LiveTable(name, clause, fields, self.snapshot.unique_keys(table, schema_name), grants)
        schema, rest = places[-1]
        known = sorted(self._tables(schema) or self._tables(None))
        own = [one for one in known if not one.startswith(("pg_", "sqlite_"))]
        raise MissingError(f"there is no table {name!r} ({suggest_name(rest, own)})")

    def _grants(self, table: str, schema: str | None) -> Grants | None:
        if self.snapshot.dialect != "postgresql":
            return None
        rows = self.snapshot.rows(grants_query(table, schema), GRANT_COLUMNS)
        return grants_of(table, rows)

    def _tables(self, schema: str | None) -> frozenset[str]:
        if schema not in self._names:
            self._names[schema] = frozenset(self.snapshot.tables(schema))
        return self._names[schema]


_OF: WeakKeyDictionary[Snapshot, Catalogue] = WeakKeyDictionary()
