"""Fields of the source and its relations, joined so that each row of the source stays one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from export_pipeline.sources.casts import MYSQL, order_by
from export_pipeline.sources.database_types import Family, Stored
from export_pipeline.sources.snapshot import SourceError
from export_pipeline.sources.tables.database_tables import Catalogue, LiveTable
from export_pipeline.sources.tables.operands import match_value
from export_pipeline.sources.tables.type_order import TypeOrder
from export_pipeline.tabular.spec import Relation, Value

Expression = sa.ColumnElement[Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a joined table: its expression, and its type in the database."""

    expression: Expression
    stored: Stored


class Relations:
    """The declared relations and their starting points.

    Args:
        catalogue: Finds the tables.
        declared: The spec's relations.
        root: The source itself.
        views: Functions that return the spec's views, by name.
        parameters: The spec's parameters.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        declared: Mapping[str, Relation],
        root: LiveTable,
        views: Mapping[str, Callable[[], LiveTable]],
        parameters: Mapping[str, Value],
    ) -> None:
        self.catalogue, self.declared, self.root = catalogue, declared, root
        self.parameters, self._views = parameters, views
        self._known_views: dict[str, LiveTable] = {}
        self.aliases = 0

    def table(self, name: str) -> LiveTable:
        """Return a view of the spec, or a table of the database.

        Raises:
            MissingError: There is no such table.
        """
        if name not in self._views:
            return self.catalogue.table(name)
        if name not in self._known_views:
            self._known_views[name] = self._views[name]()
        return self._known_views[name]

    def split(self, path: str) -> tuple[str | None, str]:
        """Split a field's path into relation and column."""
        name, point, column = path.partition(".")
        return (name, column) if point and name in self.declared else (None, path)

    def chain(self, name: str | None, start: str | None) -> list[str]:
        """Return the relations from `start` (excluded; None is the source) to this one, in path order."""
        way: list[str] = []
        while name != start:
            if name is None or name in way:
                where = "the source" if start is None else f"relation {start!r}"
                raise SourceError(f"relation {way[0]!r} does not start from {where}.")
            way.insert(0, name)
            name = self.split(self.declared[name].from_)[0]
        return way

    def many(self, path: str, start: str | None = None) -> str | None:
        """Return the first to-many relation on the path from `start` to a field; None if there is none."""
        way = self.chain(self.split(path)[0], start)
        return next((name for name in way if self.declared[name].many), None)

    def live_table(self, name: str | None) -> LiveTable:
        """Return the table of a relation; that of the source for None."""
        return self.root if name is None else self.table(self.declared[name].table)

    def stored(self, path: str) -> Stored:
        """Return the type of a field.

        Raises:
            MissingError: The field or its table does not exist.
        """
        name, column = self.split(path)
        return self.live_table(name).column(column)

    def alias(self, clause: sa.FromClause, name: str) -> sa.FromClause:
        """Alias a clause by a name that is unique in the statement."""
        self.aliases += 1
        return clause.alias(sa.quoted_name(f"{name[:40]}_{self.aliases}", True))


