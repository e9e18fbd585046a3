"""The functions of expressions: what they take, what they give, and how they do it in Arrow.

A function's maker gets the arguments, checked already, and says the result's type and how to get its
cells. Texts are compared by code point. Every function but is_null, coalesce and case gives null for null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.model.columns import Kind
from export_pipeline.model.tabular import expression_types as types
from export_pipeline.model.tabular.expression_types import (
    BOOLEAN,
    DATE,
    INTEGER,
    TEXT,
    Cells,
    ComputeError,
    Env,
    Type,
    common,
    convert,
    decimal,
)

Run: TypeAlias = Callable[[Env], Cells]


@dataclass(frozen=True, slots=True)
class Node:
    """A checked part of an expression.

    Attributes:
        type: What it gives.
        run: Gives its cells for some rows.
        literal: The value, if it is written down as one.
    """

    type: Type
    run: Run
    literal: Any = None


Make: TypeAlias = Callable[[Sequence[Node]], Node]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language.

    Attributes:
        usage: How it is written, for messages, e.g. "round(x, digits)".
        least, most: How many arguments it takes; `most` None for any number.
        make: Makes the checked call; raises ValueError for arguments of wrong types.
    """

    usage: str
    least: int
    most: int | None
    make: Make


def as_type(node: Node, wanted: Type) -> Run:
    """How to get a node's cells as another type."""
    if node.type == wanted:
        return node.run
    return lambda env: convert(node.run(env), node.type, wanted)


def unified(nodes: Sequence[Node]) -> tuple[Type, list[Run]]:
    """The one type of several nodes, and how to get the cells of each as that."""
    wanted = nodes[0].type
    for node in nodes[1:]:
        wanted = common(wanted, node.type)
    return wanted, [as_type(node, wanted) for node in nodes]


def _want(node: Node, usage: str, *kinds: Kind) -> None:
    if node.type.kind not in kinds:
        listed = " or ".join(str(kind) for kind in kinds)
        raise ValueError(f"{usage} wants {listed}, not {node.type}")


def _whole(node: Node, usage: str, most: int) -> int:
    if type(node.literal) is not int or not 0 <= node.literal <= most:
        raise ValueError(f"{usage} wants a written number from 0 to {most} there")
    return int(node.literal)


# --- choice -------------------------------------------------------------------------------------------


def _case(arguments: Sequence[Node]) -> Node:
    if len(arguments) % 2 == 0:
        raise ValueError("case(condition, value, …, default) ends with a default; it may be null")
    conditions, values = arguments[:-1:2], [*arguments[1::2], arguments[-1]]
    for condition in conditions:
        _want(condition, "case(condition, …)", Kind.BOOLEAN)
    wanted, runs = unified(values)

    def run(env: Env) -> Cells:
        result = pa.nulls(env.rows, wanted.arrow)
        left = pa.repeat(True, env.rows)
        for condition, value in zip(conditions, runs[:-1], strict=True):
            rest = env.only(left)
            if not rest.rows:
                return result
            hit = pc.replace_with_mask(left, left, pc.fill_null(condition.run(rest), False))
            result = _put(result, hit, value, env)
            left = pc.and_not(left, hit)
        return _put(result, left, runs[-1], env)

    return Node(wanted, run)


def _put(result: Cells, mask: pa.BooleanArray, value: Run, env: Env) -> Cells:
    """The value in these rows. It is evaluated for no others: `case(b = 0, 0, a / b)` divides by no zero."""
    chosen = env.only(mask)
    if chosen.rows == env.rows:
        return value(env)
    return pc.replace_with_mask(result, mask, value(chosen)) if chosen.rows else result


def _coalesce(arguments: Sequence[Node]) -> Node:
    wanted, runs = unified(arguments)

    def run(env: Env) -> Cells:
        result = runs[0](env)
        for value in runs[1:]:
            if not result.null_count:
                break
            result = _put(result, result.is_null(), value, env)
        return result

    return Node(wanted, run)


def _is_null(arguments: Sequence[Node]) -> Node:
    return Node(BOOLEAN, lambda env: arguments[0].run(env).is_null())


# --- numbers ------------------------------------------------------------------------------------------


