"""Random expressions, each with what it means in plain Python: None for null, Decimal for exact numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from hypothesis import strategies as st

from export_pipeline.expressions.types import BOOLEAN, DATE, INTEGER, TEXT, Type, decimal

EXACT = Context(prec=400)
Row = dict[str, Any]


class OverflowedError(Exception):
    """An integer left its 64 bits."""


@dataclass(frozen=True)
class Meaning:
    """An expression's text, its kind (int, dec, text, bool, date), scale, and value for a row."""

    text: str
    kind: str
    of: Callable[[Row], Any]
    scale: int = 0


COLUMNS: dict[str, tuple[Type, str, int]] = {
    "a": (INTEGER, "int", 0),
    "b": (INTEGER, "int", 0),
    "d": (decimal(12, 4), "dec", 4),
    "e": (decimal(9, 1), "dec", 1),
    "t": (TEXT, "text", 0),
    "u": (TEXT, "text", 0),
    "y": (BOOLEAN, "bool", 0),
    "day": (DATE, "date", 0),
}
_TEXTS = st.text(st.sampled_from("aAbÖé 漢'\\\"\n=-1"), max_size=5)


def _decimals(digits: int, scale: int) -> st.SearchStrategy[Decimal]:
    most = 10**digits - 1
    return st.integers(-most, most).map(lambda n: Decimal(n).scaleb(-scale, EXACT))


rows = st.lists(
    st.fixed_dictionaries(
        {
            "a": st.none() | st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1),
            "b": st.none() | st.integers(-3, 3),
            "d": st.none() | st.integers(-2, 2).map(Decimal) | _decimals(12, 4),
            "e": st.none() | _decimals(9, 1),
            "t": st.none() | _TEXTS,
            "u": st.none() | _TEXTS,
            "y": st.none() | st.booleans(),
            "day": st.none() | st.dates(),
        }
    ),
    min_size=1,
    max_size=8,
)


def _strict(function: Callable[..., Any]) -> Callable[..., Any]:
    """Null for null."""
    return lambda *values: None if None in values else function(*values)


