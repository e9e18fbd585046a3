"""Random tables in a database: columns of every type that may be declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st

from export_pipeline_tests.hostile.plain_driver import connect
from export_pipeline_tests.hostile.strings import BROKEN_BYTES
from export_pipeline_tests.hostile.tables import values
from export_pipeline_tests.hostile.tables.values import Cell, Draw

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


@dataclass(frozen=True)
class Given:
    """A column: how it is declared, its type in the database, its cells."""

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
    with connect(url) as connection:
        cursor = connection.cursor()
        cursor.execute('DROP TABLE IF EXISTS "hostile rows"')
        made = ", ".join(f"{name} {word}" for name, word in zip(names, types, strict=True))
        cursor.execute(f'CREATE TABLE "hostile rows" ({made})')
        if sample.dialect == "sqlite":
            marks = ", ".join(["?"] * len(names))
        else:
            marks = ", ".join(f"{sign}::text::{word}" for word in types)
            names = [name.replace("%", "%%") for name in names]
        insert = f'INSERT INTO "hostile rows" ({", ".join(names)}) VALUES ({marks})'
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


@st.composite
def _columns(draw: st.DrawFn, dialect: str, rows: int, count: int, kinds: Sequence[str]) -> list[Given]:
    names = draw(st.permutations([*NAMES, *(f"c{i}" for i in range(20))]))
    fields = draw(st.permutations(FIELDS))
    made = []
    for index in range(count):
        kind = draw(st.sampled_from(kinds))
        spec: dict[str, Any] = {"name": names[index], "null_text": draw(st.sampled_from(values.NULLS))}
        spec["from"] = fields[index] if index < len(fields) else f"field {index}"
        header = draw(st.none() | st.sampled_from(HEADERS))
        if header is not None:
            spec["header"] = header
        word, cells, more = draw(_of_kind(dialect, kind))
        spec |= more
        drawn = draw(
            st.lists(values.mostly(cells, st.just(values.MISSING)) | cells, min_size=rows, max_size=rows)
        )
        made.append(Given(spec, word, drawn))
    return made


@st.composite
def _of_kind(draw: st.DrawFn, dialect: str, kind: str) -> tuple[str, Draw, dict[str, Any]]:
    """The type in the database, the cells, and what is declared."""
    sqlite = dialect == "sqlite"
    digits = {"digits": draw(st.sampled_from([0, 1, 2, 5, 20]))} if draw(st.integers(0, 2)) == 0 else {}
    digits |= {"total": True} if draw(st.integers(0, 2)) == 0 else {}
    match kind:
        case "text" | "url":
            return "TEXT", values.texts(dialect), {"type": kind}
        case "integer":
            return "BIGINT", values.integers(dialect), {"type": kind, **digits}
        case "money":
            more = {
                "minor_digits": draw(st.integers(0, 4)),
                "currency": draw(st.sampled_from(["$", "EUR", "kr.", ""])),
            }
            return "BIGINT", values.integers(dialect), {"type": kind, **digits, **more}
        case "decimal" | "money()":
            p = draw(st.sampled_from([1, 12, 18, 19, 38, 39, 76]) | st.integers(1, 76))
            s = draw(st.sampled_from([0, min(p, 4), min(p, 10), p // 2, p]))
            word = "TEXT" if sqlite else f"NUMERIC({p},{s})"
            return (
                word,
                values.decimals(p, s, dialect),
                {"type": f"{kind.removesuffix('()')}({p},{s})", **digits},
            )
        case "float" | "percent":
            return "DOUBLE PRECISION", values.floats(dialect), {"type": kind, **digits}
        case "boolean":
            labels = draw(
                st.sampled_from(
                    [{}, {"true": "Ja"}, {"true": "N/A", "false": ""}, {"true": "1", "false": "0"}]
                )
            )
            return "TEXT" if sqlite else "BOOLEAN", values.booleans(dialect), {"type": kind, "labels": labels}
        case "date":
            return (
                "TEXT" if sqlite else "DATE",
                values.dates(dialect),
                {"type": kind, "pattern": draw(st.sampled_from(DAY_PATTERNS))},
            )
        case "timestamp":
            zone = draw(st.sampled_from(ZONES))
            word = "TEXT" if sqlite else "TIMESTAMP" if zone is None else "TIMESTAMPTZ"
            more = {"type": kind, "zone": zone, "pattern": draw(st.sampled_from(TIME_PATTERNS))}
            return word, values.timestamps(dialect, zone), more
        case "json":
            return "TEXT" if sqlite else "JSON", values.jsons(dialect), {"type": kind}
        case "uuid":
            return "" if sqlite else "UUID", values.uuids(dialect), {"type": kind}
    texts = st.sampled_from(["NEW", "OLD", "odd", "new", "other", ""]).map(values.same)
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
        if draw(st.integers(0, 3)) == 0 and (computed := _computed(column, f"made_{index}")):
            columns.append(computed)
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
                None if one is None else values.wall(one, column.get("zone")) // 3_600_000_000 % 24
                for one in truths
            ]
        case _:
            spec = {"type": "text", "compute": f"case(is_null({column.name}), 'nothing', 'something')"}
            cells = ["nothing" if one is None else "something" for one in truths]
    return Given({"name": name, **spec}, "", [Cell(None, one) for one in cells])
