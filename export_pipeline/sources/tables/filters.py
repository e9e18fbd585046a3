"""Filters and windows as SQL conditions. Values are bound, or rendered by SQLAlchemy's typed literals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from export_pipeline.core.windows import Window
from export_pipeline.sources.casts import BYTE_ORDER, MYSQL
from export_pipeline.sources.database_types import Family
from export_pipeline.sources.snapshot import SourceError
from export_pipeline.sources.tables.operands import Condition, Domain, Expression, Operand, can_store
from export_pipeline.tabular.spec import WindowSpec

_DEPTH, _MAX_DAYS = 100, 366
_NAN: dict[Family, Any] = {Family.FLOAT: sa.Double(), Family.NUMERIC: sa.Numeric()}
"""Types for which PostgreSQL sorts NaN after every number."""


def build_condition(term: Operand, operator: str, value: Any) -> Condition:
    """Return the condition of an operator on a field. Values have the types given by the options."""
    match operator:
        case "equals":
            return _equals(term, [value])
        case "in":
            return _equals(term, list(value))
        case "range":
            return _range(term, value)
        case "contains":
            return match_text(term, value)
        case "is_null":
            return term.expression.is_(None) if value else term.expression.is_not(None)
    raise ValueError(f"unknown operator {operator!r}")


def _equals(term: Operand, values: Sequence[Any]) -> Condition:
    days = [v for v in values if term.domain is Domain.TIME and not isinstance(v, datetime)]
    exact = [v for v in values if term.domain is not Domain.TIME or isinstance(v, datetime)]
    if len(days) > _MAX_DAYS:
        raise SourceError(
            f"{len(days):,} single days are more than the {_MAX_DAYS} of one list; use a range."
        )
    conditions = [term.one_of(exact)] if exact else []
    return _any([*conditions, *(_between(term, *term.day(day)) for day in days)])


def _any(conditions: Sequence[Condition]) -> Condition:
    """Combine many conditions by OR, with little nesting: databases limit the depth of an expression."""
    if len(conditions) <= _DEPTH:
        return sa.or_(sa.false(), *conditions)
    groups = [conditions[start : start + _DEPTH] for start in range(0, len(conditions), _DEPTH)]
    # A CASE separates the groups: ORs in parentheses would be flattened to one long OR again.
    return _any([sa.case((sa.or_(*group), 1), else_=0) == 1 for group in groups])


def _range(term: Operand, value: Mapping[str, Any]) -> Condition:
    first, last = value.get("from"), value.get("to")
    if term.domain is Domain.TIME:
        start = first if first is None or isinstance(first, datetime) else term.day(first)[0]
        if last is None or isinstance(last, datetime):
            return _between(term, start, None, last)
        return _between(term, start, term.day(last)[1])
    conditions = []
    if first is not None:
        conditions.append(_compare(term, first, ">="))
    if last is not None:
        conditions.append(_compare(term, last, "<="))
    nan = _NAN.get(term.stored.family)
    if last is None and nan is not None and term.dialect == "postgresql":
        conditions.append(term.expression < sa.cast(sa.literal("NaN", sa.Text()), nan))
    return sa.and_(*conditions)


def _compare(term: Operand, value: Any, sign: str) -> Condition:
    literal = term.literal(value)
    if literal is None:
        return sa.false()
    return term.expression >= literal if sign == ">=" else term.expression <= literal


def _between(
    term: Operand, start: datetime | None, end: datetime | None, last: datetime | None = None
) -> Condition:
    """Return the condition "from `start`, before `end`, not after `last`"; None means no limit."""
    conditions: list[Condition] = [term.expression.is_not(None)]
    if start is not None:
        conditions.append(term.expression >= term.literal(start))
    if end is not None:
        conditions.append(term.expression < term.literal(end))
    if last is not None:
        conditions.append(term.expression <= term.literal(last))
    return sa.and_(*conditions)


def match_text(term: Operand, text: str) -> Condition:
    """Return the condition that a field contains a string, ignoring case; there are no wildcards."""
    if term.domain is Domain.UUID:
        return _in_uuid(term, text)
    literal = term.literal(text)
    if literal is None:
        return sa.false()
    if term.dialect == "sqlite":
        # SQLite's own lower() handles only ASCII.
        lower = sa.func.lower if text.isascii() else sa.func.export_lower
        return sa.func.instr(lower(term.expression), lower(literal)) > 0
    if term.dialect == "postgresql":
        # Compare bytes: a collation in which different strings may be equal supports no substring search.
        lowered = sa.collate(sa.func.lower(term.expression), BYTE_ORDER[term.dialect])
        return sa.func.strpos(lowered, sa.func.lower(literal)) > 0
    if term.dialect in MYSQL:
        lowered = sa.collate(sa.func.lower(sa.cast(term.expression, sa.Text)), BYTE_ORDER[term.dialect])
        return sa.func.instr(lowered, sa.func.lower(literal)) > 0
    return term.expression.icontains(text, autoescape=True)


def _in_uuid(term: Operand, text: str) -> Condition:
    """Return the same condition for a UUID in its exported form, with hyphens."""
    if not can_store(text, term.stored, term.dialect):
        return sa.false()
    if term.dialect == "postgresql" and term.stored.family is Family.UUID:
        shown: Expression = sa.cast(term.expression, sa.Text)
    else:
        bare = term.expression
        parts = [sa.func.substr(bare, start, size) for start, size in _UUID_PARTS]
        hyphenated: Expression = parts[0]
        for part in parts[1:]:
            hyphenated = hyphenated.concat(sa.literal("-", sa.Text())).concat(part)
        shown = sa.case((sa.func.length(bare) == 32, hyphenated), else_=bare)
    find = {"sqlite": sa.func.instr, "postgresql": sa.func.strpos}.get(term.dialect)
    if find is None:
        return shown.contains(text.lower(), autoescape=True)
    return find(shown, sa.literal(text.lower(), sa.Text())) > 0


_UUID_PARTS = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))


def match_window(term: Operand, spec: WindowSpec, window: Window) -> Condition:
    """Return the condition for rows whose time is in the window, or that existed by its end.

    A date counts as its first moment in `spec.zone`, or else in the window's zone. Local times are in
    `spec.zone`.
    """
    if spec.type == "date":
        zone = ZoneInfo(spec.zone) if spec.zone else window.start.tzinfo
        end: Any = _first_day(window.end, zone)
        start: Any = _first_day(window.start, zone)
    elif spec.zone and (term.dialect == "sqlite" or term.stored.family is not Family.INSTANT):
        # The column holds local times without a zone, so the window's ends are converted to local time.
        zone = ZoneInfo(spec.zone)
        start, end = (t.astimezone(zone).replace(tzinfo=None) for t in (window.start, window.end))
    else:
        start, end = window.start, window.end
    before = term.expression < term.literal(end)
    if spec.mode == "as_of":
        return before
    return sa.and_(term.expression >= term.literal(start), before)


def _first_day(moment: datetime, zone: Any) -> date:
    """Return the first day that begins at or after this moment."""
    day = moment.astimezone(zone).date()
    begins = datetime(day.year, day.month, day.day, tzinfo=zone)
    return day if begins.timestamp() >= moment.timestamp() else day + timedelta(days=1)
