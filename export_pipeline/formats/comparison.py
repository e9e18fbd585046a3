"""Compare a rendered file with its source: rows and sums that were read back, and those of the database."""

from __future__ import annotations

from export_pipeline.core.layout import Proof
from export_pipeline.formats.base import FileFacts, Rendered


def rows_agree(proof: Proof, rendered: Rendered, facts: FileFacts) -> bool:
    """Return whether the file is sound and holds all rows that its format can express."""
    return not facts.problems and facts.rows == rendered.rows == proof.rows - rendered.left_out


def compare_totals(proof: Proof, facts: FileFacts) -> tuple[dict[str, tuple[float, float, float]], set[str]]:
    """Return sum in the file, sum in the source and tolerance by column, and the columns that differ."""
    compared = {
        column: (facts.totals.get(column, 0.0), total, tolerance)
        for column, (total, tolerance) in proof.totals.items()
    }
    # Written so that NaN, which equals nothing, differs.
    wrong = {column for column, sums in compared.items() if not abs(sums[0] - sums[1]) <= sums[2]}
    return compared, wrong
