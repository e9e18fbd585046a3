"""Sums that overflow a double: the total says so, and no file is refused for it."""

import math

import pytest

from export_pipeline.model.tabular import build, layout
from export_pipeline.model.tabular.spec import TableSpec
from export_pipeline_tests.model.tabular.random_exports import staged


@pytest.mark.parametrize(
    ("cells", "total"),
    [
        ([1.7e308, 1.7e308, -1.0], math.inf),
        ([-1.7e308, -1.7e308], -math.inf),
        ([1.7e308, 1.7e308, -1.7e308, -1.7e308, 2.5], 2.5),
        ([1.7e308, 1.7e308, -1.7e308, math.inf, math.nan, None], 1.7e308),
    ],
)
def test_huge_floats(cells: list[float | None], total: float) -> None:
    columns = [{"name": "a", "type": "float"}, {"name": "b", "type": "float", "compute": "a", "total": True}]
    spec = TableSpec.model_validate({"source": {"table": "t"}, "columns": columns})
    for batch_rows in (1, 2, 100):
        finite = [c if c is None or math.isfinite(c) else 0.0 for c in cells]
        made = layout(build(staged(spec, {"a": finite}, batch_rows=batch_rows)))
        found = made.excel[0].totals[0].values["b"]
        assert found == total or math.isclose(float(found), total, rel_tol=1e-15, abs_tol=2.5)
        assert all(not proof.totals for proof in made.proofs.values())
