"""Arguments of the command line reach the export as they were typed."""

from __future__ import annotations

import csv
import io
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline import tabular
from export_pipeline.cli import arguments
from export_pipeline.cli.console import UserError
from export_pipeline.core.export_data import Request
from export_pipeline.datasets.options import parse_options
from export_pipeline.datasets.table import TableModel
from export_pipeline.formats.options import FormatOptions
from export_pipeline.sources.snapshot import open_snapshot
from export_pipeline.sources.tables import read as source


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('"a, b",plain', ["a, b", "plain"]),
        ("a,b", ["a", "b"]),
        ("a, b", ["a", " b"]),
        (" a ,b ", [" a ", "b "]),
        ("", [""]),
        (",", ["", ""]),
        ("a,", ["a", ""]),
        ('""', [""]),
        ('"","",x', ["", "", "x"]),
        ('"say ""hi"", you"', ['say "hi", you']),
        ('""""', ['"']),
        ('5" pipe,6" pipe', ['5" pipe', '6" pipe']),
        ("O'Brien,d’Or", ["O'Brien", "d’Or"]),
        ('"日本, 東京",Zoë', ["日本, 東京", "Zoë"]),
        ('"a\nb",c\n', ["a\nb", "c\n"]),
        ("a=b,c:d", ["a=b", "c:d"]),
        ("a\\,b", ["a\\", "b"]),
    ],
)
def test_values_of_in_are_those_of_a_line_of_csv(text: str, values: list[str]) -> None:
    assert arguments.filters([f"v:in={text}"]) == {"v": {"in": values}}


@pytest.mark.parametrize("text", ['"a', 'a,"b', '"a"b', '"a" ,b', 'x, "a, b"', '"', '"""', '"a""'])
def test_a_quote_without_its_pair_is_an_error(text: str) -> None:
    with pytest.raises(UserError, match="quotes do not pair up") as error:
        arguments.filters([f"v:in={text}"])
    assert "\n" not in str(error.value)


@given(st.lists(st.text(max_size=8), min_size=1, max_size=5))
def test_values_quoted_by_a_csv_writer_are_read_back(values: list[str]) -> None:
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="").writerow(values)
    typed = shlex.split(f"--filter {shlex.quote(f'v:in={line.getvalue()}')}")
    assert arguments.filters(typed[1:]) == {"v": {"in": values}}


def test_other_values_are_taken_as_they_are() -> None:
    assert arguments.filters(["v= a, b ", 'w:contains= "x']) == {
        "v": {"equals": " a, b "},
        "w": {"contains": ' "x'},
    }
    assert arguments.options(["pdf_title= Sales, 2026 "]) == {"pdf_title": " Sales, 2026 "}


def test_the_rows_are_those_with_exactly_these_values(tmp_path: Path) -> None:
    values = ["a, b", "plain", " lead", "lead", "", '"q"', "a", " b", "Zoë, 日本", "trail "]
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        connection.execute("CREATE TABLE texts (id INTEGER PRIMARY KEY, v TEXT)")
        connection.executemany("INSERT INTO texts (v) VALUES (?)", [(value,) for value in values])
        connection.commit()
    spec = TableModel.model_validate(
        {"dataset": "texts", "description": "t", "formats": ["csv"], "source": {"table": "texts"}}
        | {"columns": [{"name": "id", "type": "integer"}, {"name": "v"}], "filters": {"v": ["in"]}}
    ).spec()

    def matched(text: str) -> list[str]:
        given = {"filters": arguments.filters([f"v:in={text}"])}
        options, _ = parse_options(given, tabular.options(spec), FormatOptions)
        request = Request("texts", tabular, spec, None, options, None)
        with open_snapshot(f"sqlite:///{tmp_path}/app.db") as snapshot:
            rows = source.read(snapshot, request).tables["rows"].open()
            return [row["v"] for batch in rows for row in batch.to_pylist()]

    assert matched('"a, b",plain') == ["a, b", "plain"]
    assert matched('" lead","","""q"""') == [" lead", "", '"q"']
    assert matched('"Zoë, 日本",trail ') == ["Zoë, 日本", "trail "]
    assert matched("lead") == ["lead"]
