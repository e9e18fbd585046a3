"""The rows of one request, defined once for every select that reads, counts or sums them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from export_pipeline.core.columns import Column
from export_pipeline.core.export_data import Request
from export_pipeline.sources.casts import Query, order_by
from export_pipeline.sources.database_types import Family
from export_pipeline.sources.snapshot import Snapshot, SourceError
from export_pipeline.sources.tables.aggregation import joined_text, nested_json
from export_pipeline.sources.tables.database_tables import Catalogue, LiveTable, suggest_name
from export_pipeline.sources.tables.filters import build_condition, match_window
from export_pipeline.sources.tables.operands import Condition, Domain, Operand, make_operand, match_value
from export_pipeline.sources.tables.relations import Expression, Frame, Relations
from export_pipeline.sources.tables.scopes import match_scopes
from export_pipeline.sources.tables.sql_file import bind_parameters, parameters
from export_pipeline.tabular.filter_values import describe_filter
from export_pipeline.tabular.options import filters_model
from export_pipeline.tabular.spec import ColumnSpec, TableSpec
from export_pipeline.tabular.types import parse_type

_NUMBERED = re.compile(r":\d+\Z")

FilterUse = tuple[str, str, Any]
"""A filter's name, an operator and a value."""
Share = tuple[str, int | None, int | None]
"""Path of the leading key, the key before the first one of the share, and the last one; None at an end."""