def _abs(arguments: Sequence[Node]) -> Node:
    node = arguments[0]
    _want(node, "abs(x)", Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT)
    return Node(node.type, lambda env: pc.abs_checked(node.run(env)))


def _round(arguments: Sequence[Node]) -> Node:
    node = arguments[0]
    _want(node, "round(x, digits)", Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT)
    scale = _whole(arguments[1], "round(x, digits)", 18) if len(arguments) > 1 else 0
    if node.type.kind is Kind.INTEGER:
        return node
    if node.type.kind is Kind.FLOAT:
        return Node(
            decimal(38, scale), lambda env: types.rounded(types.exact_floats(node.run(env), env), scale, 38)
        )
    if node.type.scale <= scale:
        return node
    result = decimal(min(node.type.digits - node.type.scale + scale + 1, types.MOST_DIGITS), scale)
    return Node(result, lambda env: types.rounded(node.run(env), scale, result.digits))


def _extreme(name: str) -> Make:
    def make(arguments: Sequence[Node]) -> Node:
        wanted, runs = unified(arguments)
        if wanted.kind in (None, Kind.BOOLEAN):
            raise ValueError(f"{name}(a, b, …) wants numbers, texts, dates or timestamps, not {wanted}")
        function = pc.min_element_wise if name == "least" else pc.max_element_wise
        return Node(wanted, lambda env: function(*(run(env) for run in runs), skip_nulls=False))

    return make


def _decimal(arguments: Sequence[Node]) -> Node:
    node, usage = arguments[0], "decimal(x, p, s)"
    digits, scale = (_whole(arguments[i], usage, types.MOST_DIGITS) for i in (1, 2))
    if not digits >= 1 or scale > min(digits, 37):
        raise ValueError(f"{usage} wants 1 to 76 digits, of these at most 37 behind the point")
    return Node(
        decimal(digits, scale), lambda env: types.rounded(_as_decimals(node, usage)(env), scale, digits)
    )


def _integer(arguments: Sequence[Node]) -> Node:
    node, usage = arguments[0], "integer(x)"
    if node.type.kind is Kind.INTEGER:
        return node
    if node.type.kind is Kind.BOOLEAN:
        return Node(INTEGER, lambda env: node.run(env).cast(pa.int64()))
    decimals = _as_decimals(node, usage)

    def run(env: Env) -> Cells:
        try:
            return decimals(env).cast(pa.int64())
        except pa.ArrowInvalid:
            raise ComputeError(
                "integer(x) met a fraction or a number too large; use round(x) first"
            ) from None

    return Node(INTEGER, run)


def _as_decimals(node: Node, usage: str) -> Run:
    """Any number, or a text that is one, as a decimal."""
    _want(node, usage, Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT, Kind.TEXT)
    match node.type.kind:
        case Kind.INTEGER:
            return as_type(node, decimal(node.type.digits, 0))
        case Kind.FLOAT:
            return lambda env: types.exact_floats(node.run(env), env)
        case Kind.TEXT:
            return lambda env: types.parsed_numbers(node.run(env), env)
    return node.run


# --- texts --------------------------------------------------------------------------------------------


def _of_text(usage: str, function: Callable[[Cells], Cells], result: Type = TEXT) -> Make:
    def make(arguments: Sequence[Node]) -> Node:
        _want(arguments[0], usage, Kind.TEXT)
        return Node(result, lambda env: function(arguments[0].run(env)))

    return make


def _length(cells: Cells) -> Cells:
    return pc.utf8_length(cells).cast(pa.int64())


def _left(arguments: Sequence[Node]) -> Node:
    _want(arguments[0], "left(text, n)", Kind.TEXT)
    count = _whole(arguments[1], "left(text, n)", 1_000_000)
    return Node(TEXT, lambda env: pc.utf8_slice_codeunits(arguments[0].run(env), 0, count))


def _concat(arguments: Sequence[Node]) -> Node:
    runs = [_text([node]).run for node in arguments]
    return Node(TEXT, lambda env: pc.binary_join_element_wise(*(run(env) for run in runs), ""))


