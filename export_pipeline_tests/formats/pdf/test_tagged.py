"""Tagged documents (PDF/UA-1): valid, and with the tables that people see."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pikepdf
import pyarrow as pa
import pytest

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Drawing, Group, Layout, Section, Total
from export_pipeline.core.tables import Table
from export_pipeline.formats.pdf import structure
from export_pipeline.formats.pdf.readback import read_back
from export_pipeline.takeoff.drawings import SHAPE_COLUMNS
from export_pipeline_tests.formats.pdf.reading import check, layout, shown, write

page_validation: Any = pytest.importorskip("page")  # of the package page-validation


def table(rows: int, columns: int = 3) -> Table:
    names = [f"c{i}" for i in range(columns)]
    declared = (Column("n", "N", Kind.INTEGER), *(Column(name, name.upper(), Kind.TEXT) for name in names))
    data: dict[str, Any] = {"n": pa.array(range(rows), pa.int64())}
    data |= {name: [f"{name} of {row}" for row in range(rows)] for name in names}
    return Table.of("t", declared, pa.table(data), batch_rows=17)


def violations(path: Path) -> list[str]:
    """The rules of PDF/UA-1 that an independent checker finds broken."""
    report = page_validation.validate_pdf(str(path), profile=page_validation.ValidationProfile.PDF_UA_1)
    assert report.rules.total > 100
    return [f"{failure.rule_id}: {failure.message}" for failure in report.failures]


def texts(path: Path) -> dict[tuple[tuple[int, int], int], str]:
    """The text of every mark, by page object and number."""
    marked: dict[tuple[tuple[int, int], int], str] = {}
    with pikepdf.open(path) as file:
        for one in file.pages:
            numbers = [
                operands[1].get("/MCID") if len(operands) > 1 else None
                for operands, operator in pikepdf.parse_content_stream(one)
                if str(operator) in ("BDC", "BMC")
            ]
            marks: list[Any] = []
            waiting = iter(numbers)
            for kind, value in shown(one):
                if kind == "mark":
                    marks.append(next(waiting))
                elif kind == "end":
                    marks.pop()
                else:
                    number = next((int(mark) for mark in reversed(marks) if mark is not None), None)
                    if number is not None:
                        key = (one.obj.objgen, number)
                        marked[key] = marked.get(key, "") + value
    return marked


def tree(path: Path) -> list[Any]:
    """The structure as nested lists: [type, children or text …]."""
    marked = texts(path)

    def read(element: Any) -> list[Any]:
        kids = element.get("/K", pikepdf.Array())
        kids = kids if isinstance(kids, pikepdf.Array) else [kids]
        made: list[Any] = [str(element.S)[1:]]
        for kid in kids:
            if isinstance(kid, int):
                made.append(marked[element.Pg.objgen, int(kid)])
            elif kid.get("/Type") == pikepdf.Name.MCR:
                made.append(marked[kid.Pg.objgen, int(kid.MCID)])
            else:
                made.append(read(kid))
        return made

    with pikepdf.open(path) as file:
        return read(file.Root.StructTreeRoot.K)


def test_the_structure_has_headings_facts_and_the_cells_of_each_row(tmp_path: Path) -> None:
    path = tmp_path / "t.pdf"
    groups = (Group("First", 1, ("1 row",)), Group("Second", 2, (), (Total("Sum", {"n": 3}),)))
    section = Section("t", "Numbers", table(3, 2), groups=groups, counts=True, sums=("n",))
    write(path, layout(section, title="Numbers", facts=(("For", "Acme"),)))
    assert violations(path) == []
    head = ["TR", ["TH", "N"], ["TH", "C0"], ["TH", "C1"]]
    rows = [["TR", ["TD", f"{row}"], ["TD", f"c0 of {row}"], ["TD", f"c1 of {row}"]] for row in range(3)]
    assert tree(path) == [
        "Document",
        ["H1", "Numbers"],
        ["P", "For", "Acme"],
        ["P", "Data as of", "2025-03-04 05:06 UTC"],
        ["H2", "First"],
        ["P", "1 row"],
        ["Table", head, rows[0]],
        ["H2", "Second"],
        ["Table", head, *rows[1:], ["TR", ["TD", "3"], ["TD", "Sum"], ["TD"]]],
    ]


def linked() -> tuple[Section, ...]:
    """A chapter whose rows lead to the groups of another, one of them to none."""
    groups = tuple(Group(f"Group {number}", 40) for number in range(2))
    links = Section("a", "A", table(3), links=("c0", "b"), targets=(1, None, 0))
    return links, Section("b", "B", table(80), groups=groups, counts=True, sums=("n",))


def drawing(conditions: int) -> Drawing:
    """A page with a line, a square with a hole, a dot, and a shape that cannot be drawn."""
    square = [10.0, 10, 90, 10, 90, 90, 10, 90]
    points = [[0.0, 0, 50, 50], square, [5.0, 5], []]
    data = {
        "kind": ["line", "polygon", "point", "none"],
        "color": ["#FF0000"] * 4,
        "fill_opacity": [0.3] * 4,
        "line_width": [2.0] * 4,
        "points": pa.array(points, pa.list_(pa.float64())),
        "holes": pa.array([None, [[20.0, 20, 30, 20, 30, 30]], None, None], pa.list_(pa.list_(pa.float64()))),
        "label": ["1", "2", "3", "4"],
    }
    legend = tuple((f"Condition {number}", "#FF0000") for number in range(conditions))
    shapes = Table.of("shapes", SHAPE_COLUMNS, pa.table(data))
    return Drawing("A-101", 200, 100, shapes, ("Scale: 1:1",), legend, units_per_foot=10)


def test_links_say_where_they_lead_and_drawings_what_they_show(tmp_path: Path) -> None:
    path = tmp_path / "t.pdf"
    write(path, layout(*linked(), drawings=(drawing(2),)))
    with pikepdf.open(path) as file:
        links = [link for page in file.pages for link in page.obj.get("/Annots", [])]
        assert [str(link.Contents) for link in links] == ["Go to Group 1", "Go to Group 0"]
        elements = dict(zip(*[iter(file.Root.StructTreeRoot.ParentTree.Nums)] * 2, strict=True))
        for link in links:
            element = elements[int(link.StructParent)]
            assert pikepdf.Name.Link == element.S
            assert element.P.S == pikepdf.Name.TD
            objects = [kid.Obj for kid in element.K if kid.Type == pikepdf.Name.OBJR]
            assert [object.objgen for object in objects] == [link.objgen]
        (figure,) = (kid for kid in file.Root.StructTreeRoot.K.K if pikepdf.Name.Figure == kid.S)
        assert str(figure.Alt) == "A-101: 4 shapes of Condition 0, Condition 1"
        left, low, right, high = map(float, figure.A.BBox)
        assert 0 < left < right < 792
        assert (right - left) / (high - low) == pytest.approx(2, rel=0.01)


def layouts() -> dict[str, Layout]:
    tall = Table.of("t", (Column("a", "A", Kind.TEXT),), pa.table({"a": ["long text " * 3000, "short"]}))
    odd = Table.of(
        "t",
        (Column("a", "=A & <b>", Kind.TEXT, null="–"), Column("t", "T", Kind.TIMESTAMP)),
        pa.table({
            "a": ["שלום עולם", None, "\U0001f600 \ue000", "two\nlines", ""],
            "t": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 5, pa.timestamp("us", tz="UTC")),
        }),
    )  # fmt: skip
    total = Total("Total", {"n": 4950})
    return {
        "many pages": layout(Section("t", "T", table(100), totals=(total,), counts=True, sums=("n",))),
        "bands": layout(Section("t", "T", table(100, 25), totals=(total,), counts=True, sums=("n",))),
        "tall rows": layout(Section("t", "T", tall, counts=True)),
        "odd texts": layout(Section("t", "T", odd, counts=True), title="Odd <title> & \x07"),
        "no rows": layout(Section("t", "T", table(0), counts=True)),
        "links and drawings": layout(*linked(), drawings=(drawing(1), drawing(40))),
        "two chapters": layout(Section("a", "A", table(2)), Section("b", "B", table(3), counts=True)),
    }


@pytest.mark.parametrize("name", list(layouts()))
def test_an_independent_checker_finds_no_broken_rule(tmp_path: Path, name: str) -> None:
    path = tmp_path / "t.pdf"
    write(path, layouts()[name])
    assert violations(path) == []
    check(path)
    assert read_back(path).problems == ()


def test_every_cell_of_bands_and_pages_is_in_its_row_once(tmp_path: Path) -> None:
    path = tmp_path / "t.pdf"
    write(path, layouts()["bands"])
    tables = [element for element in tree(path) if element[0] == "Table"]
    _, head, *rows = tables[0]
    assert [cell[1] for cell in head[1:]] == ["N", *(f"C{i}" for i in range(25))]
    cells = [["".join(cell[1:]) for cell in row[1:]] for row in rows[:-1]]
    assert cells == [[str(row), *(f"c{i} of {row}" for i in range(25))] for row in range(100)]
    assert {len(row) for row in rows} == {27}


@pytest.mark.parametrize("together", [1, 2, 100])
def test_rows_of_several_tables_are_in_their_own_table_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr("export_pipeline.formats.pdf.row_elements._TOGETHER", together)
    path = tmp_path / "t.pdf"
    sizes = {"A": (150, 2), "B": (90, 5), "C": (1, 1)}
    chapters = [
        Section(title, title, table(*size), counts=title == "A", totals=(Total("Sum", {"n": 7}),))
        for title, size in sizes.items()
    ]
    write(path, layout(*chapters))
    assert violations(path) == []
    check(path)
    tables = [element[1:] for element in tree(path) if element[0] == "Table"]
    for (rows, columns), (_, *body, last) in zip(sizes.values(), tables, strict=True):
        cells = [["".join(cell[1:]) for cell in row[1:]] for row in body]
        assert cells == [[str(row), *(f"c{i} of {row}" for i in range(columns))] for row in range(rows)]
        assert last[1] == ["TD", "7"]


def test_long_documents_are_tagged_only_if_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export_pipeline.formats.pdf.write.MAX_CELLS", 11)
    assert structure.MAX_CELLS == 50_000
    for options, is_tagged in (({}, False), ({"tagged": True}, True)):
        path = tmp_path / "t.pdf"
        write(path, layout(Section("t", "T", table(3), counts=True)), options)
        with pikepdf.open(path) as file:
            assert ("/StructTreeRoot" in file.Root) is is_tagged
