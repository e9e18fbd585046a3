"""The operators of expressions: + - * /, comparisons, `in`, and, or, not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import TypeAlias

from export_pipeline.core.arrow import pa, pc
from export_pipeline.core.columns import Kind
from export_pipeline.expressions.nodes import Node, as_type, unify
from export_pipeline.expressions.types import (
    BOOLEAN,
    DATE,
    FLOAT,
    INTEGER,
    NULL,
    Cells,
    ComputeError,
    Env,
    Type,
    common_type,
    decimal,
    round_decimals,
)

Operation: TypeAlias = str
"""Name of one of Arrow's functions: expressions are also checked where Arrow is not loaded."""

BY_ZERO = "division by zero, left empty"
_QUOTIENT_SCALE = 12


# --- calculation --------------------------------------------------------------------------------------


def add(left: Node, right: Node) -> Node:
    """Return left + right."""
    return _sum(left, right, "add_checked", "+")


def subtract(left: Node, right: Node) -> Node:
    """Return left - right."""
    return _sum(left, right, "subtract_checked", "-")


def _sum(left: Node, right: Node, function: Operation, sign: str) -> Node:
    type = _numbers(left, right, sign)
    if type.kind is not Kind.DECIMAL:
        return _plain(left, right, function, sign)
    return _exact(left, right, (type, type), decimal(type.digits + 1, type.scale), function)


def multiply(left: Node, right: Node) -> Node:
    """Return left * right."""
    if _numbers(left, right, "*").kind is not Kind.DECIMAL:
        return _plain(left, right, "multiply_checked", "*")
    parts = _as_decimal(left), _as_decimal(right)
    result = decimal(sum(part.digits for part in parts) + 1, sum(part.scale for part in parts))
    return _exact(left, right, parts, result, "multiply")


def _exact(left: Node, right: Node, parts: tuple[Type, Type], result: Type, function: Operation) -> Node:
    """Return an operation on decimals of these types. `result` is exactly the type that Arrow returns."""
    runs = as_type(left, parts[0]), as_type(right, parts[1])

    def run(env: Env) -> Cells:
        return _call(function, *_widen(runs[0](env), runs[1](env), result.digits))

    return Node(result, run)


def _widen(first: Cells, second: Cells, digits: int) -> tuple[Cells, Cells]:
    """Cast decimals to a width that holds a result of so many digits."""
    if digits <= 38:
        return first, second
    return tuple(c.cast(pa.decimal256(c.type.precision, c.type.scale)) for c in (first, second))


def divide(left: Node, right: Node) -> Node:
    """Return left / right."""
    if _numbers(left, right, "/").kind is Kind.FLOAT:
        runs = [as_type(node, FLOAT) for node in (left, right)]
        return Node(FLOAT, lambda env: _float("divide", runs[0](env), _divisor(runs[1](env), env), "/"))
    first, second = (_as_decimal(node) for node in (left, right))
    scale = max(_QUOTIENT_SCALE, first.scale, second.scale)
    # Arrow's quotient has first.scale - second.scale + second.digits + 1 decimal places, truncated. With one
    # place more than wanted, rounding is exact.
    decimals = max(first.scale, scale + 1 - (second.digits - second.scale + 1))
    scaled = decimal(first.digits - first.scale + decimals, decimals)
    digits = decimal(scaled.digits + second.digits + 1, 0).digits
    result = decimal(first.digits - first.scale + second.scale + scale, scale)
    runs = [as_type(left, scaled), as_type(right, second)]

    def run(env: Env) -> Cells:
        upper, lower = runs[0](env), _divisor(runs[1](env), env)
        return round_decimals(pc.divide(*_widen(upper, lower, digits)), scale, result.digits)

    return Node(result, run)


ARITHMETIC: dict[str, Callable[[Node, Node], Node]] = {"+": add, "-": subtract, "*": multiply, "/": divide}


def negate(node: Node) -> Node:
    """Return -x."""
    if not node.type.number:
        raise ValueError(f"- needs a number, not {node.type}")
    if node.literal is not None:
        return Node(node.type, lambda env: pc.negate_checked(node.run(env)), -node.literal)
    return Node(node.type, lambda env: pc.negate_checked(node.run(env)))


def _numbers(left: Node, right: Node, sign: str) -> Type:
    for node in (left, right):
        if not node.type.number:
            raise ValueError(f"{sign} needs numbers, not {node.type}")
    return common_type(left.type, right.type)


def _as_decimal(node: Node) -> Type:
    return node.type if node.type.kind is Kind.DECIMAL else decimal(node.type.digits, 0)