def _text(arguments: Sequence[Node]) -> Node:
    node = arguments[0]
    if node.type.kind is Kind.TEXT:
        return node
    return Node(TEXT, lambda env: _as_text(node.run(env), node.type))


def _as_text(cells: Cells, kind: Type) -> Cells:
    match kind.kind:
        case None:
            return pa.nulls(len(cells), pa.string())
        case Kind.DECIMAL:
            return _decimal_text(cells, kind)
        case Kind.TIMESTAMP:
            local = _local(cells, kind).cast(pa.string())
            return pc.replace_substring_regex(pc.replace_substring(local, " ", "T"), r"\.?0+$", "")
        case Kind.BOOLEAN:
            return pc.if_else(cells, "true", "false")
        case Kind.FLOAT:
            words = pc.replace_substring(cells.cast(pa.string()), "inf", "Infinity")
            return pc.replace_substring(words, "nan", "NaN")
    return cells.cast(pa.string())


def _decimal_text(cells: Cells, kind: Type) -> Cells:
    """Without trailing zeros, and without the exponent that Arrow writes for what is near zero."""
    if not kind.scale:
        return cells.cast(pa.string())
    if kind.scale <= _SCALE_WITHOUT_EXPONENT:
        return pc.replace_substring_regex(cells.cast(pa.string()), r"\.?0+$", "")
    size = pc.abs(cells).cast(pa.decimal256(types.MOST_DIGITS - 1, kind.scale))
    whole = pc.trunc(size)
    # One is added, as what is 1 or more has no exponent, and cut off again as text.
    behind = pc.add(pc.subtract(size, whole).cast(pa.decimal256(kind.scale + 1, kind.scale)), _ONE).cast(
        pa.string()
    )
    texts = [
        pc.if_else(pc.less(cells, pa.scalar(0, pa.decimal128(1, 0))), "-", ""),
        whole.cast(pa.decimal256(types.MOST_DIGITS, 0)).cast(pa.string()),
        pc.replace_substring_regex(pc.utf8_slice_codeunits(behind, 1), r"\.?0+$", ""),
    ]
    return pc.binary_join_element_wise(*texts, "")


_SCALE_WITHOUT_EXPONENT = 6
_ONE = pa.scalar(Decimal(1), pa.decimal256(1, 0))


# --- times --------------------------------------------------------------------------------------------


def _local(cells: Cells, kind: Type) -> Cells:
    """Timestamps as the clock on the wall shows them in their zone."""
    if kind.zone is None:
        return cells
    return pc.local_timestamp(cells.cast(pa.timestamp("us", tz=kind.zone)))


def _days(cells: Cells, kind: Type) -> Cells:
    """The day of dates, or of timestamps in their zone."""
    return (
        cells
        if kind.kind is Kind.DATE
        else pc.floor_temporal(_local(cells, kind), unit="day").cast(DATE.arrow)
    )


def _part(name: str, function: Callable[[Cells], Cells]) -> Make:
    def make(arguments: Sequence[Node]) -> Node:
        node = arguments[0]
        _want(node, f"{name}(x)", *((Kind.TIMESTAMP,) if name == "hour" else (Kind.DATE, Kind.TIMESTAMP)))

        def run(env: Env) -> Cells:
            cells = node.run(env)
            return function(cells if node.type.kind is Kind.DATE else _local(cells, node.type)).cast(
                pa.int64()
            )

        return Node(INTEGER, run)

    return make


def _date(arguments: Sequence[Node]) -> Node:
    node = arguments[0]
    _want(node, "date(timestamp)", Kind.TIMESTAMP, Kind.DATE)
    return Node(DATE, lambda env: _days(node.run(env), node.type))


def _days_between(arguments: Sequence[Node]) -> Node:
    first, last = arguments
    for node in arguments:
        _want(node, "days_between(start, end)", Kind.DATE, Kind.TIMESTAMP)

    def run(env: Env) -> Cells:
        start, end = (
            _days(node.run(env), node.type).cast(pa.int32()).cast(pa.int64()) for node in (first, last)
        )
        return pc.subtract(end, start)

    return Node(INTEGER, run)