class Frame:
    """The FROM of one select: a table and the relations that its expressions have used so far.

    Args:
        relations: The declared relations.
        start: The relation whose rows the select reads; None for the source.
        parent: The frame of the rows to which these rows belong. In a nested frame, such as an aggregate or
            EXISTS, joins may multiply rows.
    """

    def __init__(self, relations: Relations, start: str | None = None, parent: Frame | None = None) -> None:
        self.relations, self.start, self.parent = relations, start, parent
        self.origin = relations.alias(relations.live_table(start).clause, start or "row")
        self._joined: dict[str | None, sa.FromClause] = {start: self.origin}
        self._joins: list[tuple[sa.FromClause, Expression]] = []

    @property
    def clause(self) -> sa.FromClause:
        """The FROM clause."""
        clause: sa.FromClause = self.origin
        for other, on in self._joins:
            clause = clause.outerjoin(other, on)
        return clause

    def field(self, path: str) -> Field:
        """Return a field, after joining the tables that it needs."""
        stored = self.relations.stored(path)
        name, column = self.relations.split(path)
        for step in self.relations.chain(name, self.start):
            self._join(step)
        return Field(_exact(self._joined[name].c[column], stored), stored)

    def through(self, name: str) -> tuple[Frame, Expression]:
        """Return a frame of a relation's rows, and the condition that links them to the row of this frame."""
        relation = self.relations.declared[name]
        frame = Frame(self.relations, name, self)
        return frame, sa.and_(self._belongs(frame.origin, name), *self.where(frame.origin, relation))

    def select(self, *expressions: Expression) -> sa.Select[Any]:
        """Return a select from this frame that is correlated with the enclosing frames."""
        around: list[sa.FromClause] = []
        outer = self.parent
        while outer is not None:
            around += outer._joined.values()
            outer = outer.parent
        select = sa.select(*expressions).select_from(self.clause)
        return select.correlate(*around) if around else select

    def order_of(self, names: Sequence[str]) -> list[Expression]:
        """Return the declared order of these relations' rows, outer relations first, then their keys."""
        parts = [
            self.order(
                self._joined[name], self.relations.live_table(name), self.relations.declared[name].order
            )
            for name in names
        ]
        counts = [len(self.relations.declared[name].order) for name in names]
        # Keys last: the key of a link table is not requested, and must not precede the order of linked rows.
        first = [part[:count] for part, count in zip(parts, counts, strict=True)]
        last = [part[count:] for part, count in zip(parts, counts, strict=True)]
        return [expression for part in (*first, *last) for expression in part]

    def order(self, clause: sa.FromClause, live: LiveTable, names: Sequence[str]) -> list[Expression]:
        """Return the ORDER BY expressions of a table: columns, `-` before descending ones, then its key."""
        order: list[Expression] = []
        for order_name in names:
            down = order_name.startswith("-") and order_name not in live.fields
            name = order_name.removeprefix("-") if down else order_name
            term = self.sortable(Field(clause.c[name], live.column(name)))
            order.append(order_by(term, down=down))
        # Without a key, sort by all columns: then only rows that are equal in all of them may be swapped.
        key = next((key for key in live.keys if key <= live.fields.keys()), live.fields.keys())
        last = [name for name in live.fields if name in key]
        return order + [self.sortable(Field(clause.c[name], live.fields[name])) for name in last]

    def sortable(self, field: Field) -> Expression:
        """Return the sort expression of a field: the database's order, but strings by code point."""
        if field.stored.family in _PLAIN:
            return field.expression
        snapshot = self.relations.catalogue.snapshot
        # SQLite has no types for a statement's columns, and sorts each cell by its own type.
        order, expression = TypeOrder.COLLATED, field.expression
        if snapshot.dialect == "postgresql" and field.stored.family is not Family.TEXT:
            order = self.relations.catalogue.type_order(field.stored.type_name)
        elif snapshot.dialect in MYSQL:
            is_text = field.stored.family is Family.TEXT and not field.stored.type_name.startswith("enum")
            order = TypeOrder.COLLATED if is_text else TypeOrder.OWN
        elif snapshot.dialect != "sqlite" and field.stored.family is not Family.TEXT:
            order = TypeOrder.NONE
        if order is TypeOrder.OWN:
            return expression
        if order is TypeOrder.NONE or snapshot.dialect in MYSQL:  # MySQL's columns may have other encodings
            expression = sa.cast(expression, sa.Text)
        return sa.collate(expression, snapshot.byte_order)

    def printed(self, field: Field) -> Expression | None:
        """Return the text of a field that PostgreSQL does not sort by its text alone; None for others."""
        if self.relations.catalogue.snapshot.dialect != "postgresql":
            return None
        if field.stored.family not in (Family.OTHER, Family.JSON):
            return None
        return sa.collate(sa.cast(field.expression, sa.Text), "C")

    def where(self, clause: sa.FromClause, relation: Relation) -> list[Expression]:
        """Return the fixed conditions of a relation's table."""
        live = self.relations.table(relation.table)
        conditions = []
        for name, value in relation.where.items():
            dialect = self.relations.catalogue.snapshot.dialect
            conditions.append(match_value(clause.c[name], live.column(name), value, dialect, name))
        return conditions

    def _join(self, name: str) -> None:
        if name in self._joined:
            return
        relation = self.relations.declared[name]
        if relation.many and self.parent is None:
            raise SourceError(
                f"relation {name!r} has many rows; use it with `separator`, `nested` or a filter only."
            )
        live = self.relations.table(relation.table)
        if relation.many or self._is_one(live, relation):
            other = self.relations.alias(live.clause, name)
            on = sa.and_(self._belongs(other, name), *self.where(other, relation))
        else:
            other = self.relations.alias(self._first(live, relation), name)
            on = sa.and_(self._belongs(other, name), other.c[_PLACE] == 1)
        self._joined[name] = other
        self._joins.append((other, on))

    def _is_one(self, live: LiveTable, relation: Relation) -> bool:
        """Return whether a key of the table ensures that at most one row matches."""
        fixed_columns = {
            name for name, value in relation.where.items() if not isinstance(value, list | tuple)
        }
        fixed_columns -= {name for name, value in relation.where.items() if value is None}
        return any(key <= {relation.to, *fixed_columns} for key in live.keys)

    def _first(self, live: LiveTable, relation: Relation) -> sa.Subquery:
        """Return the table with its rows numbered within each value of the join column."""
        inner = self.relations.alias(live.clause, "candidate")
        place = sa.func.row_number().over(
            partition_by=inner.c[relation.to], order_by=self.order(inner, live, relation.order)
        )
        columns = [inner.c[name] for name in live.fields]
        numbered = sa.select(*columns, place.label(_PLACE)).where(*self.where(inner, relation))
        return numbered.subquery()

    def _belongs(self, other: sa.FromClause, name: str) -> Expression:
        relation = self.relations.declared[name]
        live = self.relations.table(relation.table)
        theirs = Field(other.c[relation.to], live.column(relation.to))
        mine = self.field(relation.from_)
        left, right = theirs.expression, mine.expression
        if self.relations.catalogue.snapshot.dialect == "postgresql" and _unlike(theirs.stored, mine.stored):
            left, right = sa.cast(left, sa.Text), sa.cast(right, sa.Text)
        return left == right


def _exact(expression: Expression, stored: Stored) -> Expression:
    """Return the expression; a single-precision float becomes the double with the digits PostgreSQL shows.

    A plain cast would give 26.059999465942383 for a single that prints as 26.06.
    """
    if stored.type_name != "float4":
        return expression
    return sa.cast(sa.cast(expression, sa.Text), sa.Double)


_PLACE = "export place"
_PLAIN = (
    *(Family.INTEGER, Family.NUMERIC, Family.FLOAT, Family.BOOLEAN, Family.DATE),
    *(Family.WALL_CLOCK, Family.INSTANT, Family.UUID),
)
"""Types that every database sorts in the same order."""
_NUMBERS = (Family.INTEGER, Family.NUMERIC, Family.FLOAT)


def _unlike(one: Stored, other: Stored) -> bool:
    """Return whether PostgreSQL has no `=` operator between these types."""
    if one.family is Family.OTHER or other.family is Family.OTHER:
        return one.type_name != other.type_name
    return one.family is not other.family and not {one.family, other.family} <= set(_NUMBERS)
