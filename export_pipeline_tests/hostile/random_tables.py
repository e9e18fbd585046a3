"""Random tables in a database: columns of every type that may be declared, with the values that break exporters."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Context, Decimal
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import hypothesis.strategies as st

from export_pipeline_tests.hostile.public_databases import plain
from export_pipeline_tests.hostile.strings import BROKEN_BYTES, NAUGHTY, NOTES

Draw: TypeAlias = st.SearchStrategy[Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
ZONES = (
    "UTC", None, "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia",
    "Africa/Casablanca", "America/St_Johns", "Europe/Dublin", "Pacific/Kiritimati",
)  # fmt: skip
HEADERS = (
    "A",
    "A",
    "=1+1",
    "a,b",
    "x;y",
    'q"q',
    "two\nlines",
    "Größe",
    "שלום",
    "_x0041_",
    "Total",
    " ",
    "-",
    "c1",
    "a\tb|c",
)
NULLS = ("", "", "", "N/A", "-", "-1", "0", "5 n/a", "NULL", "a,b", "=1", "1e5", "NaN", '"', "true", "—")
NAMES = (
    "class",
    "None",
    "lambda",
    "select",
    "Order",
    "_",
    "__init__",
    "copy",
    "rows",
    "true",
    "if",
    "Ab",
    "json",
    "index",
)
FIELDS = (
    "plain",
    "with space",
    'qu"ote',
    "a.b",
    "größe",
    "semi;--",
    "%s",
    ":name",
    "Up",
    "group",
    "a'b",
    "100%",
    "{x}",
    "q?",
)
DAY_PATTERNS = (None, None, "MMM dd, yyyy", "dd.MM.yyyy", "yyyyMMdd", "yyyy")
TIME_PATTERNS = (
    None,
    None,
    "MMM dd, yyyy",
    "yyyy-MM-dd HH:mm:ss",
    "dd.MM.yyyy HH:mm",
    "HH:mm",
    "yyyyMMddTHHmmss",
)
ENUM_LABELS = {"NEW": "Brand, new", "OLD": "=old", "odd": "", "new": 'a "quoted" one'}
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
NO_TIME = "no time of the years 1 to 9999, left empty"
NO_NUMBER = "no number that its column can hold, left empty"
DAMAGED = "bytes that are no UTF-8 replaced by U+FFFD"


@dataclass(frozen=True)
class Given:
    """A column: how it is declared, its type in the database, its cells; `of` makes a computed one's."""

    spec: Mapping[str, Any]
    sql_type: str
    cells: Sequence[Cell]

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def kind(self) -> str:
        return str(self.spec["type"]).partition("(")[0]

    @property
    def minor(self) -> bool:
        return bool(self.spec["type"] == "money")

    def get(self, key: str, default: Any = None) -> Any:
        return self.spec.get(key, default)


@dataclass(frozen=True)
class Sample:
    """A table and what is asked of it."""

    dialect: str
    columns: Sequence[Given]
    rows: int
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "source": {"table": "hostile rows", "key": ["row id"]},
            "columns": [dict(column.spec) for column in self.columns],
        }

    def __repr__(self) -> str:
        lines = [f"{dict(c.spec)} {c.sql_type} {[x.stored for x in c.cells]!r}"[:1500] for c in self.columns]
        return f"Sample({self.dialect}, {self.options}\n  " + "\n  ".join(lines) + ")"


def fill(url: str, sample: Sample) -> None:
    """Make the table anew and put the rows in, over the database's own driver."""
    sign = "?" if sample.dialect == "sqlite" else "%s"
    read = [column for column in sample.columns if "compute" not in column.spec]
    names = ['"row id"', *(_quoted(column) for column in read)]
    types = ["BIGINT", *(column.sql_type for column in read)]
    with plain(url) as connection:
        cursor = connection.cursor()
        cursor.execute('DROP TABLE IF EXISTS "hostile rows"')
        made = ", ".join(f"{name} {word}" for name, word in zip(names, types, strict=True))
        cursor.execute(f'CREATE TABLE "hostile rows" ({made})')
        if sample.dialect == "sqlite":
            values = ", ".join(["?"] * len(names))
        else:
            values = ", ".join(f"{sign}::text::{word}" for word in types)
            names = [name.replace("%", "%%") for name in names]
        insert = f'INSERT INTO "hostile rows" ({", ".join(names)}) VALUES ({values})'
        rows = [[row, *(column.cells[row].stored for column in read)] for row in range(sample.rows)]
        for row in rows:
            if any(isinstance(cell, bytes) and cell in BROKEN_BYTES for cell in row):
                words = ", ".join("CAST(? AS TEXT)" if c in BROKEN_BYTES else "?" for c in row)
                cursor.execute(insert.partition(" VALUES")[0] + f" VALUES ({words})", row)
            else:
                cursor.execute(insert, row)
        connection.commit()


