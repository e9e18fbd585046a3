"""Compare a rendered file with its source: rows and sums that were read back, and those of the database."""

from __future__ import annotations

from export_pipeline.core.layout import Proof
from export_pipeline.formats.base import FileFacts, Rendered


def rows_agree(proof: Proof, rendered: Rendered, facts: FileFacts) -> bool:
    """Return whether the file is sound and holds all rows that its format can express, and its charts."""
    return (
        not chart_problems(proof, facts)
        and not facts.problems
        and facts.rows == rendered.rows == proof.rows - rendered.left_out
    )


def chart_problems(proof: Proof, facts: FileFacts) -> list[str]:
    """Return a sentence for each chart whose values are not those that the source has."""
    if len(proof.charts) > len(facts.charts):
        return [f"{len(facts.charts)} charts in the file, {len(proof.charts)} expected"]
    return [
        f"chart {number} shows other values than its groups have"
        for number, (there, expected) in enumerate(zip(facts.charts, proof.charts, strict=False), start=1)
        if there != expected
    ]


def compare_totals(proof: Proof, facts: FileFacts) -> tuple[dict[str, tuple[float, float, float]], set[str]]:
    """Return sum in the file, sum in the source and tolerance by column, and the columns that differ."""
    compared = {
        column: (facts.totals.get(column, 0.0), total, tolerance)
        for column, (total, tolerance) in proof.totals.items()
    }
    # Written so that NaN, which equals nothing, differs.
    wrong = {column for column, sums in compared.items() if not abs(sums[0] - sums[1]) <= sums[2]}
    return compared, wrong
