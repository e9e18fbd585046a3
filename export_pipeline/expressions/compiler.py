"""Expressions of computed columns, e.g. `price - coalesce(fees, 0)`: checked once, then run in Arrow.

The language: column names, numbers (exact, never floats), 'strings', true, false, null, + - * /, comparisons
(== != < <= > >=), `x in ('A', 'B')`, and, or, not, and the functions of `functions`. Nulls follow
SQL: null in, null out, and three-valued and, or, not. A sum, difference or product keeps every digit.
A quotient is a decimal with at least 12 decimal places, rounded half away from zero. Division by
zero gives null and is counted. An overflow fails the export.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from export_pipeline.core.arrow import pa
from export_pipeline.core.columns import Kind
from export_pipeline.core.strict_model import describe_unknown_name
from export_pipeline.expressions.functions import FUNCTIONS
from export_pipeline.expressions.nodes import Node
from export_pipeline.expressions.operators import (
    ARITHMETIC,
    and_,
    compare,
    negate,
    not_,
    or_,
    test_membership,
)
from export_pipeline.expressions.parser import (
    MAX_DEPTH,
    TOO_DEEP,
    Call,
    ExpressionError,
    Literal,
    Name,
    Part,
    names,
    parse,
)
from export_pipeline.expressions.types import (
    BOOLEAN,
    INTEGER,
    NULL,
    TEXT,
    Cells,
    ComputeError,
    Env,
    Type,
    convert,
    decimal,
)


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression.

    Attributes:
        text: The source text.
        names: The columns it reads.
        type: The type of its result.
    """

    text: str
    names: tuple[str, ...]
    type: Type
    _node: Node

    def evaluate(self, columns: Mapping[str, Cells], rows: int, target: Type) -> tuple[Cells, Counter[str]]:
        """Return the rows' cells as a fitting type, and the count of cells that became null, by reason.

        Raises:
            ComputeError: A cell overflows, or does not fit.
        """
        env = Env(rows, {name: columns[name] for name in self.names})
        try:
            return convert(self._node.run(env), self.type, target), env.counted
        except pa.ArrowInvalid:  # its message may quote a cell
            raise ComputeError("a cell overflows, or does not fit its type") from None


def compile_expression(text: str, columns: Mapping[str, Type]) -> Expression:
    """Return a checked expression over columns of these types.

    Raises:
        ExpressionError: The expression is invalid; the message names the problem and its position.
    """
    node = _Compiler(columns).node(parse(text), 1)
    return Expression(text, names(text), node.type, node)


def explain_mismatch(type: Type, declared: Type) -> str | None:
    """Return why a column of a type cannot hold an expression's result without losing digits; None if it can.

    Digits before the decimal point are only checked per cell: a value that does not fit fails the export.
    """
    if type == declared or type.kind is None or (type.number and declared.kind is Kind.FLOAT):
        return None
    if type.kind is Kind.FLOAT and declared.number:
        return f"it is a float; write round(…, {declared.scale}) to make it {declared}"
    if type.number and declared.number:
        if type.scale <= declared.scale:
            return None
        digits = f", {declared.scale}" if declared.scale else ""
        return f"it may have {type.scale} decimal places; write round(…{digits})"
    if type.kind is declared.kind and (type.zone is None) == (declared.zone is None):
        return None
    return f"it is {type}" + ("; write text(…)" if declared == TEXT else "")


class _Compiler:
    def __init__(self, columns: Mapping[str, Type]) -> None:
        self.columns = columns

    def node(self, part: Part, depth: int) -> Node:
        """Return the checked form of a part; an error names the part's position."""
        try:
            if depth > MAX_DEPTH:
                raise ValueError(TOO_DEEP)
            return self._node(part, depth + 1)
        except ExpressionError:
            raise
        except ValueError as error:
            raise ExpressionError(f"position {part.position}: {error}") from None

    def _node(self, part: Part, depth: int) -> Node:
        match part:
            case Literal(value=value):
                return _literal_node(value)
            case Name(name=name):
                if name not in self.columns:
                    raise ValueError(describe_unknown_name(name, self.columns))
                return Node(self.columns[name], lambda env: env.columns[name])
            case Call(name=name, parts=arguments):
                return self._call(name, arguments, depth)
        nodes = [self.node(operand, depth) for operand in part.parts]
        match part.operator:
            case "negate":
                return negate(*nodes)
            case "not":
                return not_(*nodes)
            case "and":
                return and_(nodes)
            case "or":
                return or_(nodes)
            case "in":
                return test_membership(nodes[0], nodes[1:])
            case sign if sign in ARITHMETIC:
                return ARITHMETIC[sign](*nodes)
        return compare(part.operator, *nodes)

    def _call(self, name: str, arguments: tuple[Part, ...], depth: int) -> Node:
        function = FUNCTIONS.get(name)
        if function is None:
            raise ValueError(describe_unknown_name(name, FUNCTIONS))
        count = len(arguments)
        if count < function.least or (function.most is not None and count > function.most):
            raise ValueError(f"write {function.usage}; here are {count} arguments")
        return function.make([self.node(argument, depth) for argument in arguments])


def _literal_node(value: Any) -> Node:
    """Return the node of a literal."""
    kind = NULL
    if isinstance(value, bool):
        kind = BOOLEAN
    elif isinstance(value, str):
        kind = TEXT
    elif isinstance(value, Decimal):
        _, digits, exponent = value.as_tuple()
        kind = decimal(max(len(digits), -int(exponent)), -int(exponent))
    elif isinstance(value, int):
        count = len(str(value))
        if count < INTEGER.digits:
            kind = Type(Kind.INTEGER, count)
        else:
            kind, value = decimal(count, 0), Decimal(value)
    return Node(kind, lambda env: pa.repeat(pa.scalar(value, kind.arrow), env.rows), value)
