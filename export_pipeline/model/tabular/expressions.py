"""Expressions of computed columns, e.g. `price - coalesce(fees, 0)`: checked once, then run in Arrow.

The language: column names, numbers (exact, never floats), 'texts', true, false, null, + - * /, comparisons
(== != < <= > >=), `x in ('A', 'B')`, and, or, not, and the functions of `expression_functions`. Nulls follow
SQL: null in, null out, and three-valued and, or, not. A sum, difference or product has every digit it can
have. A quotient is a decimal with at least 12 digits behind the point, halves away from zero; division by
zero gives null, and is counted. What overflows fails the export.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

import pyarrow as pa

from export_pipeline.model.columns import Kind
from export_pipeline.model.strict import unknown_name
from export_pipeline.model.tabular.expression_functions import FUNCTIONS
from export_pipeline.model.tabular.expression_nodes import Node
from export_pipeline.model.tabular.expression_operators import (
    BINARY,
    and_,
    compared,
    member,
    negated,
    not_,
    or_,
)
from export_pipeline.model.tabular.expression_types import (
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

_MOST_CHARACTERS, _MOST_DEPTH = 4_000, 40
_NUMBER = re.compile(r"\d+(\.\d*)?|\.\d+")
_WORDS = {"true": True, "false": False, "null": None}
_RESERVED = frozenset(keyword.kwlist) - {"and", "or", "not", "in", "None", "True", "False"}
_TEXT_OR_NAME = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[A-Za-z_][A-Za-z0-9_]*""")


class ExpressionError(ValueError):
    """An expression is not of the language, or its types do not go together. The message is one line."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression.

    Attributes:
        text: As it was written.
        names: The columns it needs.
        type: What it gives.
    """

    text: str
    names: tuple[str, ...]
    type: Type
    _node: Node

    def evaluate(self, columns: Mapping[str, Cells], rows: int, wanted: Type) -> tuple[Cells, Counter[str]]:
        """The cells for some rows, as a type that `fits`, and how many became empty by each reason.

        Raises:
            ComputeError: a cell overflows, or does not fit.
        """
        env = Env(rows, {name: columns[name] for name in self.names})
        try:
            return convert(self._node.run(env), self.type, wanted), env.counted
        except pa.ArrowInvalid as error:
            raise ComputeError(str(error)) from error


@cache
def names(text: str) -> tuple[str, ...]:
    """The columns that an expression needs, in the order they appear.

    Raises:
        ExpressionError: it cannot be parsed.
    """
    tree = _parsed(text)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = [
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and id(node) not in called and node.id not in _WORDS
    ]
    return tuple(dict.fromkeys(found))


def compiled(text: str, columns: Mapping[str, Type]) -> Expression:
    """A checked expression over columns of these types.

    Raises:
        ExpressionError: what is wrong, and at which position.
    """
    node = _Compiler(text, columns).node(_parsed(text).body, 1)
    return Expression(text, names(text), node.type, node)


def fits(given: Type, wanted: Type) -> str | None:
    """Why an expression's result must not become a column of a type, as digits could be lost; None: it may.

    Whether the digits before the point suffice, only the cells can say; what does not fit fails the export.
    """
    if given == wanted or given.kind is None or (given.number and wanted.kind is Kind.FLOAT):
        return None
    if given.kind is Kind.FLOAT and wanted.number:
        return f"it is a float; write round(…, {wanted.scale}) to make it {wanted}"
    if given.number and wanted.number:
        if given.scale <= wanted.scale:
            return None
        digits = f", {wanted.scale}" if wanted.scale else ""
        return f"it may have {given.scale} digits behind the point; write round(…{digits})"
    if given.kind is wanted.kind and (given.zone is None) == (wanted.zone is None):
        return None
    return f"it is {given}" + ("; write text(…)" if wanted == TEXT else "")


@cache
def _parsed(text: str) -> ast.Expression:
    if len(text) > _MOST_CHARACTERS:
        raise ExpressionError(
            f"an expression has at most {_MOST_CHARACTERS:,} characters, not {len(text):,}; compute parts of "
            "it in hidden columns"
        )
    try:
        tree = ast.parse(_source(text), mode="eval")
    except SyntaxError as error:
        where = _position(text, (error.lineno or 1), (error.offset or 1) - 1)
        raise ExpressionError(f"position {where}: this is no expression: {error.msg}") from None
    except (RecursionError, MemoryError, ValueError):
        raise ExpressionError("this is no expression, or is nested too deeply") from None
    if sum(1 for _ in ast.walk(tree)) > _MOST_CHARACTERS or isinstance(tree.body, ast.Tuple):
        raise ExpressionError("this is no single expression")
    return tree


