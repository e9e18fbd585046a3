from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from export_pipeline.core.columns import Kind
from export_pipeline.expressions.compiler import compile_expression, explain_mismatch
from export_pipeline.expressions.parser import ExpressionError, names
from export_pipeline.expressions.types import BOOLEAN, DATE, FLOAT, INTEGER, TEXT, ComputeError, Type, decimal
from export_pipeline_tests.expressions.random_expressions import (
    COLUMNS,
    Meaning,
    OverflowedError,
    meanings,
    rows,
)
from export_pipeline_tests.tabular.random_exports import exact

BERLIN = Type(Kind.TIMESTAMP, zone="Europe/Berlin")
UTC_TIME = Type(Kind.TIMESTAMP, zone="UTC")
WALL = Type(Kind.TIMESTAMP)


def value(text: str, type: Type | None = None, **cells: tuple[Type, Any]) -> Any:
    """The result of an expression for one row."""
    return counted(text, type, **cells)[0]


def counted(text: str, type: Type | None = None, **cells: tuple[Type, Any]) -> tuple[Any, dict[str, int]]:
    expression = compile_expression(text, {name: kind for name, (kind, _) in cells.items()})
    arrays = {name: pa.array([cell], kind.arrow) for name, (kind, cell) in cells.items()}
    made, emptied = expression.evaluate(arrays, 1, type or expression.type)
    assert made.type == (type or expression.type).arrow
    return made[0].as_py(), dict(emptied)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(meaning=st.sampled_from(("int", "dec", "text", "bool", "date")).flatmap(meanings), rows=rows)
def test_expressions_mean_what_they_mean_in_python(meaning: Meaning, rows: list[dict[str, Any]]) -> None:
    types = {name: column[0] for name, column in COLUMNS.items()}
    try:
        expression = compile_expression(meaning.text, types)
    except ExpressionError as error:
        assert "digits, and a decimal holds 76" in str(error) or "nested too deeply" in str(error)
        reject()
    columns = {name: pa.array([row[name] for row in rows], kind.arrow) for name, kind in types.items()}
    try:
        expected = [meaning.of(row) for row in rows]
    except OverflowedError:
        with pytest.raises(ComputeError):
            expression.evaluate(columns, len(rows), expression.type)
        return
    made, _ = expression.evaluate(columns, len(rows), expression.type)
    assert made.type == expression.type.arrow
    assert made.to_pylist() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pric + 1", "position 1: there is no 'pric'; did you mean price?"),
        ("1 + rond(price)", "position 5: there is no 'rond'; did you mean round?"),
        ("price +", "position"),
        ("name + 1", "position 1: + needs numbers, not text"),
        ("round(price, price)", "position 1: round(x, digits) needs a literal number"),
        ("round()", "write round(x, digits); here are 0 arguments"),
        ("case(name, 1, 2)", "case(condition, …) needs boolean, not text"),
        ("case(true, 1, 'x')", "integer and text do not go together"),
        ("case(true, 1, false, 2)", "ends with a default"),
        ("price == null", "is_null(x)"),
        ("1 < price < 3", "write a < b and b < c"),
        ("price < name", "integer and text do not go together"),
        ("at < wall", "timestamp and timestamp without zone do not go together"),
        ("at < day", "timestamp and date do not go together"),
        ("day < '2026-02-30'", "'2026-02-30' is not a day"),
        ("name in (name, 'b')", "in needs literal values"),
        ("name in ('a', null)", "and not null"),
        ("1e5", "1e5 is not a value"),
        ("0x1F", "0x1F is not a value"),
        ("1_000", "1_000 is not a value"),
        ("2 ** 3", "position 4: unexpected *"),
        ("price // 2", "position 8: unexpected /"),
        ("price.real", "position 6: unexpected '.'"),
        ("name[0]", "position 5: unexpected ["),
        ("[c for c in name]", "position 1: unexpected ["),
        ("lambda: 1", "position 7: unexpected ':'"),
        ("f'{price}'", "position 2: unexpected '{price}'"),
        ("(price := 1)", "position 8: unexpected ':'"),
        ("1 if true else 2", "position 3: unexpected if"),
        ("round(price, digits=2)", "position 20: unexpected '='"),
        ("round(*name)", "position 7: unexpected *"),
        ("name.upper()", "position 5: unexpected '.'"),
        ("__import__('os')", "there is no '__import__'"),
        ("b'x'", "position 2: unexpected 'x'"),
        ("True", "there is no 'True'"),
        ("...", "position 1: unexpected '.'"),
        ("price, name", "position 6: unexpected ,"),
        ("", "position 1: unexpected end"),
        ("price; name", "an expression has column names"),
        ("\0", "position 1: unexpected '\\x00'"),
        ("(" * 300 + "1" + ")" * 300, "nested too deeply"),
        ("(price", "position 7: unexpected end; ) is missing"),
        ("name in ()", "position 11: unexpected end; write values"),
        ("name == 'a", "a string without its closing quote"),
        (r"name == '\q'", r"\q is not an escape"),
        ("007", "007 is not a value"),
        ("-" * 3000 + "1", "nested too deeply"),
        ("not " * 60 + "true", "nested too deeply"),
        ("1" + " + 1" * 1500, "at most 4,000 characters"),
        ("decimal(price, 80, 2)", "a literal number from 0 to 76"),
        ("decimal(price, 5, 6)", "precision of 1 to 76"),
        ("wide * wide", "this may have 77 digits, and a decimal holds 76"),
        ("wide / wide", "this may have 77 digits"),
    ],
)
def test_invalid_expressions_are_refused(text: str, message: str) -> None:
    types = {
        "price": INTEGER, "name": TEXT, "day": DATE, "at": UTC_TIME, "wall": WALL, "wide": decimal(38, 10),
    }  # fmt: skip
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text, types)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_positions_count_characters_over_lines() -> None:
    for text in ("'é漢' == name and pric", "'é漢' == name\n\nand pric"):
        with pytest.raises(ExpressionError, match=f"^position {text.index('pric') + 1}: there is no 'pric'"):
            compile_expression(text, {"name": TEXT})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 / 3", Decimal("0.333333333333")),
        ("2 / 3", Decimal("0.666666666667")),
        ("-2 / 3", Decimal("-0.666666666667")),
        ("round(2.5)", Decimal(3)),
        ("round(-2.5)", Decimal(-3)),
        ("round(9.995, 2)", Decimal("10.00")),
        ("1.10 * 3", Decimal("3.30")),
        ("0.1 + 0.2 == 0.3", True),
        ("text(1.500)", "1.5"),
        ("text(0.00000001)", "0.00000001"),
        ("text(-0.00000001)", "-0.00000001"),
        ("text(0.0000000)", "0"),
        ("text(true)", "true"),
        ("left('漢字é', 2)", "漢字"),
        ("length('漢字é')", 3),
        ("concat('a', 1, ' ', 1.50, null)", None),
        ("concat('a', 1, ' ', 1.50)", "a1 1.5"),
        ("integer(' 007 ')", 7),
        ("decimal('1.005', 5, 2)", Decimal("1.01")),
        ("case(false, 1, null)", None),
        ("coalesce(null, 'x')", "x"),
        ("null", None),
        ("is_null(null)", True),
        ("null in (1, 2)", None),
        ("1 not in (1, 2)", False),
        ("false and 1 / 0 == 1", False),
        ("9223372036854775807 + 1", Decimal(2**63)),
        ("'a' == 'a' and not 'a' == 'A'", True),
    ],
)
def test_literals_and_operators_have_their_value(text: str, expected: Any) -> None:
    assert value(text) == expected


