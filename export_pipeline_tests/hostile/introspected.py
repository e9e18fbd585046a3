"""Tables introspected and exported without an edit, used in every offered way, and compared cell by cell."""

from __future__ import annotations

import math
import re
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import yaml

from export_pipeline import tabular
from export_pipeline.core.export_data import Request
from export_pipeline.core.sanitize import sanitize
from export_pipeline.datasets.options import parse_options
from export_pipeline.datasets.table import TableModel
from export_pipeline.formats.options import FormatOptions
from export_pipeline.formats.registry import FORMATS
from export_pipeline.orchestration.runs.staging import load, save
from export_pipeline.sources.introspection.introspect import introspect
from export_pipeline.sources.snapshot import open_snapshot
from export_pipeline.sources.tables import read as source
from export_pipeline.tabular.spec import ColumnSpec, TableSpec
from export_pipeline.tabular.validation import CheckedTableSpec
from export_pipeline_tests.hostile.file_readers import READERS
from export_pipeline_tests.hostile.plain_driver import Row, read_rows
from export_pipeline_tests.tools import require_tool


@dataclass(frozen=True)
class Exported:
    """A table, introspected and exported without an edit."""

    yaml: str
    spec: TableSpec
    columns: Sequence[ColumnSpec]
    files: dict[str, Path]
    problems: Sequence[str]
    changed: Mapping[tuple[str, str], int]


def export(
    url: str, table: str, folder: Path, formats: Sequence[str] | None = None, **asked: Any
) -> Exported:
    """Introspect a table and export all its own columns by the stages that a run has, with staging between them."""
    introspected = introspect(url, table)
    model = TableModel.model_validate(yaml.safe_load(introspected.yaml)["attributes"])
    spec = CheckedTableSpec.model_validate(model.spec())
    columns = [column for column in spec.columns if not column.hidden and not column.extra]
    options, format_options = parse_options(
        {**model.options, "excel_layout": "plain", **asked}, tabular.options(model.spec()), FormatOptions
    )
    assert isinstance(format_options, FormatOptions)
    request = Request(model.dataset, tabular, model.spec(), None, options, None)
    folder.mkdir(parents=True)
    with open_snapshot(url) as snapshot:
        data = source.read(snapshot, request)
        save(replace(data, options={**data.options, **format_options.model_dump()}), folder / "read")
    save(sanitize(tabular.build(load(folder / "read", {data.dataset: data}))), folder / "clean")
    clean = load(folder / "clean", {data.dataset: data})
    changed, layout = dict(clean.changed), tabular.layout(clean)
    files, problems = {}, []
    for name in formats or model.formats:
        path = folder / f"export{FORMATS[name].extension}"
        with path.open("wb") as out:
            FORMATS[name].render(layout, out, format_options.of(name))
        facts = FORMATS[name].read_back(path, format_options.of(name))
        proof = FORMATS[name].proof(layout, format_options.of(name))
        if (facts.rows, tuple(facts.problems)) != (proof.rows, ()):
            problems.append(f"{table} as {name}: {facts.rows} rows, not {proof.rows}; {facts.problems}")
        for column, (total, tolerance) in proof.totals.items():
            if not abs(facts.totals.get(column, 0.0) - total) <= tolerance:
                problems.append(
                    f"{table} as {name}: {column} adds up to {facts.totals.get(column)}, not {total}"
                )
        files[name] = path
    return Exported(introspected.yaml, spec, columns, files, problems, changed)


_USED: dict[str, Any] = {
    "integer": 1, "decimal": "1.5", "float": 1.5, "boolean": True, "date": "2013-01-01",
    "timestamp": "2013-01-01T00:00:00", "text": "a", "uuid": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
}  # fmt: skip


def use_everything(url: str, table: str) -> int:
    """Read a table by each filter, operator, order and preset that its introspection offers; how often it was read."""
    model = TableModel.model_validate(yaml.safe_load(introspect(url, table).yaml)["attributes"])
    spec, columns = model.spec(), {column.name: column for column in model.columns}
    reads = 0
    with open_snapshot(url) as snapshot:

        def read(**given: Any) -> int:
            nonlocal reads
            options, _ = parse_options(given, tabular.options(spec), FormatOptions)
            request = Request(model.dataset, tabular, spec, None, options, None)
            data = source.read(snapshot, request)
            rows = sum(batch.num_rows for batch in data.tables["rows"].open())
            assert rows == data.source_rows, given
            reads += 1
            return rows

        whole = read()
        for name, filter_ in model.filters.items():
            of = columns.get(name) or next(c for c in columns.values() if filter_.column in (c.from_, c.name))
            value = _USED.get(of.parsed.kind.value) or next(iter(of.labels), None)
            used = {
                "equals": value,
                "in": [value],
                "range": {"from": value},
                "contains": "a",
                "is_null": True,
            }
            asked = {
                operator: read(filters={name: {operator: used[operator]}}) for operator in filter_.operators
            }
            if "is_null" in asked:
                assert asked["is_null"] + read(filters={name: {"is_null": False}}) == whole, name
            if "equals" in asked and "in" in asked:
                assert asked["equals"] == asked["in"], name
        for name in model.sort:
            assert read(sort=[name]) == read(sort=[f"-{name}"]) == whole
        for name in model.presets:
            assert read(preset=name) == whole
    return reads