def _int64(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise OverflowedError
    return value


def _arithmetic(sign: str, left: Meaning, right: Meaning) -> Meaning:
    function: Any = {"+": EXACT.add, "-": EXACT.subtract, "*": EXACT.multiply}.get(sign)
    text = f"({left.text} {sign} {right.text})"
    if sign == "/":
        scale = max(12, left.scale, right.scale)

        def divide(a: Any, b: Any) -> Any:
            if b == 0:
                return None
            return _half_up(a, b, scale)

        return Meaning(text, "dec", lambda row: _strict(divide)(left.of(row), right.of(row)), scale)
    if left.kind == right.kind == "int":
        exact = _strict(lambda a, b: _int64(int(function(Decimal(a), Decimal(b)))))
        return Meaning(text, "int", lambda row: exact(left.of(row), right.of(row)))
    scale = left.scale + right.scale if sign == "*" else max(left.scale, right.scale)
    exact = _strict(lambda a, b: function(Decimal(a), Decimal(b)))
    return Meaning(text, "dec", lambda row: exact(left.of(row), right.of(row)), scale)


def _half_up(a: Any, b: Any, scale: int) -> Decimal:
    """a / b with so many digits, computed with integers alone."""
    a, b = Decimal(a), Decimal(b)
    shift = max(0, -int(a.as_tuple().exponent), -int(b.as_tuple().exponent))
    upper, lower = int(a.scaleb(shift, EXACT)) * 10**scale, int(b.scaleb(shift, EXACT))
    sign = -1 if (upper < 0) != (lower < 0) else 1
    upper, lower = abs(upper), abs(lower)
    return Decimal(sign * ((2 * upper + lower) // (2 * lower))).scaleb(-scale, EXACT)


def rounded(value: Any, scale: int) -> Decimal:
    """Halves away from zero."""
    return Decimal(value).quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP, EXACT)


def plain(value: Any) -> str:
    """A number as text(x) says it."""
    text = f"{Decimal(value):f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


@st.composite
def meanings(draw: st.DrawFn, kind: str, depth: int = 3) -> Meaning:
    """A random expression of a kind; `num` is int or dec."""
    if kind == "num":
        kind = draw(st.sampled_from(("int", "dec")))
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(_leaves(kind))
    if draw(st.integers(0, 3)) == 0:
        return draw(_choices(kind, depth - 1))
    made: Meaning = draw(
        {"int": _ints, "dec": _decs, "text": _texts, "bool": _bools, "date": _dates}[kind](depth - 1)
    )
    return made


@st.composite
def _leaves(draw: st.DrawFn, kind: str) -> Meaning:
    names = [name for name, column in COLUMNS.items() if column[1] == kind]
    if kind == "date" or draw(st.booleans()):
        name = draw(st.sampled_from(names))
        return Meaning(name, kind, lambda row: row[name], COLUMNS[name][2])
    if kind == "int":
        number = draw(st.integers(0, 9) | st.integers(0, 10**17))
        return Meaning(str(number), kind, lambda row: number)
    if kind == "dec":
        value = draw(_decimals(4, 2).map(abs))
        return Meaning(f"{value:.2f}", kind, lambda row: value, 2)
    if kind == "bool":
        flag = draw(st.booleans())
        return Meaning(str(flag).lower(), kind, lambda row: flag)
    text = draw(_TEXTS)
    return Meaning(repr(text), kind, lambda row: text)


@st.composite
def _choices(draw: st.DrawFn, kind: str, depth: int) -> Meaning:
    """case, coalesce, least, greatest."""
    word = draw(st.sampled_from(("case", "coalesce", "least", "greatest")))
    inner = "num" if kind in ("int", "dec") else kind
    parts = [draw(meanings(kind, depth)), draw(meanings(inner if kind == "dec" else kind, depth))]
    scale = max(part.scale for part in parts)
    first, second = (part.of for part in parts)
    if word == "case" or kind == "bool":
        condition = draw(meanings("bool", depth))
        text = f"case({condition.text}, {parts[0].text}, {parts[1].text})"
        return Meaning(text, kind, lambda row: first(row) if condition.of(row) else second(row), scale)
    text = f"{word}({parts[0].text}, {parts[1].text})"
    if word == "coalesce":

        def coalesce(row: Row) -> Any:
            value = first(row)
            return second(row) if value is None else value

        return Meaning(text, kind, coalesce, scale)
    function = _strict(min if word == "least" else max)
    return Meaning(text, kind, lambda row: function(first(row), second(row)), scale)


@st.composite
def _ints(draw: st.DrawFn, depth: int) -> Meaning:
    word = draw(
        st.sampled_from(("+", "-", "*", "neg", "abs", "length", "year", "weekday", "days", "flag", "int"))
    )
    if word in "+-*":
        return _arithmetic(word, draw(meanings("int", depth)), draw(meanings("int", depth)))
    if word in ("neg", "abs"):
        one = draw(meanings("int", depth))
        sign = _strict(lambda n: _int64(-n if word == "neg" else abs(n)))
        return Meaning(
            f"(-{one.text})" if word == "neg" else f"abs({one.text})", "int", lambda row: sign(one.of(row))
        )
    if word == "days":
        start, end = draw(meanings("date", depth)), draw(meanings("date", depth))
        days = _strict(lambda a, b: (b - a).days)
        return Meaning(
            f"days_between({start.text}, {end.text})", "int", lambda row: days(start.of(row), end.of(row))
        )
    kind, text, function = {
        "length": ("text", "length({})", len),
        "year": ("date", "year({})", lambda day: day.year),
        "weekday": ("date", "weekday({})", date.isoweekday),
        "flag": ("bool", "integer({})", int),
        "int": ("dec", "integer(round(decimal({}, 30, 6)))", None),
    }[word]
    one = draw(meanings(kind, 0 if word == "int" else depth))
    if function is None:
        function = lambda value: int(rounded(rounded(value, 6), 0))  # noqa: E731
    strict = _strict(function)
    return Meaning(text.format(one.text), "int", lambda row: strict(one.of(row)))


@st.composite
def _decs(draw: st.DrawFn, depth: int) -> Meaning:
    word = draw(st.sampled_from(("+", "-", "*", "/", "/", "round", "neg", "abs")))
    if word in "+-*/":
        left, right = draw(meanings("dec", depth)), draw(meanings("num", depth))
        return _arithmetic(word, *draw(st.permutations((left, right))))
    one = draw(meanings("dec", depth))
    if word == "round":
        digits = draw(st.integers(0, 5))
        scale = min(one.scale, digits)
        round_ = _strict(lambda value: rounded(value, scale))
        return Meaning(f"round({one.text}, {digits})", "dec", lambda row: round_(one.of(row)), scale)
    sign = _strict(EXACT.minus if word == "neg" else EXACT.abs)
    text = f"(-{one.text})" if word == "neg" else f"abs({one.text})"
    return Meaning(text, "dec", lambda row: sign(one.of(row)), one.scale)


@st.composite
def _texts(draw: st.DrawFn, depth: int) -> Meaning:
    word = draw(st.sampled_from(("concat", "text", "lower", "left", "trim")))
    if word == "concat":
        left, right = draw(meanings("text", depth)), draw(meanings("text", depth))
        join = _strict(lambda a, b: a + b)
        return Meaning(
            f"concat({left.text}, {right.text})", "text", lambda row: join(left.of(row), right.of(row))
        )
    if word == "text":
        number = draw(meanings("num", depth))
        say = _strict(plain)
        return Meaning(f"text({number.text})", "text", lambda row: say(number.of(row)))
    one = draw(meanings("text", depth))
    count = draw(st.integers(0, 4))
    function: Any = _strict({"lower": str.lower, "left": lambda text: text[:count], "trim": str.strip}[word])
    text = f"left({one.text}, {count})" if word == "left" else f"{word}({one.text})"
    return Meaning(text, "text", lambda row: function(one.of(row)))


@st.composite
def _dates(draw: st.DrawFn, depth: int) -> Meaning:
    one = draw(meanings("date", depth))
    return Meaning(f"date({one.text})", "date", one.of)


@st.composite
def _bools(draw: st.DrawFn, depth: int) -> Meaning:
    word = draw(st.sampled_from(("compare", "and", "or", "not", "in", "is_null")))
    if word == "not":
        one = draw(meanings("bool", depth))
        return Meaning(f"(not {one.text})", "bool", lambda row: _strict(lambda flag: not flag)(one.of(row)))
    if word in ("and", "or"):
        left, right = draw(meanings("bool", depth)), draw(meanings("bool", depth))
        settled = word == "or"

        def logic(row: Row) -> bool | None:
            first = left.of(row)
            if first is settled:
                return settled
            second = right.of(row)
            if second is settled:
                return settled
            return None if first is None or second is None else not settled

        return Meaning(f"({left.text} {word} {right.text})", "bool", logic)
    kind = draw(st.sampled_from(("num", "text", "date")))
    one = draw(meanings(kind, depth))
    if word == "is_null":
        return Meaning(f"is_null({one.text})", "bool", lambda row: one.of(row) is None)
    if word == "in" and kind == "text":
        values = draw(st.lists(_TEXTS, min_size=1, max_size=3))
        member = _strict(lambda text: text in values)
        listed = ", ".join(map(repr, values))
        return Meaning(f"({one.text} in ({listed}))", "bool", lambda row: member(one.of(row)))
    other = draw(meanings(kind, depth))
    sign, compare = draw(
        st.sampled_from(
            (
                ("==", lambda a, b: a == b),
                ("!=", lambda a, b: a != b),
                ("<", lambda a, b: a < b),
                ("<=", lambda a, b: a <= b),
                (">", lambda a, b: a > b),
                (">=", lambda a, b: a >= b),
            )
        )
    )
    return Meaning(
        f"({one.text} {sign} {other.text})",
        "bool",
        lambda row: _strict(compare)(one.of(row), other.of(row)),
    )