def test_division_by_zero_is_null_and_counted_only_where_it_is_done() -> None:
    zero = {"a": (INTEGER, 1), "b": (INTEGER, 0), "f": (FLOAT, 0.0)}
    assert counted("a / b", **zero) == (None, {"division by zero, left empty": 1})
    assert counted("a / f", **zero) == (None, {"division by zero, left empty": 1})
    assert counted("case(b == 0, 0, a / b)", **zero) == (0, {})
    assert counted("b != 0 and a / b > 1", **zero) == (False, {})
    assert counted("coalesce(a, a / b)", **zero) == (1, {})
    assert counted("a / coalesce(null, b, 5)", **zero) == (None, {"division by zero, left empty": 1})


@pytest.mark.parametrize(
    "text",
    ["a + 1", "a * 2", "-(-a - 1)", "abs(-a - 1)", "f * f", "f + f", "integer(f)", "round(f, 2)", "integer(0.5)",
     "decimal(a, 5, 2)", "decimal('123456', 5, 0)", "integer(9223372036854775808)"],
)  # fmt: skip
def test_a_result_that_overflows_fails(text: str) -> None:
    with pytest.raises(ComputeError):
        value(text, a=(INTEGER, 2**63 - 1), f=(FLOAT, 1e308))


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (2.675, "2.68"),
        (0.285, "0.29"),
        (-0.005, "-0.01"),
        (1e22, "1e22"),
        (1e-30, "0"),
        (123456789.125, "123456789.13"),
    ],
)
def test_floats_are_rounded_by_the_digits_that_people_see(number: float, expected: str) -> None:
    assert value("round(f, 2)", f=(FLOAT, number)) == Decimal(expected)
    assert value("decimal(f, 38, 2)", f=(FLOAT, number)) == Decimal(expected)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_no_finite_number_becomes_a_decimal(number: float) -> None:
    assert counted("round(f)", f=(FLOAT, number)) == (None, {"not a finite number, left empty": 1})