_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u202d\u202e]")
_RUNS = re.compile(r"[\s\u200b-\u200f\u2060-\u206f\ufeff]*[=+\-@＝＋－＠]|[\t\r\n\x00]")


def expected(rows: Sequence[Row], columns: Sequence[ColumnSpec], format: str) -> list[Row]:
    """The expected cells of these rows in a format, by its documented rules."""

    def cell(value: Any, column: ColumnSpec) -> Any:
        is_text = column.parsed.kind.is_text
        if isinstance(value, str):
            value = _ILLEGAL.sub("\ufffd", value)
        if format == "csv" and is_text and value:
            return f"'{value}" if _RUNS.match(value) else value
        if format in ("csv", "excel") and value == "":
            return None
        if isinstance(value, float) and not math.isfinite(value) and format in ("json", "jsonl"):
            return None
        if format == "excel" and column.type == "timestamp" and value is not None:
            naive = value.replace(tzinfo=None)
            micros = round(naive.microsecond / 1000) * 1000
            wall = naive.replace(microsecond=0) + timedelta(microseconds=micros)
            return wall if column.zone is None else wall.replace(tzinfo=UTC)
        return value

    return [tuple(cell(cell_value, c) for cell_value, c in zip(row, columns, strict=True)) for row in rows]


def differences(url: str, table: str, made: Exported) -> list[str]:
    """Everything that a file says otherwise than the database; nothing, if all is well."""
    every = read_rows(url, made.spec, made.columns)
    problems = list(made.problems)
    for format, path in made.files.items():
        places = [i for i, c in enumerate(made.columns) if c.formats is None or format in c.formats]
        columns, rows = [made.columns[i] for i in places], [tuple(row[i] for i in places) for row in every]
        if format == "pdf":
            problems += _missing_in_pdf(path, expected(rows, columns, "pdf"), columns, table)
            continue
        lines = READERS[format](path, columns)
        in_rows = expected(rows, columns, format)
        expected_rows = Counter(in_rows)
        missing, extra = expected_rows - Counter(lines), Counter(lines) - expected_rows
        for row in list(missing)[:2]:
            near = max(
                extra, key=lambda one: sum(a == b for a, b in zip(one, row, strict=True)), default=None
            )
            cells = [
                f"{c.name}: {b!r} instead of {a!r}"
                for a, b, c in zip(row, near or (), columns, strict=False)
                if a != b
            ]
            problems.append(
                f"{table} as {format}: {sum(missing.values())} rows differ, e.g. {'; '.join(cells[:4])}"
            )
        key = [c.name for c in columns if (c.from_ or c.name) in made.spec.source.key]
        places = [i for i, c in enumerate(columns) if c.name in key]
        if len(key) == len(made.spec.source.key) == 1 and not missing:
            order, in_order = ([row[places[0]] for row in some] for some in (lines, in_rows))
            if None not in order and order != in_order:
                problems.append(f"{table} as {format} is not in the order of its key")
    return problems


def _missing_in_pdf(path: Path, rows: Sequence[Row], columns: Sequence[ColumnSpec], table: str) -> list[str]:
    """Words of texts and whole numbers that a PDF's text does not have; long ones may be broken over lines."""
    tool = str(require_tool("pdftotext"))
    text = subprocess.run([tool, "-layout", str(path), "-"], capture_output=True, check=True).stdout.decode()
    words = set(text.split())
    letters = re.sub(r"\s", "", text)
    expected_texts: set[str] = set()
    for row in rows:
        for cell, column in zip(row, columns, strict=True):
            if isinstance(cell, str) and column.type != "json":
                expected_texts.update(word for word in cell.split() if len(word) <= 8 and word.isascii())
            elif isinstance(cell, int) and not isinstance(cell, bool):
                expected_texts.add(f"{cell:,}" if f"{cell:,}" in words else str(cell))
    lost = [word for word in expected_texts if word not in words and word not in letters]
    return [f"{table} as pdf: {len(lost)} words are missing, e.g. {sorted(lost)[:5]}"] if lost else []