class TableQuery:
    """Builds the selects of a request.

    Args:
        snapshot: The snapshot to read.
        spec: The declared export.
        request: The request; its scope must have been found in the table of scopes.
        hidden: Columns that the requester may not read.

    Attributes:
        group: Columns that come first in the selects of `facts`, by which they count and sum.
    """

    group: tuple[Column, ...] = ()

    def __init__(self, snapshot: Snapshot, spec: TableSpec, request: Request, hidden: frozenset[str]) -> None:
        self.snapshot, self.spec, self.request, self.hidden = snapshot, spec, request, hidden
        self.options = request.options.model_dump(by_alias=True, exclude_none=True)
        self.uses = list(self._uses())
        self.catalogue = Catalogue.of(snapshot)
        views = {
            name: partial(self._statement, view.sql, f"view {name}", view.key)
            for name, view in spec.source.views.items()
        }
        self.relations = Relations(
            self.catalogue, spec.source.relations, self._root(), views, spec.source.parameters
        )

    def rows(self, columns: Sequence[ColumnSpec], share: Share | None = None) -> Query:
        """Return the select of these columns for all rows, or for a share of them, in order."""
        frame = Frame(self.relations)
        expressions = [self.value(frame, column) for column in columns]
        order = self._order(frame)
        select = self._restrict(frame, expressions)
        return (select if share is None else select.where(*self._within(frame, share))).order_by(*order)

    def leading_key(self) -> str | None:
        """Path of the key by which the rows are ordered first; None if there is none."""
        if self.options.get("sort") or self.spec.source.order or not self.spec.source.key:
            return None
        return self.spec.source.key[0]

    def keys(self, path: str) -> Query:
        """Return the select of the leading key of all rows, in order."""
        frame = Frame(self.relations)
        key = frame.field(path).expression
        return self._restrict(frame, [key]).order_by(order_by(key))

    def facts(self, make: Callable[[Frame], Sequence[Expression]]) -> Query:
        """Return a select of aggregates over exactly the rows of `rows`."""
        frame = Frame(self.relations)
        return self._restrict(frame, make(frame))

    def value(self, frame: Frame, column: ColumnSpec) -> Expression:
        """Return a column's expression; null if the requester may not read it."""
        if column.name in self.hidden:
            return sa.null()
        if column.nested is not None:
            return nested_json(frame, column.nested)
        path = column.from_ or column.name
        if column.separator is not None:
            return joined_text(frame, path, column.separator)
        return frame.field(path).expression

    def operand(self, frame: Frame, column: ColumnSpec) -> Operand:
        """Return a column that is read from a field as an operand of comparisons."""
        field = frame.field(column.from_ or column.name)
        return make_operand(field.expression, field.stored, self.snapshot.dialect, column.parsed, column.zone)

    def _restrict(self, frame: Frame, expressions: Sequence[Expression]) -> Query:
        """Select the rows of the export: the only place that decides which rows it has."""
        conditions = [*self._scope(frame), *self._where(frame), *self._window(frame)]
        conditions += [self._filter(frame, *use) for use in self.uses if not self._is_parameter(use[0])]
        return sa.select(*expressions).select_from(frame.clause).where(*conditions)

    @staticmethod
    def _within(frame: Frame, share: Share) -> list[Condition]:
        path, after, last = share
        key = frame.field(path).expression
        if last is not None:
            return [key <= last] if after is None else [key > after, key <= last]
        return [] if after is None else [sa.or_(key > after, key.is_(None))]  # rows with a null key come last

    # --- row selection ----------------------------------------------------------------------------------

    def _scope(self, frame: Frame) -> list[Condition]:
        if self.spec.scope is None:
            return []
        assert self.request.scope is not None
        field = frame.field(self.spec.scope.column)
        mine = match_scopes(field.expression, field.stored, self.snapshot.dialect, [self.request.scope])
        return [sa.or_(mine, field.expression.is_(None)) if self.spec.scope.shared else mine]

    def _where(self, frame: Frame) -> list[Condition]:
        conditions = []
        for path, value in self.spec.source.where.items():
            field = frame.field(path)
            conditions.append(match_value(field.expression, field.stored, value, self.snapshot.dialect, path))
        return conditions

    def _window(self, frame: Frame) -> list[Condition]:
        window, declared = self.request.window, self.spec.window
        if window is None:
            return []
        if declared is None:
            raise SourceError(
                "This dataset has no exports of a day, week or month: its defs.yaml says no `window`."
            )
        field = frame.field(declared.column)
        wall_clock = declared.zone is not None and declared.type == "timestamp"
        if field.stored.family is Family.INSTANT and self.snapshot.dialect != "sqlite":
            wall_clock = False
        zone = None if wall_clock else "UTC"
        about = make_operand(
            field.expression, field.stored, self.snapshot.dialect, parse_type(declared.type), zone
        )
        return [match_window(about, declared, window)]

    def _filter(self, frame: Frame, name: str, operator: str, value: Any) -> Condition:
        spec = self.spec.filters[name]
        about = describe_filter(self.spec, name, spec)
        path = spec.column or self._path(name)

        def made(inner: Frame, operator: str, value: Any) -> Condition:
            field = inner.field(path)
            compared = make_operand(
                field.expression, field.stored, self.snapshot.dialect, about.type, about.zone
            )
            return build_condition(compared, operator, value)

        many = self.relations.many(path)
        if many is None:
            return made(frame, operator, value)
        inner, matching = frame.through(many)
        if operator == "is_null":
            # Null, or not null.
            some = made(inner, "is_null", False)
            exists = inner.select(sa.literal(1)).where(matching, some).exists()
            return sa.not_(exists) if value else exists
        test = made(inner, operator, value)
        return inner.select(sa.literal(1)).where(matching, test).exists()

    def _path(self, name: str) -> str:
        column = self.spec.column(name)
        return column.from_ or column.name

    # --- order ------------------------------------------------------------------------------------------

    def _order(self, frame: Frame) -> list[Expression]:
        order: list[Expression] = []
        requested: Iterable[str] = self.options.get("sort") or ()
        for sort_name in requested:
            name = sort_name.removeprefix("-")
            column = self.spec.column(name)
            if name in self.hidden:
                raise SourceError(f"You may not read {name!r}, so you cannot sort by it.")
            about = self.operand(frame, column)
            by = about.expression
            if about.domain is Domain.TEXT and self.snapshot.dialect == "sqlite":
                by = sa.collate(by, self.snapshot.byte_order)
            elif about.domain is Domain.TEXT:
                by = frame.sortable(frame.field(column.from_ or name))
            order.append(order_by(by, down=sort_name.startswith("-")))
        for sort_name in () if requested else self.spec.source.order:
            by = frame.sortable(frame.field(sort_name.removeprefix("-")))
            order.append(order_by(by, down=sort_name.startswith("-")))
        keys = [frame.field(path) for path in self.spec.source.key]
        order += [order_by(frame.sortable(key)) for key in keys]
        if not any(unique <= {*self.spec.source.key} for unique in self.relations.root.keys):
            # Equal values may print differently, e.g. intervals of 30 days and of a month.
            order += [order_by(text) for key in keys if (text := frame.printed(key)) is not None]
        return order

    # --- requested filters -------------------------------------------------------------------------------

    def _uses(self) -> Iterable[FilterUse]:
        """Yield every use of a filter, in the request and in its preset."""
        for name, operators in self.options.get("filters", {}).items():
            for operator, value in operators.items():
                yield self._check_filter((name, operator, value))
        preset = self.spec.presets.get(self.options.get("preset", ""))
        if preset is not None and preset.filters:
            typed = filters_model(self.spec).model_validate(preset.filters)
            for name, operators in typed.model_dump(by_alias=True, exclude_none=True).items():
                for operator, value in operators.items():
                    yield self._check_filter((name, operator, value))

    def _check_filter(self, use: FilterUse) -> FilterUse:
        name = use[0]
        column = self.spec.filters[name].column
        about = [
            c.name for c in self.spec.columns if (c.from_ or c.name) == (column or self._own_field(name))
        ]
        if self.hidden & {*about, name}:
            raise SourceError(f"You may not read {name!r}, so you cannot filter by it.")
        return use

    def _own_field(self, name: str) -> str | None:
        return next(((c.from_ or c.name) for c in self.spec.columns if c.name == name), None)

    def _is_parameter(self, name: str) -> bool:
        return self.spec.filters[name].parameter

    # --- the source -------------------------------------------------------------------------------------

    def _root(self) -> LiveTable:
        source = self.spec.source
        if source.table is not None:
            return self.catalogue.table(source.table)
        assert source.sql is not None
        return self._statement(source.sql, "the .sql file")

    def _statement(self, sql: str, name: str, key: Sequence[str] = ()) -> LiveTable:
        statement = bind_parameters(sql, self._values(sql))
        fields = self.snapshot.fields(
            sa.select(sa.literal_column("*")).select_from(statement.columns().subquery("export_source"))
        )
        names = [name for name, _ in fields]
        if self.snapshot.dialect == "sqlite":  # which names them id, id:1
            names = [base if (base := _NUMBERED.sub("", name)) in names else name for name in names]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SourceError(
                f"{name[0].upper()}{name[1:]} gives {', '.join(twice)} more than once; "
                "name its columns apart."
            )
        clause = statement.columns(*self.catalogue.columns(dict(fields))).subquery("export_source")
        return self.catalogue.statement(name, clause, fields, key)

    def _values(self, sql: str) -> Mapping[str, Any]:
        values: dict[str, Any] = {name: None for name, f in self.spec.filters.items() if f.parameter}
        values |= self.spec.source.parameters
        values["scope"] = self.request.scope
        for name, operator, value in self.uses:
            if self._is_parameter(name):
                if operator != "equals":
                    raise SourceError(
                        f"filter {name!r} is a parameter of the .sql file; it knows `equals` only."
                    )
                values[name] = value
        if unknown := sorted(parameters(sql) - values.keys()):
            raise SourceError(
                f"The .sql file has a parameter :{unknown[0]} that neither `parameters` nor a filter with "
                f"`parameter: true` gives "
                f"({suggest_name(unknown[0], values)})."
            )
        return values
