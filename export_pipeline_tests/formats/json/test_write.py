"""JSON read back by Python's json module, exactly."""

import json as stdlib_json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.json_text import is_valid_json
from export_pipeline.core.layout import NestedTable
from export_pipeline.formats.json.rows import NO_JSON
from export_pipeline_tests.formats.tables import ANY_TEXT, CREATED, read_back, rendered, table
from export_pipeline_tests.takeoff_data import Application

COLUMNS = (
    Column("text", "Text", Kind.TEXT),
    Column("number", "Number", Kind.INTEGER),
    Column("ratio", "Ratio", Kind.FLOAT),
    Column("yes", "Yes", Kind.BOOLEAN),
    Column("price", "Price", Kind.DECIMAL),
    Column("at", "At", Kind.TIMESTAMP),
)
DECIMALS = st.decimals(
    allow_nan=False, allow_infinity=False, places=10, min_value=-(10**20), max_value=10**20
)
ROWS = st.lists(
    st.tuples(
        st.none() | ANY_TEXT,
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(),
        st.none() | st.booleans(),
        st.none() | DECIMALS,
        st.just(CREATED),
    ),
    max_size=10,
)


def strictly(data: bytes) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return stdlib_json.loads(data, parse_constant=refuse, parse_float=Decimal)


@pytest.mark.slow
@given(ROWS)
def test_every_cell_comes_back(rows: list[tuple[Any, ...]]) -> None:
    data, done = rendered("json", table(COLUMNS, rows))
    document = strictly(data)
    assert len(document) == done.rows == len(rows)
    strange = 0
    for row, (text, number, ratio, yes, price, at) in zip(document, rows, strict=True):
        assert list(row) == [column.name for column in COLUMNS]
        assert (row["text"], row["number"], row["yes"]) == (text, number, yes)
        if ratio is not None and not math.isfinite(ratio):
            strange += 1
            ratio = None
        assert (None if row["ratio"] is None else float(row["ratio"])) == ratio
        assert row["price"] == price
        assert row["at"] == at.strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    assert sum(done.changed.values()) == strange


@given(st.lists(st.integers(0, 5), max_size=8))
def test_children_lie_in_their_parents(counts: list[int]) -> None:
    parent = table((Column("id", "Id", Kind.INTEGER),), [(n,) for n in range(len(counts))])
    children = [(owner, n) for owner, count in enumerate(counts) for n in range(count)]
    child = table((Column("of", "Of", Kind.INTEGER), Column("n", "N", Kind.INTEGER)), children)
    data, done = rendered("json", child, {"a": 1, "parents": NestedTable(parent, "children", child, counts)})
    parents = strictly(data)["parents"]
    assert [row["id"] for row in parents] == list(range(len(counts)))
    assert [(c["of"], c["n"]) for row in parents for c in row["children"]] == children
    assert [len(row["children"]) for row in parents] == counts
    assert done.rows == len(children)


def test_json_cells_are_embedded_or_said_to_be_none() -> None:
    column = Column("g", "G", Kind.JSON)
    cells = ['{"x": 1.10, "y": [1e3]}', "null", "", "{broken", "NaN", None, '{"a":\n1}', "1 2", '"\\ud800"']
    data, done = rendered("json", table((column,), [(cell,) for cell in cells]))
    values = [row["g"] for row in stdlib_json.loads(data)]
    assert values == [
        {"x": 1.1, "y": [1000.0]},
        None,
        "",
        "{broken",
        "NaN",
        None,
        {"a": 1},
        "1 2",
        '"\\ud800"',
    ]
    assert b"1.10" in data
    assert dict(done.changed) == {(NO_JSON, "g"): 5}


