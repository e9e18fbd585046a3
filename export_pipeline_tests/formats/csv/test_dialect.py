"""Every dialect of CSV, read by Python's csv module and by our reader."""

import csv as stdlib_csv
import io
import tempfile
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.sanitize import guard_formulas
from export_pipeline.core.tables import Table
from export_pipeline.formats.csv.dialect import BOM, DELIMITERS
from export_pipeline_tests.formats.tables import ANY_TEXT, read_back, rendered

DIALECTS = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from(sorted(DELIMITERS)),
        "decimal_comma": st.booleans(),
        "quoting": st.sampled_from(["minimal", "all"]),
        "bom": st.booleans(),
    }
)
COLUMNS = (
    Column("t", "Text", Kind.TEXT, null="N/A"),
    Column("n", "a;b", Kind.INTEGER),
    Column("d", "tab\tpipe|comma,", Kind.DECIMAL, precision=(38, 10), null="-"),
    Column("m", 'said "x"\r\nand y', Kind.MONEY, digits=2),
    Column("f", "Float", Kind.FLOAT),
    Column("on", "On", Kind.DATE, null="never"),
)
TEXTS = st.none() | st.sampled_from(["N/A", "", "1,5", "a\tb", "x|y;z", "\r", '"', "'"]) | ANY_TEXT
ROWS = st.lists(
    st.tuples(
        TEXTS,
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.decimals(-(10**27), 10**27, places=10),
        st.none() | st.decimals(-(10**13), 10**13, places=4),
        st.none() | st.floats(-1e300, 1e300),
        st.none() | st.dates(),
    ),
    max_size=10,
)


def typed(columns: tuple[Column, ...], rows: list[tuple[Any, ...]]) -> Table:
    arrays = [pa.array([row[i] for row in rows], column.arrow_type) for i, column in enumerate(columns)]
    return Table.of("t", columns, pa.table(arrays, [column.name for column in columns]), 3)


def guarded(text: str) -> str:
    return str(guard_formulas(pa.array([text]))[0][0].as_py())


def facts_of(data: bytes, **options: Any) -> Any:
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        file.write(data)
        file.flush()
        return read_back("csv", Path(file.name), **options)


@pytest.mark.slow
@given(DIALECTS, ROWS)
def test_every_dialect_comes_back(options: dict[str, Any], rows: list[tuple[Any, ...]]) -> None:
    data, done = rendered("csv", typed(COLUMNS, rows), **options)
    assert data.startswith(BOM) == options["bom"]
    text = data.decode("utf-8-sig")
    delimiter = DELIMITERS[options["delimiter"]]
    header, *read = stdlib_csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    assert header == [guarded(column.header) for column in COLUMNS]
    assert len(read) == len(rows) == done.rows

    def number(cell: str) -> str:
        assert not options["decimal_comma"] or "." not in cell
        return cell.replace(",", ".") if options["decimal_comma"] else cell

    for cells, (t, n, d, m, f, on) in zip(read, rows, strict=True):
        assert cells[0] == ("N/A" if t is None else guarded(t))
        assert cells[1] == ("" if n is None else str(n))
        assert (None if cells[2] == "-" else Decimal(number(cells[2]))) == d
        if m is None:
            assert cells[3] == ""
        else:
            assert abs(Decimal(number(cells[3])) - m) <= Decimal("0.005")
            assert number(cells[3])[-3] == "."
        assert (None if cells[4] == "" else float(number(cells[4]))) == f
        assert cells[5] == ("never" if on is None else on.isoformat())

    facts = facts_of(data, **options)
    assert (facts.rows, facts.problems) == (len(rows), ())
    if any(n is not None for _, n, *_ in rows):
        total = sum(n or 0 for _, n, *_ in rows)
        assert facts.totals["a;b"] == pytest.approx(total, abs=1e-9 * sum(abs(n or 0) for _, n, *_ in rows))
    if any(row[2] is not None for row in rows):
        name = "tab\tpipe|comma,"
        size = sum(abs(row[2] or 0) for row in rows)
        assert facts.totals[name] == pytest.approx(
            float(sum(row[2] or 0 for row in rows)), abs=1e-9 * float(size)
        )


