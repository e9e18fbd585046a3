"""The data as read, computed and cleaned, before any format."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from export_pipeline_tests.hostile.conftest import Hostile
from export_pipeline_tests.hostile.rules import DAMAGED, replaced, totals
from export_pipeline_tests.hostile.strings import BROKEN_BYTES
from export_pipeline_tests.takeoff_data import rows


@pytest.mark.slow
def test_changes_are_counted_exactly(hostile: Hostile) -> None:
    expected = replaced(hostile.truth)
    if hostile.truth.damaged:
        expected += Counter(
            {(DAMAGED, "measurements.notes"): len(BROKEN_BYTES), (DAMAGED, "conditions.category"): 3}
        )
    assert hostile.data.changed == expected


def test_rows_come_in_the_promised_order(hostile: Hostile) -> None:
    for name in ("conditions", "pages", "measurements"):
        expected = [row["id"] for row in getattr(hostile.truth, name)]
        assert [row["id"] for row in rows(hostile.data, name)] == expected


def test_totals_are_of_exactly_the_rows_exported(hostile: Hostile) -> None:
    expected = totals(hostile.truth)
    for row in rows(hostile.data, "conditions"):
        count, total = expected[row["id"]]
        assert row["measurement_count"] == count
        assert math.isclose(row["total_quantity"], total, rel_tol=1e-12)
    assert hostile.data.source_rows == len(hostile.truth.measurements)


def test_rows_of_other_projects_are_absent(hostile: Hostile) -> None:
    for name in hostile.data.tables:
        assert "SOMEBODY ELSE" not in str(rows(hostile.data, name))


def test_warnings_are_few_and_printable(hostile: Hostile) -> None:
    assert len(hostile.data.warnings) < 40
    assert not [text for text in hostile.data.warnings if not text.isprintable() or len(text) > 1000]
