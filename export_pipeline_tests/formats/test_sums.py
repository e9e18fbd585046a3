"""Totals that are read back tell a cent in a billion, and are the same in every format."""

from __future__ import annotations

import math
import random
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest

from export_pipeline.core.columns import Column, Kind
from export_pipeline.formats.sums import add_parts
from export_pipeline_tests.formats.tables import read_back, rendered, table

COLUMNS = [Column("amount", "amount", Kind.DECIMAL), Column("same", "same", Kind.DECIMAL)]


@pytest.mark.slow
@pytest.mark.parametrize("format", ["csv", "json", "jsonl", "parquet"])
def test_a_total_is_the_sum_of_the_decimals_rounded_once(format: ModuleType, tmp_path: Path) -> None:
    chance = random.Random(5)
    amounts = [Decimal(chance.randrange(1_000_000)) / 100 for _ in range(250_000)]
    rows = [(amount, Decimal("0.1")) for amount in amounts]
    content, _ = rendered(format, table(COLUMNS, rows, batch_rows=5_000))
    path = tmp_path / ("file.jsonl" if format == "jsonl" else "file")
    path.write_bytes(content)
    # 0.1 is no double, and is added a quarter of a million times.
    exact = {"amount": float(sum(amounts)), "same": 25_000.0}
    assert read_back(format, path).totals == pytest.approx(exact, rel=3e-16)
    assert exact["amount"] > 10**9


def test_sums_beyond_all_doubles_are_infinite_or_not_a_number() -> None:
    assert add_parts([1e308, 1e308]) == float("inf")
    assert math.isnan(add_parts([float("inf"), float("-inf")]))