def test_a_text_that_reads_like_the_null_text_is_quoted() -> None:
    columns = (
        Column("t", "T", Kind.TEXT, null="N/A"),
        Column("n", "N", Kind.INTEGER, null="0"),
        Column("b", "B", Kind.BOOLEAN, labels=("yes", "no"), null="no"),
    )
    data, _ = rendered("csv", typed(columns, [("N/A", 0, False), (None, None, None), ("", 1, True)]))
    assert data == b'T,N,B\r\n"N/A","0","no"\r\nN/A,0,no\r\n"",1,yes\r\n'
    data, _ = rendered("csv", typed(columns, [(None, None, None), ("N/A", 0, True)]), quoting="all")
    assert data == b'"T","N","B"\r\nN/A,0,no\r\n"N/A","0","yes"\r\n'


def test_a_null_text_that_would_break_the_line_is_quoted() -> None:
    columns = (Column("t", "T", Kind.TEXT, null="no, none"), Column("n", "N", Kind.INTEGER))
    data, _ = rendered("csv", typed(columns, [(None, 1)]))
    assert data == b'T,N\r\n"no, none",1\r\n'
    data, _ = rendered("csv", typed(columns, [(None, 1)]), delimiter="semicolon")
    assert data == b"T;N\r\nno, none;1\r\n"


def test_a_single_column_has_no_blank_lines(tmp_path: Path) -> None:
    data, done = rendered("csv", typed((Column("n", "N", Kind.INTEGER),), [(1,), (None,), (3,)]))
    assert data == b'N\r\n1\r\n""\r\n3\r\n'
    facts = facts_of(data)
    assert (facts.rows, dict(facts.totals)) == (done.rows, {"N": 4.0})


def test_guards_hold_with_every_delimiter() -> None:
    rows = [(text,) for text in ("=1;2", "+a|b", "-x,y", "@a\tb", " =1", "a=b", "\t1", "\u3000=1")]
    for name, delimiter in DELIMITERS.items():
        data, done = rendered("csv", typed((Column("t", "T", Kind.TEXT),), rows), delimiter=name)
        read = list(
            stdlib_csv.reader(io.StringIO(data.decode(), newline=""), strict=True, delimiter=delimiter)
        )
        assert read[1:] == [["'" + text] if text != "a=b" else [text] for (text,) in rows]
        assert sum(done.changed.values()) == 7


def test_wide_decimals_and_the_ends_of_integers(tmp_path: Path) -> None:
    columns = (
        Column("w", "W", Kind.DECIMAL, precision=(76, 20)),
        Column("r", "R", Kind.DECIMAL, digits=2, precision=(60, 20)),
        Column("i", "I", Kind.INTEGER, digits=1),
        Column("s", "S", Kind.DECIMAL, precision=(38, 38)),
    )
    wide = Decimal("-" + "9" * 56 + "." + "1" * 19 + "7")
    rows = [
        (wide, Decimal("9" * 39 + ".995"), 2**63 - 1, Decimal("1E-38")),
        (Decimal("1E-20"), Decimal("-0.005"), -(2**63), Decimal("-0.5")),
        (Decimal(0), Decimal("-0.0049"), 0, Decimal(0)),
    ]
    data, done = rendered("csv", typed(columns, rows))
    _, *read = stdlib_csv.reader(io.StringIO(data.decode()))
    assert read == [
        [str(wide), "1" + "0" * 39 + ".00", f"{2**63 - 1}.0", "0." + "0" * 37 + "1"],
        ["0.00000000000000000001", "-0.01", f"{-(2**63)}.0", "-0.5"],
        ["0", "0.00", "0.0", "0"],
    ]
    assert dict(done.changed) == {("rounded to 2 decimals", "R"): 3}