def _quoted(column: Given) -> str:
    return '"' + str(column.get("from", column.name)).replace('"', '""') + '"'


# --- values -----------------------------------------------------------------------------------------


def _same(value: Any) -> Cell:
    return Cell(value, value)


def _text(dialect: str) -> Draw:
    not_there = "" if dialect == "sqlite" else "\0"
    known = [text for text in (*NAUGHTY, *NULLS) if dialect == "sqlite" or "\0" not in text]
    texts = (
        st.sampled_from(known)
        | st.text(st.characters(exclude_categories=["Cs"], exclude_characters=not_there), max_size=12)
        | st.text("=+-@ \t\r\n,;|\"'\u202e\ufffe\u0301a1", max_size=5)
    )
    good = texts.map(_same)
    rare = st.sampled_from([*NOTES, "a" * 32_767, "\u00e9" * 32_768]).map(_same)
    if dialect == "sqlite":
        broken = st.sampled_from(BROKEN_BYTES).map(lambda b: Cell(b, b.decode("utf-8", "replace"), DAMAGED))
        rare = rare | broken
    return _mostly(good, rare)


def _mostly(often: Draw, rarely: Draw) -> Draw:
    return st.integers(0, 19).flatmap(lambda n: rarely if n == 19 else often)


def _integer(dialect: str) -> Draw:
    whole = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1, 10**15 - 1, 10**15, -(10**15), 100])
    numbers = whole | st.integers(-(2**63), 2**63 - 1) | st.integers(-99, 99)
    return numbers.map(lambda n: Cell(n if dialect == "sqlite" else str(n), n))


def _decimal(p: int, s: int, dialect: str) -> Draw:
    most = 10**p - 1
    edges = [0, 1, -1, most, -most, 5, 10 ** (p - 1), 10**s if s < p else 0, 123456789012345678 % (most + 1)]

    def cell(n: int) -> Cell:
        value = Decimal(n).scaleb(-s, Context(prec=200))
        spelled = f"{value:f}" if dialect != "sqlite" or n % 3 else f"{value:E}"
        return Cell(spelled, value)

    numbers = (st.sampled_from(edges) | st.integers(-most, most) | st.integers(-9, 9)).map(cell)
    odd = [Cell("NaN", None, NO_NUMBER)] if dialect != "sqlite" else [Cell("n/a", None, NO_NUMBER)]
    return _mostly(numbers, st.sampled_from(odd))


def _float(dialect: str) -> Draw:
    numbers = [
        0.0, 1.5, -2.25, 1e15, 1e16, 123456789.125, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -1e300, 0.1,
        1e22, 1e-7, 0.30000000000000004, 0.00015, 2.675, 1.005, float("inf"), float("-inf"), 9007199254740993.0, -1e-5,
    ]  # fmt: skip
    if dialect != "sqlite":  # which keeps no NaN and no sign of nothing
        numbers += [float("nan"), -0.0]
    drawn = st.sampled_from(numbers) | st.floats(allow_nan=False).filter(lambda x: x != 0.0)
    return drawn.map(lambda x: Cell(x if dialect == "sqlite" else repr(x), x))


def _boolean(dialect: str) -> Draw:
    if dialect != "sqlite":
        return st.booleans().map(lambda b: Cell(str(b), b))
    spelled = {True: (1, "true", "t", "1"), False: (0, "false", "f", "0")}
    return st.tuples(st.booleans(), st.integers(0, 3)).map(lambda t: Cell(spelled[t[0]][t[1]], t[0]))


def _date(dialect: str) -> Draw:
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
    return _mostly(days, st.sampled_from([Cell(word, None, NO_TIME) for word in odd]))