def _plain(left: Node, right: Node, function: Operation, sign: str) -> Node:
    """Return an operation on integers or floats."""
    type = FLOAT if FLOAT in (left.type, right.type) else INTEGER
    runs = as_type(left, type), as_type(right, type)

    def run(env: Env) -> Cells:
        first, second = runs[0](env), runs[1](env)
        if type is FLOAT:
            return _float(function, first, second, sign)
        try:
            return _call(function, first, second)
        except pa.ArrowInvalid:
            raise ComputeError(f"{sign} gives an integer of more than 64 bits") from None

    return Node(type, run)


def _float(function: Operation, first: Cells, second: Cells, sign: str) -> Cells:
    """Run an operation on floats; the result of finite floats must not be infinite."""
    result = _call(function, first, second)
    made = pc.and_(pc.is_inf(result), pc.and_(pc.is_finite(first), pc.is_finite(second)))
    if pc.any(made).as_py():
        raise ComputeError(f"{sign} gives a float that is too large")
    return result


def _call(function: Operation, first: Cells, second: Cells) -> Cells:
    return getattr(pc, function)(first, second)


def _divisor(cells: Cells, env: Env) -> Cells:
    zero = pa.scalar(Decimal(0) if pa.types.is_decimal(cells.type) else 0.0, cells.type)
    kept = pc.if_else(pc.equal(cells, zero), pa.scalar(None, cells.type), cells)
    env.emptied(cells, kept, BY_ZERO)
    return kept


# --- comparison ---------------------------------------------------------------------------------------

_COMPARE = {
    "==": "equal", "!=": "not_equal",
    "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal",
}  # fmt: skip


def compare(sign: str, left: Node, right: Node) -> Node:
    """Return a comparison: == != < <= > >=. Dates may be compared with a literal such as '2026-11-21'."""
    if NULL in (left.type, right.type):
        raise ValueError("nothing is equal to null; use is_null(x)")
    left, right = _day(left, right.type), _day(right, left.type)
    _, runs = unify((left, right))
    return Node(BOOLEAN, lambda env: _call(_COMPARE[sign], runs[0](env), runs[1](env)))


def _day(node: Node, other: Type) -> Node:
    """Convert a string literal that is compared with dates to a date."""
    if other.kind is not Kind.DATE or not isinstance(node.literal, str):
        return node
    try:
        day = date.fromisoformat(node.literal)
    except ValueError:
        raise ValueError(f"{node.literal!r} is not a day such as '2026-11-21'") from None
    return Node(DATE, lambda env: pa.repeat(pa.scalar(day, pa.date32()), env.rows), node.literal)


def test_membership(node: Node, values: Sequence[Node]) -> Node:
    """Return the node of `x in (a, b, …)`.

    Raises:
        ValueError: a value is not a literal, or not of a type that compares with the node.
    """
    if any(value.literal is None for value in values):
        raise ValueError("in needs literal values, as in x in ('A', 'B'), and not null")
    _, runs = unify([node, *(_day(value, node.type) for value in values)])

    def run(env: Env) -> Cells:
        cells = runs[0](env)
        one = Env(1, {})
        matches = pc.is_in(cells, value_set=pa.concat_arrays([value(one) for value in runs[1:]]))
        return pc.if_else(cells.is_null(), pa.scalar(None, pa.bool_()), matches)

    return Node(BOOLEAN, run)


# --- logic --------------------------------------------------------------------------------------------


def and_(nodes: Sequence[Node]) -> Node:
    """Return the conjunction of these: false if one is false, else null if one is null."""
    return _logic(nodes, "and")


def or_(nodes: Sequence[Node]) -> Node:
    """Return the disjunction of these: true if one is true, else null if one is null."""
    return _logic(nodes, "or")


def not_(node: Node) -> Node:
    """Return the negation; null for null."""
    _truths((node,), "not")
    return Node(BOOLEAN, lambda env: pc.invert(node.run(env)))


def _truths(nodes: Sequence[Node], operator: str) -> None:
    for node in nodes:
        if node.type != BOOLEAN:
            raise ValueError(f"{operator} needs conditions, not {node.type}")


def _logic(nodes: Sequence[Node], operator: str) -> Node:
    _truths(nodes, operator)
    settled = operator == "or"

    def run(env: Env) -> Cells:
        kleene = pc.or_kleene if settled else pc.and_kleene
        result = nodes[0].run(env)
        for node in nodes[1:]:
            # Rows already decided are not evaluated: `b != 0 and a / b > 1` never divides by zero.
            open_ = pc.fill_null(pc.not_equal(result, settled), True)
            rest = env.only(open_)
            if not rest.rows:
                return result
            more = node.run(rest)
            result = pc.replace_with_mask(result, open_, kleene(result.filter(open_), more))
        return result

    return Node(BOOLEAN, run)