@cache
def _source(text: str) -> str:
    """What is parsed: the text in parentheses, so that it may stand on several lines.

    A column may be called `class` or `from`. The parser takes such words for names if they begin with their
    letter's bold variant, which it reads as the letter itself.
    """
    written = f"({text}\n)"
    for source in (written, _TEXT_OR_NAME.sub(_as_name, written)):
        with suppress(SyntaxError, RecursionError, MemoryError, ValueError):
            ast.parse(source, mode="eval")
            return source
    return written


def _as_name(found: re.Match[str]) -> str:
    word = found[0]
    return chr(0x1D41A + ord(word[0]) - ord("a")) + word[1:] if word in _RESERVED else word


def _position(text: str, line: int, column: int) -> int:
    """The character, from 1, at a place of the text in parentheses."""
    before = sum(len(one) + 1 for one in text.split("\n")[: line - 1])
    return min(max(before + column + (line > 1), 1), max(len(text), 1))


class _Compiler:
    def __init__(self, text: str, columns: Mapping[str, Type]) -> None:
        self.text, self.columns = text, columns

    def node(self, part: ast.expr, depth: int) -> Node:
        """The checked form of a part; says where it stands if it is wrong."""
        try:
            if depth > _MOST_DEPTH:
                raise ValueError("this is nested too deeply; compute parts of it in hidden columns")
            return self._node(part, depth + 1)
        except ExpressionError:
            raise
        except ValueError as error:
            raise ExpressionError(f"position {self._where(part)}: {error}") from None

    def _where(self, part: ast.expr) -> int:
        line = _source(self.text).split("\n")[part.lineno - 1]
        return _position(self.text, part.lineno, len(line.encode()[: part.col_offset].decode()))

    def _node(self, part: ast.expr, depth: int) -> Node:
        match part:
            case ast.Name(id=name):
                return self._named(name)
            case ast.Constant():
                return self._constant(part)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return negated(self.node(operand, depth))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not_(self.node(operand, depth))
            case ast.BinOp(op=op, left=left, right=right) if type(op).__name__ in BINARY:
                return BINARY[type(op).__name__](self.node(left, depth), self.node(right, depth))
            case ast.BoolOp(op=op, values=values):
                join = and_ if isinstance(op, ast.And) else or_
                return join([self.node(value, depth) for value in values])
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._comparison(left, op, right, depth)
            case ast.Compare():
                raise ValueError("write a < b and b < c, not a < b < c")
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(name, arguments, depth)
        raise ValueError(
            "this is not of the language, which has column names, numbers, 'texts', true, false, null, "
            "+ - * /, comparisons, in, and, or, not and functions"
        )

    def _named(self, name: str) -> Node:
        if name in _WORDS:
            return _written(_WORDS[name])
        if name not in self.columns:
            raise ValueError(unknown_name(name, self.columns))
        return Node(self.columns[name], lambda env: env.columns[name])

    def _constant(self, part: ast.Constant) -> Node:
        if isinstance(part.value, str):
            return _written(part.value)
        written = ast.get_source_segment(_source(self.text), part) or ""
        if isinstance(part.value, bool) or part.value is None or not _NUMBER.fullmatch(written):
            raise ValueError(f"{written} is no value; there are numbers (1.25), 'texts', true, false, null")
        return _written(Decimal(written) if "." in written else int(written))

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr, depth: int) -> Node:
        if isinstance(op, ast.In | ast.NotIn):
            listed = right.elts if isinstance(right, ast.Tuple | ast.List) else [right]
            found = member(self.node(left, depth), [self.node(value, depth) for value in listed])
            return found if isinstance(op, ast.In) else not_(found)
        return compared(type(op).__name__, self.node(left, depth), self.node(right, depth))

    def _call(self, name: str, arguments: list[ast.expr], depth: int) -> Node:
        function = FUNCTIONS.get(name)
        if function is None:
            raise ValueError(unknown_name(name, FUNCTIONS))
        count = len(arguments)
        if count < function.least or (function.most is not None and count > function.most):
            raise ValueError(f"write {function.usage}; here are {count} arguments")
        return function.make([self.node(argument, depth) for argument in arguments])


def _written(value: Any) -> Node:
    """A value that is written down."""
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
    scalar = pa.scalar(value, kind.arrow)
    return Node(kind, lambda env: pa.repeat(scalar, env.rows), value)
