"""The functions of expressions: their arguments, their result types and their implementation in Arrow.

A function's maker takes checked arguments and returns a node: the result's type and a function that computes
its cells. Strings are compared by code point. Every function but is_null, coalesce and case returns null for
null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from export_pipeline.core.arrow import pa, pc
from export_pipeline.core.columns import Kind
from export_pipeline.expressions import types
from export_pipeline.expressions.nodes import (
    Function,
    Make,
    Node,
    Run,
    as_type,
    require_integer,
    require_kind,
    unify,
)
from export_pipeline.expressions.times import (
    date_of,
    days_between,
    duration,
    local,
    monday_first,
    part_of,
    seconds_between,
)
from export_pipeline.expressions.types import BOOLEAN, INTEGER, TEXT, Cells, ComputeError, Env, Type, decimal

# --- choice -------------------------------------------------------------------------------------------


def _case(arguments: Sequence[Node]) -> Node:
    if len(arguments) % 2 == 0:
        raise ValueError("case(condition, value, …, default) ends with a default; it may be null")
    conditions, values = arguments[:-1:2], [*arguments[1::2], arguments[-1]]
    for condition in conditions:
        require_kind(condition, "case(condition, …)", Kind.BOOLEAN)
    type, runs = unify(values)

    def run(env: Env) -> Cells:
        result = pa.nulls(env.rows, type.arrow)
        left = pa.repeat(True, env.rows)
        for condition, value in zip(conditions, runs[:-1], strict=True):
            rest = env.only(left)
            if not rest.rows:
                return result
            hit = pc.replace_with_mask(left, left, pc.fill_null(condition.run(rest), False))
            result = _scatter(result, hit, value, env)
            left = pc.and_not(left, hit)
        return _scatter(result, left, runs[-1], env)

    return Node(type, run)


def _scatter(result: Cells, mask: pa.BooleanArray, value: Run, env: Env) -> Cells:
    """Put a value into the masked rows.

    It is evaluated for these rows only, so `case(b = 0, 0, a / b)` never divides by zero.
    """
    inner = env.only(mask)
    if inner.rows == env.rows:
        return value(env)
    return pc.replace_with_mask(result, mask, value(inner)) if inner.rows else result


def _coalesce(arguments: Sequence[Node]) -> Node:
    type, runs = unify(arguments)

    def run(env: Env) -> Cells:
        result = runs[0](env)
        for value in runs[1:]:
            if not result.null_count:
                break
            result = _scatter(result, result.is_null(), value, env)
        return result

    return Node(type, run)


def _is_null(arguments: Sequence[Node]) -> Node:
    return Node(BOOLEAN, lambda env: arguments[0].run(env).is_null())


# --- numbers ------------------------------------------------------------------------------------------


def _abs(arguments: Sequence[Node]) -> Node:
    node = arguments[0]
    require_kind(node, "abs(x)", Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT)
    return Node(node.type, lambda env: pc.abs_checked(node.run(env)))


def _round(arguments: Sequence[Node]) -> Node:
    node = arguments[0]
    require_kind(node, "round(x, digits)", Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT)
    scale = require_integer(arguments[1], "round(x, digits)", 18) if len(arguments) > 1 else 0
    if node.type.kind is Kind.INTEGER:
        return node
    if node.type.kind is Kind.FLOAT:
        return Node(
            decimal(38, scale),
            lambda env: types.round_decimals(types.exact_floats(node.run(env), env), scale, 38),
        )
    if node.type.scale <= scale:
        return node
    result = decimal(min(node.type.digits - node.type.scale + scale + 1, types.MAX_PRECISION), scale)
    return Node(result, lambda env: types.round_decimals(node.run(env), scale, result.digits))


def _extreme(name: str) -> Make:
    def make(arguments: Sequence[Node]) -> Node:
        type, runs = unify(arguments)
        if type.kind in (None, Kind.BOOLEAN):
            raise ValueError(f"{name}(a, b, …) needs numbers, texts, dates or timestamps, not {type}")

        def run_all(env: Env) -> Cells:
            function = pc.min_element_wise if name == "least" else pc.max_element_wise
            return function(*(run(env) for run in runs), skip_nulls=False)

        return Node(type, run_all)

    return make


def _decimal(arguments: Sequence[Node]) -> Node:
    node, usage = arguments[0], "decimal(x, p, s)"
    digits, scale = (require_integer(arguments[i], usage, types.MAX_PRECISION) for i in (1, 2))
    if not digits >= 1 or scale > min(digits, 37):
        raise ValueError(f"{usage} needs a precision of 1 to 76 and a scale of at most 37")
    return Node(
        decimal(digits, scale),
        lambda env: types.round_decimals(_as_decimals(node, usage)(env), scale, digits),
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


def _floor(arguments: Sequence[Node]) -> Node:
    node = arguments[0]
    require_kind(node, "floor(x)", Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT)
    if node.type.kind is Kind.INTEGER:
        return node
    decimals = _as_decimals(node, "floor(x)")

    def run(env: Env) -> Cells:
        try:
            return pc.floor(decimals(env)).cast(pa.int64())
        except pa.ArrowInvalid:
            raise ComputeError("floor(x) met a number beyond 64 bits") from None

    return Node(INTEGER, run)


def _as_decimals(node: Node, usage: str) -> Run:
    """Convert any number, or a string that is one, to a decimal."""
    require_kind(node, usage, Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT, Kind.TEXT)
    match node.type.kind:
        case Kind.INTEGER:
            return as_type(node, decimal(node.type.digits, 0))
        case Kind.FLOAT:
            return lambda env: types.exact_floats(node.run(env), env)
        case Kind.TEXT:
            return lambda env: types.parse_numbers(node.run(env), env)
    return node.run


# --- strings ------------------------------------------------------------------------------------------


def _of_text(usage: str, function: Callable[[Cells], Cells], result: Type = TEXT) -> Make:
    def make(arguments: Sequence[Node]) -> Node:
        require_kind(arguments[0], usage, Kind.TEXT)
        return Node(result, lambda env: function(arguments[0].run(env)))

    return make


def _lower(cells: Cells) -> Cells:
    return pc.utf8_lower(cells)


def _upper(cells: Cells) -> Cells:
    return pc.utf8_upper(cells)


def _trim(cells: Cells) -> Cells:
    return pc.utf8_trim_whitespace(cells)


def _length(cells: Cells) -> Cells:
    return pc.utf8_length(cells).cast(pa.int64())


def _left(arguments: Sequence[Node]) -> Node:
    require_kind(arguments[0], "left(text, n)", Kind.TEXT)
    count = require_integer(arguments[1], "left(text, n)", 1_000_000)
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
            clock = local(cells, kind).cast(pa.string())
            return pc.replace_substring_regex(pc.replace_substring(clock, " ", "T"), r"\.?0+$", "")
        case Kind.BOOLEAN:
            return pc.if_else(cells, "true", "false")
        case Kind.FLOAT:
            spelled = pc.replace_substring(cells.cast(pa.string()), "inf", "Infinity")
            return pc.replace_substring(spelled, "nan", "NaN")
    return cells.cast(pa.string())


def _decimal_text(cells: Cells, kind: Type) -> Cells:
    """Format decimals without trailing zeros, and without Arrow's exponent for values near zero."""
    if not kind.scale:
        return cells.cast(pa.string())
    if kind.scale <= _SCALE_WITHOUT_EXPONENT:
        return pc.replace_substring_regex(cells.cast(pa.string()), r"\.?0+$", "")
    size = pc.abs(cells).cast(pa.decimal256(types.MAX_PRECISION - 1, kind.scale))
    integers = pc.trunc(size)
    # Add one, because Arrow writes no exponent for values of 1 or more; then remove it from the string.
    decimals = pc.add(
        pc.subtract(size, integers).cast(pa.decimal256(kind.scale + 1, kind.scale)),
        pa.scalar(Decimal(1), pa.decimal256(1, 0)),
    ).cast(pa.string())
    texts = [
        pc.if_else(pc.less(cells, pa.scalar(0, pa.decimal128(1, 0))), "-", ""),
        integers.cast(pa.decimal256(types.MAX_PRECISION, 0)).cast(pa.string()),
        pc.replace_substring_regex(pc.utf8_slice_codeunits(decimals, 1), r"\.?0+$", ""),
    ]
    return pc.binary_join_element_wise(*texts, "")


