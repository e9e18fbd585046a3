"""Fields of the source and of its relations, joined so that a row of the source stays one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from export_pipeline.sources.casts import MYSQL, ordered
from export_pipeline.sources.database_types import Family, Stored
from export_pipeline.sources.snapshot import SourceError
from export_pipeline.sources.tables.catalogue import Catalogue, Found
from export_pipeline.sources.tables.operands import fixed
from export_pipeline.sources.tables.type_order import TypeOrder
from export_pipeline.tabular.spec import Relation

Expression = sa.ColumnElement[Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a joined table: its expression, and its type there."""

    expression: Expression
    stored: Stored


class Relations:
    """The declared relations, and where each starts.

    Args:
        catalogue: Knows the tables.
        declared: The spec's relations.
        root: The source itself.
    """

    def __init__(self, catalogue: Catalogue, declared: Mapping[str, Relation], root: Found) -> None:
        self.catalogue, self.declared, self.root = catalogue, declared, root
        self.aliases = 0

    def split(self, path: str) -> tuple[str | None, str]:
        """The relation and the column of a field's path."""
        name, point, column = path.partition(".")
        return (name, column) if point and name in self.declared else (None, path)

    def chain(self, name: str | None, start: str | None) -> list[str]:
        """The relations from `start` (not included; None is the source) to this one, in order of the way."""
        way: list[str] = []
        while name != start:
            if name is None or name in way:
                where = "the source" if start is None else f"relation {start!r}"
                raise SourceError(f"relation {way[0]!r} does not start from {where}.")
            way.insert(0, name)
            name = self.split(self.declared[name].from_)[0]
        return way

    def many(self, path: str, start: str | None = None) -> str | None:
        """The first relation with many rows on the way from `start` to a field."""
        way = self.chain(self.split(path)[0], start)
        return next((name for name in way if self.declared[name].many), None)

    def found(self, name: str | None) -> Found:
        """The table of a relation; of None the source."""
        return self.root if name is None else self.catalogue.table(self.declared[name].table)

    def stored(self, path: str) -> Stored:
        """The type of a field.

        Raises:
            MissingError: there is no such field, or its table is not there.
        """
        name, column = self.split(path)
        return self.found(name).column(column)

    def alias(self, clause: sa.FromClause, name: str) -> sa.FromClause:
        """The clause under a name that no other part of a statement has."""
        self.aliases += 1
        return clause.alias(sa.quoted_name(f"{name[:40]}_{self.aliases}", True))