_SCALARS = st.sampled_from([
    "1", "-0.50", "01", "1.", "-", "1e5", "NaN", "true", "null", "nul", '"a"', '"é{}"', '"\\u00e9"', '"\\x"', '"a\tb"',
    '"\\ud83d\\ude00"', '"\\ud800"', '"', "[]", "[1, 2]", "[1,]", "{}", '{"b":[1]}',
])  # fmt: skip
_OBJECTS = st.lists(st.tuples(st.sampled_from(['"a"', '"b" ', "c"]), _SCALARS), max_size=3).map(
    lambda members: "{" + ",".join(f"{key}:{value}" for key, value in members) + "}"
)


@pytest.mark.slow
@given(
    st.lists(
        st.none()
        | _SCALARS
        | _OBJECTS
        | st.tuples(_OBJECTS, st.sampled_from([" ", "x", ",", "}"])).map("".join)
    )
)
def test_only_json_is_embedded(cells: list[str | None]) -> None:
    data, done = rendered("json", table((Column("g", "G", Kind.JSON),), [(cell,) for cell in cells]))
    values = [row["g"] for row in stdlib_json.loads(data)]
    valid = is_valid_json(pa.array(cells, pa.string())).to_pylist()
    expected = [stdlib_json.loads(c) if yes and c else c for c, yes in zip(cells, valid, strict=True)]
    assert values == expected
    assert done.changed[NO_JSON, "g"] == sum(
        c is not None and not yes for c, yes in zip(cells, valid, strict=True)
    )


def test_a_takeoff_document_nests_measurements_in_conditions(tmp_path: Path) -> None:
    application = Application(f"sqlite:///{tmp_path}/app.db")
    project = application.project('P \u2028 "quoted"', client_name="Ü")
    page = application.page(application.document(project, "d.pdf"), 3)
    full, empty = (
        application.condition(project, "full", "area", category="X"),
        application.condition(project, "none"),
    )
    application.measurement(full, page, 0.1, unit="SF", notes="tab\tnew\nline")
    application.measurement(full, page, 0.2, unit="SF")
    application.assembly(full, total_cost=Decimal("12.30"), unit_cost=Decimal("41.0000"))
    data, done = rendered("json", application.layout(project).main, application.layout(project).document)
    summary, _ = rendered(
        "json", application.layout(project).main, application.layout(project, include_details=False).document
    )
    application.close()
    document = strictly(data)
    assert list(document) == ["exportInfo", "project", "summary", "pages", "conditions"]
    assert document["project"]["name"] == 'P \u2028 "quoted"'
    assert document["summary"]["totalMeasurements"] == 2 == done.rows
    first, second = document["conditions"]
    assert (first["id"], first["measurementType"], first["category"]) == (full, "area", "X")
    assert float(first["totalQuantity"]) == 0.1 + 0.2
    assert (first["totalCost"], first["unitCost"]) == (Decimal("12.3"), 41)
    assert (second["id"], second["measurements"]) == (empty, [])
    one = first["measurements"][0]
    assert (one["notes"], one["document"], one["pageNumber"]) == ("tab\tnew\nline", "d.pdf", 3)
    assert one["geometryData"] == {"start": {"x": 0, "y": 0}, "end": {"x": 100, "y": 0}}
    assert "measurements" not in strictly(summary)["conditions"][0]


def test_read_back_counts_the_rows_the_document_names(tmp_path: Path) -> None:
    parent = table((Column("id", "Id", Kind.INTEGER),), [(1,), (2,)])
    child = table((Column("q", "Q", Kind.FLOAT),), [(1.5,), (2.5,), (float("nan"),)])
    document = {
        "exportInfo": {"rowsPath": "a[].b[]"},
        "other": [{"q": 7}],
        "a": NestedTable(parent, "b", child, [0, 3]),
    }
    data, _ = rendered("json", child, document)
    file = tmp_path / "a.json"
    file.write_bytes(data)
    facts = read_back("json", file)
    assert (facts.rows, facts.totals, facts.problems) == (3, {"q": 4.0}, ())
    file.write_bytes(data[:-4])
    assert read_back("json", file).problems
    file.write_bytes(b"")
    assert read_back("json", file).problems