def test_the_first_and_the_last_day_are_written() -> None:
    columns = (Column("on", "On", Kind.DATE), Column("p", "P", Kind.DATE, pattern="MMM dd, yyyy"))
    rows = [(date(1, 1, 1), date(1, 1, 1)), (date(9999, 12, 31), date(9999, 12, 31)), (None, None)]
    data, _ = rendered("csv", typed(columns, rows))
    assert data == b'On,P\r\n0001-01-01,"Jan 01, 0001"\r\n9999-12-31,"Dec 31, 9999"\r\n,\r\n'


@pytest.mark.parametrize("quoting", ["minimal", "all"])
def test_other_readers_find_the_decimal_comma(tmp_path: Path, quoting: str) -> None:
    columns = (Column("d", "D", Kind.DECIMAL), Column("t", "T", Kind.TEXT))
    rows = [(Decimal("12.5"), "a;b"), (Decimal("-0.25"), "c"), (Decimal(3), None)]
    data, _ = rendered(
        "csv", typed(columns, rows), delimiter="semicolon", decimal_comma=True, quoting=quoting
    )
    file = tmp_path / "a.csv"
    file.write_bytes(data)
    read = duckdb.sql(
        f"FROM read_csv('{file}', delim=';', decimal_separator=',', types={{'D': 'DECIMAL(9,4)'}})"
    ).fetchall()
    assert read == rows


@pytest.mark.parametrize(
    ("text", "delimiter", "totals"),
    [
        ("a,b\n1,x\n2,y\n", "comma", {"a": 3.0}),
        ("a;b\n1,5;x\n2;y\n", "semicolon", {"a": 3.5}),
        ("a\tb\n1\t1.5\n", "tab", {"a": 1.0, "b": 1.5}),
        ("a,b;c|d\n1;2\n", "semicolon", {"a,b": 1.0, "c|d": 2.0}),
        ("a,a\n1,2\n", "comma", {"a": 3.0}),
        ("n\nN/A\n4\n", "comma", {"n": 4.0}),
        ("n\nN/A\nnone\n4\n", "comma", {}),
        ('n;m\n"1,5";1.5\n2,5;2,5\n', "semicolon", {"n": 4.0}),
        ("n,m\nNaN,Infinity\n1,-Infinity\n", "comma", {"n": 1.0, "m": 0.0}),
    ],
)
def test_a_file_is_read_in_the_dialect_of_its_options(
    text: str, delimiter: str, totals: dict[str, float]
) -> None:
    facts = facts_of(text.encode(), delimiter=delimiter)
    assert dict(facts.totals) == totals
    assert facts.problems == ()


@pytest.mark.parametrize("header", ["ID", "IDENT", "ID Number", "ID;1", "IDs"])
@pytest.mark.parametrize("bom", [True, False])
@pytest.mark.parametrize("delimiter", sorted(DELIMITERS))
def test_no_file_begins_as_sylk_does(header: str, bom: bool, delimiter: str, tmp_path: Path) -> None:
    columns = (Column("a", header, Kind.INTEGER), Column("b", "ID", Kind.TEXT))
    for shown in (columns, columns[:1]):
        data, _ = rendered("csv", typed(shown, [(1, "x")]), bom=bom, delimiter=delimiter)
        text = data.decode("utf-8-sig")
        assert text.startswith(f'"{header}"')
        (head, *_) = stdlib_csv.reader(io.StringIO(text, newline=""), delimiter=DELIMITERS[delimiter])
        assert head == [column.header for column in shown]
        (tmp_path / "t.csv").write_bytes(data)
        facts = read_back("csv", tmp_path / "t.csv", delimiter=delimiter)
        assert (facts.rows, facts.totals) == (1, {header: 1.0})


def test_other_first_names_stay_bare() -> None:
    for header in ("Id", "id", "PID", "I D"):
        data, _ = rendered("csv", typed((Column("a", header, Kind.INTEGER),), [(1,)]))
        assert data.startswith(header.encode())