class Frame:
    """The FROM of one select: a table and the relations that its expressions have used so far.

    Args:
        relations: The declared relations.
        start: The relation whose rows the select reads; None for the source.
        parent: The frame whose rows these belong to. Within it, in an aggregate or EXISTS, joins may give
            several rows.
    """

    def __init__(self, relations: Relations, start: str | None = None, parent: Frame | None = None) -> None:
        self.relations, self.start, self.parent = relations, start, parent
        self.origin = relations.alias(relations.found(start).clause, start or "row")
        self._joined: dict[str | None, sa.FromClause] = {start: self.origin}
        self._joins: list[tuple[sa.FromClause, Expression]] = []

    @property
    def clause(self) -> sa.FromClause:
        """What to select from."""
        clause: sa.FromClause = self.origin
        for other, on in self._joins:
            clause = clause.outerjoin(other, on)
        return clause

    def field(self, path: str) -> Field:
        """A field, after joining what it needs."""
        stored = self.relations.stored(path)
        name, column = self.relations.split(path)
        for step in self.relations.chain(name, self.start):
            self._join(step)
        return Field(_exact(self._joined[name].c[column], stored), stored)

    def through(self, name: str) -> tuple[Frame, Expression]:
        """A frame of a relation's rows, and the condition that they belong to the row of this frame."""
        relation = self.relations.declared[name]
        frame = Frame(self.relations, name, self)
        return frame, sa.and_(self._belongs(frame.origin, name), *self.where(frame.origin, relation))

    def select(self, *expressions: Expression) -> sa.Select[Any]:
        """A select from this frame that knows the frames around it."""
        around: list[sa.FromClause] = []
        outer = self.parent
        while outer is not None:
            around += outer._joined.values()
            outer = outer.parent
        select = sa.select(*expressions).select_from(self.clause)
        return select.correlate(*around) if around else select

    def order_of(self, names: Sequence[str]) -> list[Expression]:
        """The declared order of these relations' rows, one within the other, then their keys."""
        parts = [
            self.order(self._joined[name], self.relations.found(name), self.relations.declared[name].order)
            for name in names
        ]
        counts = [len(self.relations.declared[name].order) for name in names]
        # Keys last: a link's own key, that nobody asked for, must not go before what it links to.
        first = [part[:count] for part, count in zip(parts, counts, strict=True)]
        last = [part[count:] for part, count in zip(parts, counts, strict=True)]
        return [expression for part in (*first, *last) for expression in part]

    def order(self, clause: sa.FromClause, found: Found, wanted: Sequence[str]) -> list[Expression]:
        """Expressions to order a table by: columns, `-` before descending ones, then its key."""
        order: list[Expression] = []
        for word in wanted:
            down = word.startswith("-") and word not in found.fields
            name = word.removeprefix("-") if down else word
            term = self.sortable(Field(clause.c[name], found.column(name)))
            order.append(ordered(term, down=down))
        # Without a key all columns are: then only rows that are the same in all of them may change places.
        key = next((key for key in found.keys if key <= found.fields.keys()), found.fields.keys())
        last = [name for name in found.fields if name in key]
        return order + [self.sortable(Field(clause.c[name], found.fields[name])) for name in last]

    def sortable(self, field: Field) -> Expression:
        """Return what orders a field as its database does, but texts by code point, whatever the language."""
        if field.stored.family in _PLAIN:
            return field.expression
        snapshot = self.relations.catalogue.snapshot
        # SQLite knows no type of a statement's columns, and sorts each cell by what it is.
        order, expression = TypeOrder.COLLATED, field.expression
        if snapshot.dialect == "postgresql" and field.stored.family is not Family.TEXT:
            order = self.relations.catalogue.type_order(field.stored.word)
        elif snapshot.dialect in MYSQL:
            is_text = field.stored.family is Family.TEXT and not field.stored.word.startswith("enum")
            order = TypeOrder.COLLATED if is_text else TypeOrder.OWN
        elif snapshot.dialect != "sqlite" and field.stored.family is not Family.TEXT:
            order = TypeOrder.NONE
        if order is TypeOrder.OWN:
            return expression
        if order is TypeOrder.NONE or snapshot.dialect in MYSQL:  # whose columns may have other encodings
            expression = sa.cast(expression, sa.Text)
        return sa.collate(expression, snapshot.byte_order)

    def printed(self, field: Field) -> Expression | None:
        """Return the text of a field that PostgreSQL orders by more than its text; None of any other."""
        if self.relations.catalogue.snapshot.dialect != "postgresql":
            return None
        if field.stored.family not in (Family.OTHER, Family.JSON):
            return None
        return sa.collate(sa.cast(field.expression, sa.Text), "C")

    def where(self, clause: sa.FromClause, relation: Relation) -> list[Expression]:
        """The fixed conditions of a relation's table."""
        found = self.relations.catalogue.table(relation.table)
        conditions = []
        for name, value in relation.where.items():
            dialect = self.relations.catalogue.snapshot.dialect
            conditions.append(fixed(clause.c[name], found.column(name), value, dialect, name))
        return conditions

    def _join(self, name: str) -> None:
        if name in self._joined:
            return
        relation = self.relations.declared[name]
        if relation.many and self.parent is None:
            raise SourceError(
                f"relation {name!r} has many rows; use it with `separator`, `nested` or a filter only."
            )
        found = self.relations.catalogue.table(relation.table)
        if relation.many or self._is_one(found, relation):
            other = self.relations.alias(found.clause, name)
            on = sa.and_(self._belongs(other, name), *self.where(other, relation))
        else:
            other = self.relations.alias(self._first(found, relation), name)
            on = sa.and_(self._belongs(other, name), other.c[_PLACE] == 1)
        self._joined[name] = other
        self._joins.append((other, on))

    def _is_one(self, found: Found, relation: Relation) -> bool:
        """Whether a key of the table says that at most one row matches."""
        fixed_columns = {
            name for name, value in relation.where.items() if not isinstance(value, list | tuple)
        }
        fixed_columns -= {name for name, value in relation.where.items() if value is None}
        return any(key <= {relation.to, *fixed_columns} for key in found.keys)

    def _first(self, found: Found, relation: Relation) -> sa.Subquery:
        """The table with the place of each row among those that refer to the same one."""
        inner = self.relations.alias(found.clause, "candidate")
        place = sa.func.row_number().over(
            partition_by=inner.c[relation.to], order_by=self.order(inner, found, relation.order)
        )
        columns = [inner.c[name] for name in found.fields]
        chosen = sa.select(*columns, place.label(_PLACE)).where(*self.where(inner, relation))
        return chosen.subquery()

    def _belongs(self, other: sa.FromClause, name: str) -> Expression:
        relation = self.relations.declared[name]
        found = self.relations.catalogue.table(relation.table)
        theirs = Field(other.c[relation.to], found.column(relation.to))
        mine = self.field(relation.from_)
        left, right = theirs.expression, mine.expression
        if self.relations.catalogue.snapshot.dialect == "postgresql" and _unlike(theirs.stored, mine.stored):
            left, right = sa.cast(left, sa.Text), sa.cast(right, sa.Text)
        return left == right


def _exact(expression: Expression, stored: Stored) -> Expression:
    """The expression, as a double where it is a single: the double whose digits PostgreSQL shows.

    A plain cast would give 26.059999465942383 for a single that everybody knows as 26.06.
    """
    if stored.word != "float4":
        return expression
    return sa.cast(sa.cast(expression, sa.Text), sa.Double)


_PLACE = "export place"
_PLAIN = (
    *(Family.INTEGER, Family.NUMERIC, Family.FLOAT, Family.BOOLEAN, Family.DATE),
    *(Family.WALL_CLOCK, Family.INSTANT, Family.UUID),
)
"""Types that every database orders alike."""
_NUMBERS = (Family.INTEGER, Family.NUMERIC, Family.FLOAT)


def _unlike(one: Stored, other: Stored) -> bool:
    """Whether PostgreSQL has no `=` between these types."""
    if one.family is Family.OTHER or other.family is Family.OTHER:
        return one.word != other.word
    return one.family is not other.family and not {one.family, other.family} <= set(_NUMBERS)