_CHANGES = [
    datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC), datetime(2045, 3, 26, 1, tzinfo=UTC),
    datetime(2045, 10, 29, 1, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC), datetime(2050, 7, 1, tzinfo=UTC),
    datetime(2399, 7, 1, tzinfo=UTC), datetime(2400, 1, 1, tzinfo=UTC), datetime(8000, 7, 1, tzinfo=UTC),
    datetime(2011, 12, 30, tzinfo=UTC), datetime(1883, 11, 18, 17, tzinfo=UTC), datetime(2079, 6, 5, tzinfo=UTC),
    datetime(1900, 3, 1, tzinfo=UTC), datetime(2037, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2087, 5, 11, 2, tzinfo=UTC),
]  # fmt: skip


def _timestamp(dialect: str, zone: str | None) -> Draw:
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
    return _mostly(known, st.sampled_from([Cell(word, None, NO_TIME) for word in odd]))


def _json(dialect: str) -> Draw:
    texts = st.sampled_from([*GOOD_JSON, *GOOD_JSON, DEEP_JSON[0]])
    if dialect == "sqlite":
        texts = texts | st.sampled_from([*BAD_JSON, *DEEP_JSON])
    return texts.map(_same)


def _uuid(dialect: str) -> Draw:
    def cell(pair: tuple[uuid.UUID, int]) -> Cell:
        one, how = pair
        spelled: list[Any] = [str(one), one.hex, str(one).upper(), "{" + str(one) + "}"]
        if dialect == "sqlite":
            spelled.append(one.bytes)
        return Cell(spelled[how % len(spelled)], str(one))

    return st.tuples(st.uuids() | st.just(uuid.UUID(int=0)), st.integers(0, 4)).map(cell)


# --- columns ----------------------------------------------------------------------------------------


@st.composite
def _columns(draw: st.DrawFn, dialect: str, rows: int, count: int, kinds: Sequence[str]) -> list[Given]:
    names = draw(st.permutations([*NAMES, *(f"c{i}" for i in range(20))]))
    fields = draw(st.permutations(FIELDS))
    made = []
    for index in range(count):
        kind = draw(st.sampled_from(kinds))
        spec: dict[str, Any] = {"name": names[index], "null_text": draw(st.sampled_from(NULLS))}
        spec["from"] = fields[index] if index < len(fields) else f"field {index}"
        header = draw(st.none() | st.sampled_from(HEADERS))
        if header is not None:
            spec["header"] = header
        word, cells, more = draw(_of_kind(dialect, kind))
        spec |= more
        found = draw(st.lists(_mostly(cells, st.just(MISSING)) | cells, min_size=rows, max_size=rows))
        made.append(Given(spec, word, found))
    return made


