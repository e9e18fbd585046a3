"""The hostile project as JSON, read by strict parsers."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import datetime
from decimal import Decimal
from typing import Any, NoReturn

import duckdb
import orjson
import pytest

from export_pipeline_tests.hostile.conftest import Hostile
from export_pipeline_tests.hostile.rules import clean, joined

NO_NUMBER = "not a finite number, written as null"
NO_JSON = "not valid JSON, written as a string"
MEASUREMENT = (
    "id", "page_id", "geometry_type", "geometry_data", "quantity", "unit", "pixel_length", "pixel_area", "is_ai_generated", "ai_confidence", "ai_model",
    "is_modified", "is_verified", "is_rejected", "rejection_reason", "review_notes", "notes", "created_at", "updated_at",
)  # fmt: skip
CONDITION = (
    "id", "name", "description", "scope", "category", "measurement_type", "color", "line_width", "fill_opacity", "unit", "depth", "thickness", "sort_order",
    "is_ai_generated", "is_visible", "building", "area", "elevation", "created_at", "updated_at",
)  # fmt: skip
PAGE = (
    "id", "document_id", "document", "page_number", "width", "height", "dpi", "page_width_inches", "page_height_inches", "image_key", "title",
    "sheet_number", "sheet_title", "scale_text", "scale_value", "scale_unit", "scale_calibrated",
)  # fmt: skip


def _refused(word: str) -> NoReturn:
    raise AssertionError(f"{word} is no JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs) or not {"geometryData", "conditions"} & {key for key, _ in pairs}
    return dict(pairs)


def strict(text: str | bytes) -> Any:
    """Parsed with every digit; what RFC 8259 does not know is refused."""
    return json.loads(text, parse_float=Decimal, parse_constant=_refused, object_pairs_hook=_unique)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class Comparison:
    """Compares objects with rows, and counts what is said differently."""

    def __init__(self) -> None:
        self.changed: Counter[tuple[str, str]] = Counter()

    def check(self, row: dict[str, Any], names: tuple[str, ...], document: dict[str, Any]) -> None:
        for name in names:
            key, value = _camel(name), row[name]
            content = document[key]
            if name == "geometry_data":
                self._geometry(value, content)
            elif isinstance(value, datetime):
                assert datetime.fromisoformat(content) == value
            elif isinstance(value, str):
                assert content == clean(value)
            elif isinstance(value, bool) or value is None:
                assert content is value
            elif not math.isfinite(value):
                assert content is None
                self.changed[NO_NUMBER, key] += 1
            elif isinstance(value, int):
                assert (type(content), content) == (int, value)
            else:
                assert float(content) == value
                assert math.copysign(1, float(content)) == math.copysign(1, value)

    def _geometry(self, stored: str, value: Any) -> None:
        text = clean(stored)
        assert text is not None
        try:
            expected = strict(text)
            orjson.loads(text)
        except (ValueError, AssertionError, RecursionError):
            assert value == text
            self.changed[NO_JSON, "geometryData"] += 1
        else:
            assert value == expected


@pytest.mark.slow
def test_every_value_is_the_database_s_or_counted(hostile: Hostile) -> None:
    path, done = hostile.file("json")
    document = strict(path.read_text(encoding="utf-8", errors="strict"))
    truth, comparison = hostile.truth, Comparison()
    assert [page["id"] for page in document["pages"]] == [row["id"] for row in truth.pages]
    for row, part in zip(truth.pages, document["pages"], strict=True):
        comparison.check(row, PAGE, part)
    assert [condition["id"] for condition in document["conditions"]] == [
        row["id"] for row in truth.conditions
    ]
    children = iter(truth.measurements)
    for row, part in zip(truth.conditions, document["conditions"], strict=True):
        comparison.check(row, CONDITION, part)
        for name in ("overhead_percent", "profit_percent", "total_labor_hours"):
            value = row["assembly"] and row["assembly"][name]
            if value is not None and not math.isfinite(value):
                comparison.changed[NO_NUMBER, _camel(name)] += 1
            elif name == "total_labor_hours":
                # Scaled with the quantity: too large a product is infinite.
                comparison.changed[NO_NUMBER, "totalLaborHours"] += (
                    value == 1e300 and part["totalLaborHours"] is None
                )
        for measurement in part["measurements"]:
            row = next(children)
            comparison.check(row, MEASUREMENT, measurement)
            where = joined(row)
            assert {_camel(name): value for name, value in where.items()}.items() <= measurement.items()
            expected = {_camel(name) for name in (*MEASUREMENT, *where)} | {"reviewStatus", "number"}
            assert set(measurement) == expected
    assert next(children, None) is None
    assert done.changed == comparison.changed
    assert done.rows == len(truth.measurements)
    for name in ("id", "name", "description", "client_name", "status"):
        assert document["project"][_camel(name)] == clean(truth.project[name])


def test_other_parsers_take_the_whole_file(hostile: Hostile) -> None:
    path, _ = hostile.file("json")
    assert len(orjson.loads(path.read_bytes())["conditions"]) == len(hostile.truth.conditions)
    query = "SELECT len(conditions) FROM read_json(?, maximum_object_size=100000000, columns={conditions: 'JSON[]'})"
    assert duckdb.execute(query, [str(path)]).fetchall() == [(len(hostile.truth.conditions),)]


def test_costs_add_up(hostile: Hostile) -> None:
    document = strict(hostile.file("json")[0].read_bytes())
    costed = [row for row in document["conditions"] if row["totalCost"] is not None]
    assert sum(row["totalCost"] for row in costed) == sum(
        row["totalCost"] for row in document["summary"]["byUnit"]
    )


def test_the_file_proves_itself(hostile: Hostile) -> None:
    facts, proof = hostile.read_back("json"), hostile.proof("json")
    assert facts.problems == ()
    assert facts.rows == proof.rows
    total, tolerance = proof.totals["quantity"]
    assert facts.totals["quantity"] == pytest.approx(total, abs=tolerance)
