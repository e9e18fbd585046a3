"""Parser of expressions: text in, a tree of parts out. Every part knows its position in the text.

Precedence, loosest first: `or`, `and`, `not`, comparisons and `in`, `+ -`, `* /`, unary `-`, calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import TypeAlias

MAX_CHARACTERS, MAX_DEPTH = 4_000, 40
TOO_DEEP = "this is nested too deeply; compute parts of it in hidden columns"

_WORDS = {"true": True, "false": False, "null": None}
_OPERATORS = frozenset({"and", "or", "not", "in"})
_TOKEN = re.compile(
    r"""(?P<blank>\s+|\#[^\n]*)
    |(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[^\W\d]\w*)?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<string>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
    |(?P<sign>==|!=|<=|>=|[-+*/<>(),\[\]])""",
    re.VERBOSE,
)
_NUMBER = re.compile(r"(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"'}
_LANGUAGE = (
    "an expression has column names, numbers, 'texts', true, false, null, + - * /, comparisons, in, and, or, "
    "not and functions"
)
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


class ExpressionError(ValueError):
    """Raised if an expression is invalid or its types do not match. The message is one line."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A literal: bool, str, int, Decimal or None."""

    position: int = field(compare=False)
    value: bool | str | int | Decimal | None


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a column."""

    position: int = field(compare=False)
    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function."""

    position: int = field(compare=False)
    name: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator with its operands: + - * / == != < <= > >= and or not in negate."""

    position: int = field(compare=False)
    operator: str
    parts: tuple[Part, ...]


Part: TypeAlias = Literal | Name | Call | Operation


@cache
def parse(text: str) -> Part:
    """Parse an expression.

    Raises:
        ExpressionError: The text is not an expression; the message names the position, counted from 1.
    """
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(
            f"an expression has at most {MAX_CHARACTERS:,} characters, not {len(text):,}; compute parts of "
            "it in hidden columns"
        )
    return _Parser(text).parse()


@cache
def names(text: str) -> tuple[str, ...]:
    """Return the columns that an expression needs, each once, in order of appearance.

    Raises:
        ExpressionError: The text cannot be parsed.
    """
    return tuple(dict.fromkeys(_names(parse(text))))


def _names(part: Part) -> Iterator[str]:
    if isinstance(part, Name):
        yield part.name
    elif not isinstance(part, Literal):
        for child in part.parts:
            yield from _names(child)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            what = "a string without its closing quote" if text[at] in "'\"" else f"unexpected {text[at]!r}"
            raise _error(at + 1, f"{what}; {_LANGUAGE}")
        kind = str(match.lastgroup)
        if kind == "name" and match[0] in _OPERATORS:
            kind = "sign"
        if kind != "blank":
            yield _Token(kind, match[0], at + 1)
        at = match.end()
    yield _Token("end", "", len(text) + 1)


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = list(_tokens(text))
        self.index = self.depth = 0

    def parse(self) -> Part:
        part = self.parse_expression()
        if self.token.kind != "end":
            raise self.unexpected()
        return part

    @property
    def token(self) -> _Token:
        return self.tokens[self.index]

    def take(self, *signs: str) -> str | None:
        """Take the next token if it is one of these signs."""
        token = self.token
        if token.kind != "sign" or token.text not in signs:
            return None
        self.index += 1
        return token.text

    def expect(self, sign: str) -> None:
        if not self.take(sign):
            raise self.unexpected(f"; {sign} is missing")

    def unexpected(self, hint: str = "") -> ExpressionError:
        token = self.token
        what = "unexpected end" if token.kind == "end" else f"unexpected {token.text}"
        return _error(token.position, f"{what}{hint or f'; {_LANGUAGE}'}")

    def parse_nested(self, parse: Callable[[], Part]) -> Part:
        """Parse a nested part; refuse nesting deeper than Python's own stack allows."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _error(
                self.token.position, "this is nested too deeply; compute parts of it in hidden columns"
            )
        part = parse()
        self.depth -= 1
        return part

    def parse_expression(self) -> Part:
        return self.parse_joined("or", lambda: self.parse_joined("and", self.parse_negation))

    def parse_joined(self, keyword: str, operand: Callable[[], Part]) -> Part:
        position = self.token.position
        parts = [operand()]
        while self.take(keyword):
            parts.append(operand())
        return parts[0] if len(parts) == 1 else Operation(position, keyword, tuple(parts))

    def parse_negation(self) -> Part:
        position = self.token.position
        if self.take("not"):
            return Operation(position, "not", (self.parse_nested(self.parse_negation),))
        return self.parse_comparison()

    def parse_comparison(self) -> Part:
        position = self.token.position
        left = self.parse_sum()
        negated = bool(self.take("not"))
        if negated or self.token.text == "in":
            self.expect("in")
            part: Part = Operation(position, "in", (left, *self.parse_list()))
            part = Operation(position, "not", (part,)) if negated else part
        elif sign := self.take(*_COMPARISONS):
            part = Operation(position, sign, (left, self.parse_sum()))
        else:
            return left
        if self.token.kind == "sign" and self.token.text in (*_COMPARISONS, "in"):
            raise _error(position, "write a < b and b < c, not a < b < c")
        return part

    def parse_list(self) -> list[Part]:
        """Parse the right side of `in`: values in parentheses or brackets, or a single one."""
        close = {"(": ")", "[": "]"}.get(self.take("(", "[") or "")
        if close is None:
            return [self.parse_sum()]
        parts = self.parse_arguments(close)
        if not parts:
            raise self.unexpected("; write values between the brackets, such as ('A', 'B')")
        return parts

    def parse_arguments(self, close: str) -> list[Part]:
        parts: list[Part] = []
        while not self.take(close):
            parts.append(self.parse_nested(self.parse_expression))
            if not self.take(","):
                self.expect(close)
                break
        return parts

    def parse_sum(self) -> Part:
        return self.parse_chain(("+", "-"), lambda: self.parse_chain(("*", "/"), self.parse_unary))

    def parse_chain(self, signs: tuple[str, ...], operand: Callable[[], Part]) -> Part:
        position = self.token.position
        left = operand()
        while sign := self.take(*signs):
            left = Operation(position, sign, (left, operand()))
        return left

    def parse_unary(self) -> Part:
        position = self.token.position
        if self.take("-"):
            return Operation(position, "negate", (self.parse_nested(self.parse_unary),))
        return self.parse_atom()

    def parse_atom(self) -> Part:
        token = self.token
        self.index += 1
        match token.kind:
            case "number":
                return Literal(token.position, _number(token))
            case "string":
                return Literal(token.position, _string(token))
            case "name":
                if self.take("("):
                    return Call(token.position, token.text, tuple(self.parse_arguments(")")))
                if token.text in _WORDS:
                    return Literal(token.position, _WORDS[token.text])
                return Name(token.position, token.text)
            case "sign" if token.text == "(":
                part = self.parse_nested(self.parse_expression)
                self.expect(")")
                return part
        self.index -= 1
        raise self.unexpected()


def _number(token: _Token) -> int | Decimal:
    if not _NUMBER.fullmatch(token.text):
        raise _error(
            token.position,
            f"{token.text} is not a value; there are numbers (1.25), 'texts', true, false, null",
        )
    return Decimal(token.text) if "." in token.text else int(token.text)


def _string(token: _Token) -> str:
    def unescape(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        if code:
            return chr(int(code, 16))
        if match[3] not in _ESCAPED:
            raise _error(token.position, f"{match[0]} is not an escape; write \\\\ for a backslash")
        return _ESCAPED[match[3]]

    return _ESCAPE.sub(unescape, token.text[1:-1])


def _error(position: int, message: str) -> ExpressionError:
    return ExpressionError(f"position {position}: {message}")
