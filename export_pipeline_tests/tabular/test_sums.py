"""Sums that no double holds: the total has every digit or says so, and no file is refused for it."""

import math
from decimal import Context, Decimal
from pathlib import Path

import openpyxl
import pytest

from export_pipeline.formats.registry import FORMATS
from export_pipeline.tabular import build, layout
from export_pipeline.tabular.validation import CheckedTableSpec
from export_pipeline_tests.tabular.random_exports import staged


@pytest.mark.parametrize(
    ("cells", "total"),
    [
        ([1.7e308, 1.7e308, -1.0], math.inf),
        ([-1.7e308, -1.7e308], -math.inf),
        ([1.7e308, 1.7e308, -1.7e308, -1.7e308, 2.5], 2.5),
        ([1.7e308, 1.7e308, -1.7e308, math.inf, math.nan, None], 1.7e308),
    ],
)
def test_sums_of_floats_beyond_the_range_are_exact_or_left_out(
    cells: list[float | None], total: float
) -> None:
    columns = [{"name": "a", "type": "float"}, {"name": "b", "type": "float", "compute": "a", "total": True}]
    spec = CheckedTableSpec.model_validate({"source": {"table": "t"}, "columns": columns})
    for batch_rows in (1, 2, 100):
        finite = [c if c is None or math.isfinite(c) else 0.0 for c in cells]
        made = layout(build(staged(spec, {"a": finite}, batch_rows=batch_rows)))
        printed = made.sheets[0].totals[0].values["b"]
        assert printed == total or math.isclose(float(printed), total, rel_tol=1e-15, abs_tol=2.5)
        for format in (FORMATS[name] for name in ("csv", "json", "jsonl", "excel", "pdf", "parquet")):
            assert not format.proof(made, format.options()).totals


@pytest.mark.parametrize("digits", [15, 16, 28, 29, 47, 76])
def test_totals_of_workbooks_are_numbers_that_are_counted_if_they_are_rounded(
    tmp_path: Path, digits: int
) -> None:
    most = Decimal(10**digits - 1).scaleb(-4, Context(prec=80))
    column = {"name": "a", "type": f"decimal({digits},4)", "total": True}
    spec = CheckedTableSpec.model_validate({"source": {"table": "t"}, "columns": [column]})
    path = tmp_path / "a.xlsx"
    with path.open("wb") as out:
        rendered = FORMATS["excel"].render(
            layout(staged(spec, {"a": [most, Decimal(0)]})), out, FORMATS["excel"].options()
        )
    *_, total = [row[0].value for row in openpyxl.load_workbook(path).worksheets[0].iter_rows()]
    if digits == 15:
        assert str(total).startswith("=SUM(")
    else:
        assert total == float(most)
        assert rendered.changed["total rounded to 15 digits", "A"] == 1