def _microseconds(arguments: Sequence[Node], usage: str) -> Run:
    first, last = arguments
    for node in arguments:
        _want(node, usage, Kind.TIMESTAMP)
    common(first.type, last.type)

    def run(env: Env) -> Cells:
        start, end = (node.run(env).cast(pa.int64()) for node in (first, last))
        return pc.subtract_checked(end, start)

    return run


def _seconds_between(arguments: Sequence[Node]) -> Node:
    elapsed = _microseconds(arguments, "seconds_between(start, end)")
    result = decimal(19, 6)

    def run(env: Env) -> Cells:
        micros = elapsed(env).cast(pa.decimal128(19, 0))
        return pc.multiply(micros, pa.scalar(_MICRO, pa.decimal128(6, 6))).cast(result.arrow)

    return Node(result, run)


def _duration(arguments: Sequence[Node]) -> Node:
    elapsed = _microseconds(arguments, "duration(start, end)")

    def run(env: Env) -> Cells:
        seconds = pc.divide(elapsed(env), 1_000_000)  # towards zero: a second that is not over does not count
        size = pc.abs(seconds)
        minutes = pc.divide(size, 60)
        hours = pc.divide(minutes, 60)
        parts = [
            hours.cast(pa.string()),
            _two_digits(pc.subtract(minutes, pc.multiply(hours, 60))),
            _two_digits(pc.subtract(size, pc.multiply(minutes, 60))),
        ]
        sign = pc.if_else(pc.less(seconds, 0), "-", "")
        return pc.binary_join_element_wise(sign, pc.binary_join_element_wise(*parts, ":"), "")

    return Node(TEXT, run)


_MICRO = pa.scalar(Decimal("0.000001"), pa.decimal128(6, 6))


def _two_digits(numbers: Cells) -> Cells:
    return pc.utf8_lpad(numbers.cast(pa.string()), 2, "0")


def _monday_first(days: Cells) -> Cells:
    return pc.day_of_week(days, count_from_zero=False, week_start=1)


FUNCTIONS: dict[str, Function] = {
    "case": Function("case(condition, value, …, default)", 3, None, _case),
    "coalesce": Function("coalesce(a, b, …)", 1, None, _coalesce),
    "is_null": Function("is_null(x)", 1, 1, _is_null),
    "abs": Function("abs(x)", 1, 1, _abs),
    "round": Function("round(x, digits)", 1, 2, _round),
    "least": Function("least(a, b, …)", 1, None, _extreme("least")),
    "greatest": Function("greatest(a, b, …)", 1, None, _extreme("greatest")),
    "integer": Function("integer(x)", 1, 1, _integer),
    "decimal": Function("decimal(x, p, s)", 3, 3, _decimal),
    "text": Function("text(x)", 1, 1, _text),
    "concat": Function("concat(a, b, …)", 1, None, _concat),
    "lower": Function("lower(text)", 1, 1, _of_text("lower(text)", pc.utf8_lower)),
    "upper": Function("upper(text)", 1, 1, _of_text("upper(text)", pc.utf8_upper)),
    "trim": Function("trim(text)", 1, 1, _of_text("trim(text)", pc.utf8_trim_whitespace)),
    "length": Function("length(text)", 1, 1, _of_text("length(text)", _length, INTEGER)),
    "left": Function("left(text, n)", 2, 2, _left),
    "year": Function("year(x)", 1, 1, _part("year", pc.year)),
    "quarter": Function("quarter(x)", 1, 1, _part("quarter", pc.quarter)),
    "month": Function("month(x)", 1, 1, _part("month", pc.month)),
    "day": Function("day(x)", 1, 1, _part("day", pc.day)),
    "weekday": Function("weekday(x)", 1, 1, _part("weekday", _monday_first)),
    "hour": Function("hour(timestamp)", 1, 1, _part("hour", pc.hour)),
    "date": Function("date(timestamp)", 1, 1, _date),
    "days_between": Function("days_between(start, end)", 2, 2, _days_between),
    "seconds_between": Function("seconds_between(start, end)", 2, 2, _seconds_between),
    "duration": Function("duration(start, end)", 2, 2, _duration),
}
"""By name. weekday: Monday is 1. duration: H:MM:SS. days_between and seconds_between: end minus start."""
