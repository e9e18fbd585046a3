"""Random values of every type that may be declared, and those that break exporters."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Context, Decimal
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import hypothesis.strategies as st

from export_pipeline_tests.hostile.strings import BROKEN_BYTES, NAUGHTY, NOTES

Draw: TypeAlias = st.SearchStrategy[Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
NULLS = ("", "", "", "N/A", "-", "-1", "0", "5 n/a", "NULL", "a,b", "=1", "1e5", "NaN", '"', "true", "—")
GOOD_JSON = (
    '{"a":1}', "[]", "null", "1.50", '"x"', "true", "12345678901234567890", '{"n": 1.234567890123456789012345, "n": 2}',
    '{"a":\r\n [1,\t2 ]\n}', '"\\u0041\\ud83d\\ude00"', '"=1+1"', '"\\u0000"', "-0", "-0.0", '{"":{"":[{}]}}', " 1 ",
    "[" * 900 + "]" * 900, '{"b":1,"a":{"b":2}}', '"\u2028\U0001f600"', "9007199254740993", "0.1e-400",
)  # fmt: skip
DEEP_JSON = ("[" * 1_200 + "]" * 1_200, "1e999")
BAD_JSON = (
    "",
    "{",
    "nul",
    "NaN",
    "[1,]",
    "{'a':1}",
    '{"a":1} x',
    "01",
    '"\x01"',
    "\ufeff1",
    "[1",
    "Infinity",
    "-",
)


@dataclass(frozen=True)
class Cell:
    """A value: what is put into the database, and what its export must say of it.

    Attributes:
        stored: As a text, bytes or number for the driver.
        truth: None for missing; of times the microseconds from 1970 (UTC, or on the wall).
        reason: Why the export may not say what is stored, if it cannot.
    """

    stored: Any
    truth: Any
    reason: str = ""


MISSING = Cell(None, None)
NO_TIME = "a time outside the years 1 to 9999, left empty"
NO_NUMBER = "a number that its column cannot hold, left empty"
DAMAGED = "bytes that are not UTF-8, replaced by U+FFFD"


def same(value: Any) -> Cell:
    return Cell(value, value)


def texts(dialect: str) -> Draw:
    not_there = "" if dialect == "sqlite" else "\0"
    known = [text for text in (*NAUGHTY, *NULLS) if dialect == "sqlite" or "\0" not in text]
    drawn = (
        st.sampled_from(known)
        | st.text(st.characters(exclude_categories=["Cs"], exclude_characters=not_there), max_size=12)
        | st.text("=+-@ \t\r\n,;|\"'\u202e\ufffe\u0301a1", max_size=5)
    )
    good = drawn.map(same)
    rare = st.sampled_from([*NOTES, "a" * 32_767, "\u00e9" * 32_768]).map(same)
    if dialect == "sqlite":
        broken = st.sampled_from(BROKEN_BYTES).map(lambda b: Cell(b, b.decode("utf-8", "replace"), DAMAGED))
        rare = rare | broken
    return mostly(good, rare)


def mostly(often: Draw, rarely: Draw) -> Draw:
    return st.integers(0, 19).flatmap(lambda n: rarely if n == 19 else often)


def integers(dialect: str) -> Draw:
    whole = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1, 10**15 - 1, 10**15, -(10**15), 100])
    numbers = whole | st.integers(-(2**63), 2**63 - 1) | st.integers(-99, 99)
    return numbers.map(lambda n: Cell(n if dialect == "sqlite" else str(n), n))


def decimals(p: int, s: int, dialect: str) -> Draw:
    most = 10**p - 1
    edges = [0, 1, -1, most, -most, 5, 10 ** (p - 1), 10**s if s < p else 0, 123456789012345678 % (most + 1)]

    def cell(n: int) -> Cell:
        value = Decimal(n).scaleb(-s, Context(prec=200))
        spelled = f"{value:f}" if dialect != "sqlite" or n % 3 else f"{value:E}"
        return Cell(spelled, value)

    numbers = (st.sampled_from(edges) | st.integers(-most, most) | st.integers(-9, 9)).map(cell)
    # PostgreSQL's NaN is written as text where a format has it: sources/tables/test_special_numbers.py
    return mostly(numbers, st.just(Cell("n/a", None, NO_NUMBER))) if dialect == "sqlite" else numbers


def floats(dialect: str) -> Draw:
    numbers = [
        0.0, 1.5, -2.25, 1e15, 1e16, 123456789.125, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -1e300, 0.1,
        1e22, 1e-7, 0.30000000000000004, 0.00015, 2.675, 1.005, float("inf"), float("-inf"), 9007199254740993.0, -1e-5,
    ]  # fmt: skip
    if dialect != "sqlite":  # which keeps no NaN and no sign of nothing
        numbers += [float("nan"), -0.0]
    drawn = st.sampled_from(numbers) | st.floats(allow_nan=False).filter(lambda x: x != 0.0)
    return drawn.map(lambda x: Cell(x if dialect == "sqlite" else repr(x), x))


def booleans(dialect: str) -> Draw:
    if dialect != "sqlite":
        return st.booleans().map(lambda b: Cell(str(b), b))
    spelled = {True: (1, "true", "t", "1"), False: (0, "false", "f", "0")}
    return st.tuples(st.booleans(), st.integers(0, 3)).map(lambda t: Cell(spelled[t[0]][t[1]], t[0]))


def dates(dialect: str) -> Draw:
    edges = [
        date(1, 1, 1),
        date(9999, 12, 31),
        date(1900, 2, 28),
        date(1900, 3, 1),
        date(1899, 12, 31),
        date(1970, 1, 1),
    ]
    days = (st.sampled_from(edges) | st.dates()).map(lambda d: Cell(d.isoformat(), d))
    odd = ["infinity", "-infinity"] if dialect != "sqlite" else ["soon", "2026-02-30", "0000-01-01"]
    return mostly(days, st.sampled_from([Cell(word, None, NO_TIME) for word in odd]))


_CHANGES = [
    datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC), datetime(2045, 3, 26, 1, tzinfo=UTC),
    datetime(2045, 10, 29, 1, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC), datetime(2050, 7, 1, tzinfo=UTC),
    datetime(2399, 7, 1, tzinfo=UTC), datetime(2400, 1, 1, tzinfo=UTC), datetime(8000, 7, 1, tzinfo=UTC),
    datetime(2011, 12, 30, tzinfo=UTC), datetime(1883, 11, 18, 17, tzinfo=UTC), datetime(2079, 6, 5, tzinfo=UTC),
    datetime(1900, 3, 1, tzinfo=UTC), datetime(2037, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2087, 5, 11, 2, tzinfo=UTC),
]  # fmt: skip


def timestamps(dialect: str, zone: str | None) -> Draw:
    edges = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC), EPOCH]
    near = st.tuples(st.sampled_from(_CHANGES), st.integers(-8 * 3600 * 10**6, 8 * 3600 * 10**6))
    moments = (
        st.sampled_from(edges)
        | near.map(lambda t: t[0] + timedelta(microseconds=t[1]))
        | near.map(lambda t: t[0] + timedelta(minutes=t[1] // 60_000_000))
        | st.datetimes(timezones=st.just(UTC))
    )

    def cell(pair: tuple[datetime, int]) -> Cell:
        moment, how = pair
        truth = (moment - EPOCH) // MICROSECOND
        naive = moment.replace(tzinfo=None)
        if dialect != "sqlite":
            return Cell(f"{naive.isoformat(' ')}{'' if zone is None else '+00'}", truth)
        spelled = [naive.isoformat(" "), naive.isoformat("T"), naive.isoformat(" ", "microseconds")]
        if zone is not None:
            spelled += [moment.isoformat(), moment.isoformat(" ").replace("+00:00", "Z")]
            if 2 < moment.year < 9998:
                spelled.append(moment.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat())
        return Cell(spelled[how % len(spelled)], truth)

    odd = ["infinity", "-infinity"] if dialect != "sqlite" else ["soon", "", "2026-02-30 10:00:00"]
    known = st.tuples(moments, st.integers(0, 59)).map(cell)
    return mostly(known, st.sampled_from([Cell(word, None, NO_TIME) for word in odd]))


def jsons(dialect: str) -> Draw:
    drawn = st.sampled_from([*GOOD_JSON, *GOOD_JSON, DEEP_JSON[0]])
    if dialect == "sqlite":
        drawn = drawn | st.sampled_from([*BAD_JSON, *DEEP_JSON])
    return drawn.map(same)


def uuids(dialect: str) -> Draw:
    def cell(pair: tuple[uuid.UUID, int]) -> Cell:
        one, how = pair
        spelled: list[Any] = [str(one), one.hex, str(one).upper(), "{" + str(one) + "}"]
        if dialect == "sqlite":
            spelled.append(one.bytes)
        return Cell(spelled[how % len(spelled)], str(one))

    return st.tuples(st.uuids() | st.just(uuid.UUID(int=0)), st.integers(0, 4)).map(cell)


def wall(micros: int, zone: str | None) -> int:
    """Microseconds from 1970 that a clock in the zone shows; years 0 and 10000 too."""
    if zone in (None, "UTC"):
        return micros
    try:
        offset = (EPOCH + micros * MICROSECOND).astimezone(ZoneInfo(zone)).utcoffset()
    except OverflowError:
        inside = (EPOCH + micros * MICROSECOND).replace(year=5 if micros < 0 else 9995)
        offset = inside.astimezone(ZoneInfo(zone)).utcoffset()
    assert offset is not None
    return micros + offset // MICROSECOND