_SCALE_WITHOUT_EXPONENT = 6


FUNCTIONS: dict[str, Function] = {
    "case": Function("case(condition, value, …, default)", 3, None, _case),
    "coalesce": Function("coalesce(a, b, …)", 1, None, _coalesce),
    "is_null": Function("is_null(x)", 1, 1, _is_null),
    "abs": Function("abs(x)", 1, 1, _abs),
    "round": Function("round(x, digits)", 1, 2, _round),
    "floor": Function("floor(x)", 1, 1, _floor),
    "least": Function("least(a, b, …)", 1, None, _extreme("least")),
    "greatest": Function("greatest(a, b, …)", 1, None, _extreme("greatest")),
    "integer": Function("integer(x)", 1, 1, _integer),
    "decimal": Function("decimal(x, p, s)", 3, 3, _decimal),
    "text": Function("text(x)", 1, 1, _text),
    "concat": Function("concat(a, b, …)", 1, 200, _concat),
    "lower": Function("lower(text)", 1, 1, _of_text("lower(text)", _lower)),
    "upper": Function("upper(text)", 1, 1, _of_text("upper(text)", _upper)),
    "trim": Function("trim(text)", 1, 1, _of_text("trim(text)", _trim)),
    "length": Function("length(text)", 1, 1, _of_text("length(text)", _length, INTEGER)),
    "left": Function("left(text, n)", 2, 2, _left),
    "year": Function("year(x)", 1, 1, part_of("year")),
    "quarter": Function("quarter(x)", 1, 1, part_of("quarter")),
    "month": Function("month(x)", 1, 1, part_of("month")),
    "day": Function("day(x)", 1, 1, part_of("day")),
    "weekday": Function("weekday(x)", 1, 1, part_of("weekday", monday_first)),
    "hour": Function("hour(timestamp)", 1, 1, part_of("hour")),
    "date": Function("date(timestamp)", 1, 1, date_of),
    "days_between": Function("days_between(start, end)", 2, 2, days_between),
    "seconds_between": Function("seconds_between(start, end)", 2, 2, seconds_between),
    "duration": Function("duration(start, end)", 2, 2, duration),
}
"""By name. weekday: Monday is 1. duration: H:MM:SS. days_between and seconds_between: end minus start."""
