"""A file is read in the way that the options in its manifest say."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from export_pipeline.store import open_store
from export_pipeline.store.manifest import ColumnTotal, Manifest
from export_pipeline.verify import verify


def exported(folder: Path, data: bytes, **options: object) -> Path:
    """A CSV file with its manifest."""
    path = folder / "a.csv"
    path.write_bytes(data)
    manifest = Manifest(
        name="a-csv", path=path.name, bytes=len(data), hash=f"sha256:{hashlib.sha256(data).hexdigest()}",
        format="csv", mediatype="text/csv", rows=2, dataset="a", snapshot_at=datetime(2026, 3, 1, tzinfo=UTC),
        options=options, totals={"n": ColumnTotal(value=Decimal("4.0"))},
    )  # fmt: skip
    path.with_name("a.csv.manifest.json").write_bytes(manifest.to_json())
    return path


def test_a_file_is_verified_in_the_dialect_of_its_manifest(tmp_path: Path) -> None:
    path = exported(
        tmp_path, b"t;n\r\na,b;1,5\r\nc;2,5\r\n", csv_delimiter="semicolon", csv_decimal_comma=True
    )
    report = verify(open_store(str(tmp_path / "store")), str(path))
    assert (report.rows, report.totals, report.problems) == (2, {"n": "4.0"}, [])


@pytest.mark.parametrize("value", ["slash", 7, None])
def test_an_invalid_option_in_a_manifest_is_a_problem_not_a_crash(value: object, tmp_path: Path) -> None:
    path = exported(tmp_path, b"t,n\r\na,1.5\r\nc,2.5\r\n", csv_delimiter=value)
    report = verify(open_store(str(tmp_path / "store")), str(path))
    (problem,) = report.problems
    assert problem.startswith("The manifest's option csv_delimiter is not valid: it must be 'comma'")