@st.composite
def _of_kind(draw: st.DrawFn, dialect: str, kind: str) -> tuple[str, Draw, dict[str, Any]]:
    """The type in the database, the cells, and what is declared."""
    sqlite = dialect == "sqlite"
    digits = {"digits": draw(st.sampled_from([0, 1, 2, 5, 20]))} if draw(st.integers(0, 2)) == 0 else {}
    digits |= {"total": True} if draw(st.integers(0, 2)) == 0 else {}
    match kind:
        case "text" | "url":
            return "TEXT", _text(dialect), {"type": kind}
        case "integer":
            return "BIGINT", _integer(dialect), {"type": kind, **digits}
        case "money":
            more = {
                "minor_digits": draw(st.integers(0, 4)),
                "currency": draw(st.sampled_from(["$", "EUR", "kr.", ""])),
            }
            return "BIGINT", _integer(dialect), {"type": kind, **digits, **more}
        case "decimal" | "money()":
            p = draw(st.sampled_from([1, 12, 18, 19, 38, 39, 76]) | st.integers(1, 76))
            s = draw(st.sampled_from([0, min(p, 4), min(p, 10), p // 2, p]))
            word = "TEXT" if sqlite else f"NUMERIC({p},{s})"
            return word, _decimal(p, s, dialect), {"type": f"{kind.removesuffix('()')}({p},{s})", **digits}
        case "float" | "percent":
            return "DOUBLE PRECISION", _float(dialect), {"type": kind, **digits}
        case "boolean":
            labels = draw(
                st.sampled_from(
                    [{}, {"true": "Ja"}, {"true": "N/A", "false": ""}, {"true": "1", "false": "0"}]
                )
            )
            return "TEXT" if sqlite else "BOOLEAN", _boolean(dialect), {"type": kind, "labels": labels}
        case "date":
            return (
                "TEXT" if sqlite else "DATE",
                _date(dialect),
                {"type": kind, "pattern": draw(st.sampled_from(DAY_PATTERNS))},
            )
        case "timestamp":
            zone = draw(st.sampled_from(ZONES))
            word = "TEXT" if sqlite else "TIMESTAMP" if zone is None else "TIMESTAMPTZ"
            more = {"type": kind, "zone": zone, "pattern": draw(st.sampled_from(TIME_PATTERNS))}
            return word, _timestamp(dialect, zone), more
        case "json":
            return "TEXT" if sqlite else "JSON", _json(dialect), {"type": kind}
        case "uuid":
            return "" if sqlite else "UUID", _uuid(dialect), {"type": kind}
    texts = st.sampled_from(["NEW", "OLD", "odd", "new", "other", ""]).map(_same)
    return "TEXT", texts, {"type": "enum", "labels": draw(st.sampled_from([{}, ENUM_LABELS]))}


KINDS = (
    "text", "url", "integer", "money", "decimal", "money()", "float", "percent", "boolean", "date", "timestamp", "json", "uuid",
    "enum",
)  # fmt: skip


@st.composite
def samples(draw: st.DrawFn, dialect: str, most_columns: int = 30, kinds: Sequence[str] = KINDS) -> Sample:
    """A table of up to so many columns, computed ones among them, and options for its formats."""
    rows = draw(st.integers(0, 6))
    count = draw(st.integers(1, most_columns))
    columns = draw(_columns(dialect, rows, count, kinds))
    for index, column in enumerate(list(columns)[: max(0, most_columns - count)]):
        if draw(st.integers(0, 3)) == 0 and (found := _computed(column, f"made_{index}")):
            columns.append(found)
    options = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "csv_delimiter": st.sampled_from(["comma", "semicolon", "tab", "pipe"]),
                "csv_decimal_comma": st.booleans(),
                "csv_quoting": st.sampled_from(["minimal", "all"]),
                "csv_headers": st.sampled_from(["header", "name"]),
                "csv_money": st.sampled_from(["units", "minor"]),
                "csv_bom": st.booleans(),
                "json_shape": st.sampled_from(["array", "object", "lines"]),
                "json_money": st.sampled_from(["units", "minor"]),
                "excel_guard_formulas": st.booleans(),
            },
        )
    )
    return Sample(dialect, columns, rows, options)


def _computed(column: Given, name: str) -> Given | None:
    """A column that is computed from another one, and its cells as its expression says."""
    if column.name in ("None", "true"):  # the language's own words
        return None
    truths = [cell.truth for cell in column.cells]
    match column.kind:
        case "text":
            spec = {"type": "text", "compute": f"coalesce({column.name}, '=none')"}
            cells = ["=none" if one is None else one for one in truths]
        case "integer":
            spec = {"type": "decimal(38,2)", "compute": f"{column.name} * 0.25"}
            cells = [None if one is None else Decimal(one) / 4 for one in truths]
        case "boolean":
            spec = {"type": "integer", "compute": f"case({column.name}, 1, 0)", "total": True}
            cells = [1 if one else 0 for one in truths]
        case "timestamp":
            spec = {"type": "integer", "compute": f"hour({column.name})"}
            cells = [
                None if one is None else wall(one, column.get("zone")) // 3_600_000_000 % 24 for one in truths
            ]
        case _:
            spec = {"type": "text", "compute": f"case(is_null({column.name}), 'nothing', 'something')"}
            cells = ["nothing" if one is None else "something" for one in truths]
    return Given({"name": name, **spec}, "", [Cell(None, one) for one in cells])


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


def clean(text: str) -> str:
    """What no file may hold as U+FFFD."""
    bad = "\ufffe\uffff\u202d\u202e"
    return "".join("\ufffd" if (c < " " and c not in "\t\n\r") or c in bad else c for c in text)
