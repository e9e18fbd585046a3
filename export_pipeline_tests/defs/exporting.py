"""Exports of a dataset as its defs.yaml declares it, by the stages that the ops run, read by other readers."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml

from export_pipeline import tabular
from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.core.layout import Layout
from export_pipeline.core.sanitize import sanitize
from export_pipeline.core.windows import Window
from export_pipeline.datasets.options import parse_options
from export_pipeline.datasets.table import TableModel
from export_pipeline.formats.options import FormatOptions
from export_pipeline.formats.registry import FORMATS
from export_pipeline.orchestration.runs.staging import load, save
from export_pipeline.sources.snapshot import open_snapshot
from export_pipeline.sources.tables import read as source


@cache
def attributes(dataset: str) -> dict[str, Any]:
    """The attributes in a dataset's defs.yaml, with the text of its .sql file."""
    folder = resources.files("export_pipeline") / "defs" / dataset
    declared: dict[str, Any] = yaml.safe_load((folder / "defs.yaml").read_text("utf-8"))["attributes"]
    if file := declared["source"].get("sql"):
        declared["source"]["sql"] = (folder / file).read_text("utf-8")
    for view in declared["source"].get("views", {}).values():
        view["sql"] = (folder / view["sql"]).read_text("utf-8")
    return declared


@cache
def spec(dataset: str) -> dict[str, Any]:
    """The checked spec of the table in it, as JSON values."""
    return TableModel.model_validate(attributes(dataset)).spec()


@dataclass(frozen=True)
class Export:
    """One export that was read, built and cleaned; formats are rendered when they are asked for."""

    data: ExportData
    layout: Layout
    options: Any  # a FormatOptions, a class that is made at run time
    folder: Path

    def file(self, format: str) -> Path:
        """A rendered file that holds what the database itself counted and added."""
        path = self.folder / f"export{FORMATS[format].extension}"
        with path.open("wb") as out:
            FORMATS[format].render(self.layout, out, self.options.of(format))
        facts = FORMATS[format].read_back(path, self.options.of(format))
        proof = FORMATS[format].proof(self.layout, self.options.of(format))
        assert (facts.rows, facts.problems) == (proof.rows, ())
        for column, (total, tolerance) in proof.totals.items():
            assert abs(facts.totals.get(column, 0.0) - total) <= tolerance, (format, column)
        return path

    @cached_property
    def csv(self) -> list[list[str]]:
        """The CSV file's rows, the header first."""
        text = self.file("csv").read_bytes().decode("utf-8")
        return list(csv.reader(io.StringIO(text, newline=""), strict=True))

    @cached_property
    def json(self) -> Any:
        """The JSON file, its numbers exact."""
        return json.loads(self.file("json").read_bytes(), parse_float=Decimal)


@dataclass(frozen=True)
class Sample:
    """A filled database."""

    url: str
    folder: Path

    def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        """A whole table, as the driver gives it; times of tables that know their zone have it."""
        engine = sa.create_engine(self.url)
        try:
            with engine.connect() as connection:
                rows = [dict(row) for row in connection.execute(sa.select(table)).mappings()]
        finally:
            engine.dispose()
        zoned = [c.name for c in table.columns if isinstance(c.type, sa.DateTime) and c.type.timezone]
        for row in rows:
            row |= {
                name: moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
                for name in zoned
                if (moment := row[name])
            }
        return rows

    def by_id(self, table: sa.Table) -> dict[Any, dict[str, Any]]:
        """A whole table by its ids."""
        return {row["id"]: row for row in self.rows(table)}

    def scopes(self, dataset: str) -> dict[str, str]:
        """Names of the dataset's scopes by id."""
        with open_snapshot(self.url) as snapshot:
            return source.scopes(snapshot, spec(dataset))

    def export(
        self, dataset: str, scope: object = None, window: Window | None = None, **options: Any
    ) -> Export:
        """Export a dataset with these options and those that its defs.yaml gives."""
        declared = spec(dataset)
        given, formats = parse_options(
            {**attributes(dataset).get("options", {}), **options}, tabular.options(declared), FormatOptions
        )
        assert isinstance(formats, FormatOptions)
        folder = Path(self.folder) / f"export-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        who = None if scope is None else str(scope)
        with open_snapshot(self.url) as snapshot:
            data = source.read(snapshot, Request(dataset, tabular, declared, who, given, window))
            save(replace(data, options={**data.options, **formats.model_dump()}), folder / "read")
        built = tabular.build(load(folder / "read", {data.dataset: data}))
        cleaned = sanitize(built)
        save(cleaned, folder / "clean")
        done = load(folder / "clean", {data.dataset: data})
        return Export(done, tabular.layout(done), formats, folder)


CLEANED = {0x202E: "\ufffd"}
"""The only illegal character in the samples: the mark that reverses the reading direction."""


def agrees(cell: str, value: Any, null: str = "") -> bool:
    """True if a cell of CSV equals a value: numbers and times by value, the rest by text."""
    match value:
        case None:
            return cell == null
        case bool():
            return cell == ("Yes" if value else "No")
        case int() | float() | Decimal():
            return bool(cell) and (float if isinstance(value, float) else Decimal)(cell) == value
        case datetime():
            # In UTC: Python takes no two moments of an hour that comes twice for equal in different zones.
            return bool(cell) and datetime.fromisoformat(cell).astimezone(UTC) == value.astimezone(UTC)
        case date():
            return cell == value.isoformat()
    return cell == _guarded(str(value).translate(CLEANED))


def _guarded(text: str) -> str:
    """A text as CSV has it: what a spreadsheet would run is led by an apostrophe."""
    risky = text.lstrip()[:1] in set("=+-@＝＋－＠") or text[:1] in set("\t\r\n\0")
    return f"'{text}" if text and risky else text


def differences(actual: list[list[str]], expected: list[list[Any]], null: str = "") -> list[str]:
    """The differences between CSV rows without their header and the expected values."""
    if len(actual) != len(expected):
        return [f"{len(actual)} rows instead of {len(expected)}"]
    return [
        f"row {r}, column {c}: {cell!r} instead of {value!r}"
        for r, (cells, values) in enumerate(zip(actual, expected, strict=True))
        for c, (cell, value) in enumerate(zip(cells, values, strict=True))
        if not agrees(cell, value, null)
    ]


def plain(value: Any) -> Any:
    """A value of JSON, or what it should be, in a form in which equal ones are equal.

    Moments are in UTC without saying so: SQLite's own columns name no zone either.
    """
    match value:
        case dict():
            return {key: plain(one) for key, one in value.items()}
        case list():
            return [plain(one) for one in value]
        case bool() | None:
            return value
        case float():
            return Decimal(repr(value)).normalize()
        case int() | Decimal():
            return Decimal(value).normalize()
        case datetime():
            return (value.astimezone(UTC) if value.tzinfo else value).replace(tzinfo=None).isoformat()
        case date():
            return value.isoformat()
        case str():
            try:
                return (
                    plain(datetime.fromisoformat(value)) if "T" in value[10:11] else value.translate(CLEANED)
                )
            except ValueError:
                return value.translate(CLEANED)
    raise TypeError(type(value))
