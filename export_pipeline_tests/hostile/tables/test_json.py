"""JSON and JSON Lines of random tables: every value as documented, or counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from export_pipeline_tests.hostile.tables import rules
from export_pipeline_tests.hostile.tables.exporting import Exported, each_sample
from export_pipeline_tests.hostile.tables.rules import Changed


def check_json(made: Exported) -> None:
    sample, options = made.sample, made.sample.options
    units = options.get("json_money", "units") == "units"
    shape = options.get("json_shape", "array")
    for format in ("json", "jsonl"):
        path, done = made.file(format)
        text = path.read_text("utf-8")
        if format == "jsonl" or shape == "lines":
            lines = text.split("\n")
            assert lines.pop() == ""
            if sample.rows == 0:
                assert text == "" if format == "jsonl" else text.strip() == ""
                lines = []
            if format == "json" and sample.rows == 1:
                assert lines.pop() == ""
            rows = [rules.pairs(line) for line in lines]
        else:
            document = rules.pairs(text)
            if shape == "object":
                ((key, document),) = document
                assert key == "rows"
            rows = document
            assert text.count("\n") >= sample.rows
        assert len(rows) == sample.rows
        changed: Changed = Counter()
        for row, record in enumerate(rows):
            for (column, value), (key, cell) in zip(rules.of(sample, row), record, strict=True):
                assert key == column.name
                assert rules.json_read(column, cell) == rules.json_cell(column, value, units, changed), column
        assert done.changed == changed, format
        _others_read(path, format, shape, rows)


def _others_read(path: Path, format: str, shape: str, rows: list[Any]) -> None:
    """Event by event the same keys come, as often."""
    import ijson

    if (format == "json" and shape == "lines") or format == "jsonl":
        return
    prefix = "rows.item" if shape == "object" else "item"
    with path.open("rb") as file:
        events = list(ijson.parse(file, use_float=False))
    assert sum(event == ("start_map") and at == prefix for at, event, _ in events) == len(rows)
    keys = [value for at, event, value in events if event == "map_key" and at == prefix]
    assert keys == [key for record in rows for key, _ in record]


@pytest.mark.slow
def test_json_says_what_the_database_says(database: tuple[str, str, Path]) -> None:
    each_sample(database, check_json)