@settings(max_examples=200, deadline=None)
@given(exact(12, 4) | exact(38, 10) | exact(60, 20))
def test_decimals_become_the_nearest_float(number: Decimal) -> None:
    assert value("d", FLOAT, d=(decimal(60, 20), number)) == float(number)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0.1, "0.1"), (1e22, "1e+22"), (float("nan"), "NaN"), (float("-inf"), "-Infinity"), (-2.0, "-2")],
)
def test_a_float_becomes_its_shortest_text(number: float, expected: str) -> None:
    assert value("text(f)", f=(FLOAT, number)) == expected


def test_texts_that_are_no_numbers_become_empty_and_are_counted() -> None:
    for text in ("", "x", "1e5", "1,5", "0x1", "--1", "١", "9" * 39):
        assert counted("decimal(t, 38, 2)", t=(TEXT, text)) == (
            None,
            {"text that is not a number, left empty": 1},
        )
    assert counted("decimal(t, 38, 2)", t=(TEXT, None)) == (None, {})


def test_times_are_read_by_the_clock_of_their_zone() -> None:
    spring = (BERLIN, datetime(2026, 3, 29, 1, 30, tzinfo=UTC))  # 03:30, as 02:30 does not exist
    new_year = (BERLIN, datetime(2026, 12, 31, 23, 30, 0, 500_000, tzinfo=UTC))
    assert value("hour(x)", x=spring) == 3
    assert value("text(x)", x=new_year) == "2027-01-01T00:30:00.5"
    assert value("text(x)", x=spring) == "2026-03-29T03:30:00"
    assert value("date(x)", x=new_year) == date(2027, 1, 1)
    assert [value(f"{part}(x)", x=new_year) for part in ("year", "quarter", "month", "day", "weekday")] == [
        2027,
        1,
        1,
        1,
        5,
    ]
    assert value("hour(x)", x=(WALL, datetime(2026, 3, 29, 2, 30))) == 2
    assert value("year(x)", x=(UTC_TIME, datetime(1, 1, 1, tzinfo=UTC))) == 1
    assert value("days_between(x, y)", x=spring, y=new_year) == 278


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0:00:00"),
        (59.999, "0:00:59"),
        (3_661, "1:01:01"),
        (-1, "-0:00:01"),
        (-0.5, "0:00:00"),
        (400_000, "111:06:40"),
    ],
)
def test_a_duration_is_hours_minutes_and_seconds(seconds: float, expected: str) -> None:
    start = datetime(2026, 3, 29, 0, 59, tzinfo=UTC)
    end = datetime.fromtimestamp(start.timestamp() + seconds, UTC)
    cells = {"a": (UTC_TIME, start), "b": (BERLIN, end)}
    assert value("duration(a, b)", **cells) == expected
    assert value("seconds_between(a, b)", **cells) == Decimal(str(seconds))


def test_a_result_must_not_lose_digits() -> None:
    cents = decimal(12, 2)
    assert explain_mismatch(INTEGER, cents) is None
    assert explain_mismatch(decimal(20, 2), cents) is None
    assert "round(…, 2)" in (explain_mismatch(decimal(12, 4), cents) or "")
    assert "round(…)" in (explain_mismatch(decimal(12, 4), INTEGER) or "")
    assert "it is a float" in (explain_mismatch(FLOAT, cents) or "")
    assert explain_mismatch(decimal(12, 4), FLOAT) is None
    assert "text(…)" in (explain_mismatch(INTEGER, TEXT) or "")
    assert explain_mismatch(TEXT, BOOLEAN) == "it is text"
    assert explain_mismatch(UTC_TIME, BERLIN) is None
    assert explain_mismatch(UTC_TIME, WALL) is not None
    assert value("a", cents, a=(INTEGER, 1)) == Decimal("1.00")
    with pytest.raises(ComputeError):
        value("a", cents, a=(INTEGER, 10**10))
    with pytest.raises(ComputeError):
        value("a", INTEGER, a=(decimal(38, 0), Decimal(2**63)))


def test_names_are_the_columns_not_the_functions() -> None:
    assert set(names("case(round > 1, round(price, 2), null) + fees")) == {"round", "price", "fees"}


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.text("ab()+-*/<>=!'\",.[]{}:;_0123456789 \n\\ifnot", max_size=60))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        expression = compile_expression(text, {"a": INTEGER, "b": TEXT})
    except ExpressionError as error:
        assert "\n" not in str(error)
    else:
        arrays = {"a": pa.array([1], pa.int64()), "b": pa.array(["x"])}
        with contextlib.suppress(ComputeError):
            expression.evaluate(arrays, 1, expression.type)


def test_columns_may_have_the_names_of_python_s_own_words() -> None:
    text = "case(class > 1, 'class', concat('if ', lambda))\n"
    assert names(text) == ("class", "lambda")
    assert value(text, **{"class": (INTEGER, 1), "lambda": (TEXT, "x")}) == "if x"
    with pytest.raises(ExpressionError, match="position 9: there is no 'fro'; did you mean from"):
        compile_expression("class + fro", {"class": INTEGER, "from": INTEGER})
