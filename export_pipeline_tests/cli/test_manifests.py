"""Manifests of real exports: personal columns and sums."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import sqlalchemy as sa

from export_pipeline.demo import archive, bookkeeping, ecology, takeoff
from export_pipeline_tests.commands import Command

pytestmark = pytest.mark.slow

Exported = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def exported(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exported:
    """Exports a dataset of a sample; gives the manifests by format."""

    def export(sample: Any, dataset: str, scope: object, formats: str, *more: str) -> dict[str, Any]:
        path = tmp_path / f"{sample.__name__}.db"
        engine = sa.create_engine(f"sqlite:///{path}")
        if not path.exists():
            sample.fill(engine)
        engine.dispose()
        monkeypatch.setenv("EXPORT_SOURCE_URL", f"sqlite:///{path}")
        ended = command("request", dataset, "--scope", str(scope), "--format", formats, *more, "--json")
        assert ended.code == 0, (ended.err, ended.json)
        return {
            file["format"]: json.loads((tmp_path / "store" / f"{file['file_key']}.manifest.json").read_text())
            for file in ended.json["exports"]
        }

    return export


def test_personal_columns_are_named_in_every_format(exported: Exported) -> None:
    manifests = exported(ecology, "occurrences", ecology.MEADOW, "csv,json,jsonl,excel,pdf,parquet,dwca")
    flat = ["verified_by", "agreed_with_user"]
    personal = {format: list(one["personal"].values()) for format, one in manifests.items()}
    assert personal == {
        "csv": [flat],
        "json": [["determination_details", *flat, "identifications"]],
        "jsonl": [["determination_details", *flat, "identifications"]],
        "excel": [["Verified By"]],  # printed columns
        "pdf": [["Verified By"]],
        "parquet": [flat],
        "dwca": [["identifiedBy"]],
    }


def test_the_client_and_the_notes_of_a_takeoff_are_personal(exported: Exported) -> None:
    manifests = exported(takeoff, "takeoff", takeoff.SAMPLES[0].name, "csv,json,excel,pdf,ost")
    assert {format: one["personal"] for format, one in manifests.items()} == {
        "csv": {"rows": ["Notes"]},
        "json": {"conditions.measurements": ["rejectionReason", "reviewNotes", "notes"], "facts": ["Client"]},
        "excel": {"Conditions": ["Notes"], "facts": ["Client"]},
        "pdf": {"facts": ["Client"]},
        "ost": {"facts": ["Client"]},
    }


def test_a_manifest_names_only_personal_columns_of_its_file(exported: Exported) -> None:
    columns = ("--column", "id", "--column", "enrolled_by_email")
    (one,) = exported(archive, "enrollments", archive.MUSEUM, "csv", *columns).values()
    assert one["personal"] == {"rows": ["enrolled_by_email"]}
    (none,) = exported(archive, "enrollments", archive.MUSEUM, "csv", "--column", "id").values()
    assert none["personal"] == {}


def test_a_bundle_names_those_of_its_members(exported: Exported) -> None:
    (manifest,) = exported(archive, "archive", archive.MUSEUM, "zip").values()
    assert {name.partition(".")[0] for name in manifest["personal"]} == {"enrollments"}


def test_a_workbook_of_a_bundle_has_a_sheet_for_each_dataset_and_the_same_sums(
    exported: Exported, command: Command, tmp_path: Path
) -> None:
    own = ("zip,excel", "-o", "zip_formats=excel")
    manifests = exported(archive, "archive", archive.MUSEUM, *own)
    (key,) = (path for path in (tmp_path / "store").rglob("*.xlsx"))
    book = openpyxl.load_workbook(key)
    assert book.sheetnames == ["Enrollments", "Proofs", "Ledger", "Charts"]
    assert [(sheet["A1"].value, sheet["A2"].value) for sheet in book.worksheets[:3]] == [
        (title, "For: Harbour Town Museum") for title in ("Enrollments", "Proofs", "Ledger")
    ]
    excel, zip = manifests["excel"], manifests["zip"]
    assert excel["rows"] == zip["rows"]
    assert {name: total["value"] for name, total in excel["totals"].items()} == {
        name.replace(".xlsx", ""): total["value"] for name, total in zip["totals"].items()
    }
    assert excel["personal"] == {"Enrollments": ["Creator", "Enrolled By"]}
    assert "proofs: Hash" in excel["left_out"]
    verified = command("verify", str(key.relative_to(tmp_path / "store")), "--json")
    assert verified.code == 0, verified.err


def test_sums_of_money_are_the_same_in_every_format(exported: Exported, command: Command) -> None:
    manifests = exported(bookkeeping, "records", bookkeeping.SHOP, "csv,json,excel,pdf,parquet")
    sums = {
        format: {name: (total["value"], total.get("unit")) for name, total in one["totals"].items()}
        for format, one in manifests.items()
    }
    for format, sum in sums.items():
        common = sum.keys() & sums["json"].keys()
        assert "profit_cents" in common, format
        assert {name: sum[name] for name in common} == {name: sums["json"][name] for name in common}
    value, unit = sums["csv"]["profit_cents"]
    assert (Decimal(value).as_tuple().exponent, unit) == (-2, "$")
    assert Decimal(sums["csv"]["qty"][0]).as_tuple().exponent == 0
    # The same where the file counts cents.
    (cents,) = exported(bookkeeping, "records", bookkeeping.SHOP, "csv", "-o", "csv_money=minor").values()
    assert (cents["totals"]["profit_cents"]["value"], cents["totals"]["profit_cents"]["minor_digits"]) == (
        value,
        2,
    )
