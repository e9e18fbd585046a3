"""Personal and guarded cells: named in manifests, and shown to nobody who may only look at Dagster."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.project.new_project import write_project
from export_pipeline_tests.test_project import run

pytestmark = pytest.mark.slow

STAFF = """\
type: export_pipeline.TableExport
attributes:
  dataset: staff
  description: Staff.
  source: {table: staff, relations: {boss: {table: staff, from: boss_id}}}
  readers: {payroll: {table: payroll, user: user}}
  columns:
    - {name: id, type: integer}
    - {name: email, personal: true}
    - {name: contact, from: email}
    - {name: card, type: json, nested: {fields: {to: {text: "mailto:{email}"}, of: {from: boss, fields: {n: id}}}}}
    - {name: shout, compute: "concat(contact, '!')"}
    - {name: salary, type: "decimal(12,2)", readers: payroll, total: true}
    - {name: twice, type: "decimal(14,2)", compute: "salary * 2", total: true}
    - {name: bonus, type: money, personal: true, total: true}
    - {name: days, type: integer, total: true}
    - {name: team, personal: true}
  group_by: [team]
  formats: [csv, pdf, zip]
"""
PACK = """\
type: export_pipeline.BundleExport
attributes: {dataset: pack, description: Staff., title: Pack, datasets: [staff]}
"""
SECRETS = ("ann@example.org", "7654321.00", "15308642.00", "4711.12", "Team Quill")


@pytest.fixture
def manifests(tmp_path: Path) -> dict[str, Any]:
    folder = tmp_path / "own"
    write_project(folder)
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        connection.executescript(
            "CREATE TABLE staff (id integer PRIMARY KEY, email text, salary numeric, bonus integer, days integer,"
            " team text, boss_id integer);"
            "CREATE TABLE payroll (user text);"
            "INSERT INTO payroll VALUES ('pat');"
            "INSERT INTO staff VALUES (1, 'ann@example.org', 7654321.00, 471112, 220, 'Team Quill', 1);"
        )
    (folder / ".env").write_text(f"EXPORT_SOURCE_URL=sqlite:///{tmp_path}/app.db\n")
    for name, text in (("staff", STAFF), ("pack", PACK)):
        (folder / "defs" / name).mkdir()
        (folder / "defs" / name / "defs.yaml").write_text(text)
    for name, formats in (("staff", "csv,pdf,zip"), ("pack", "zip")):
        run(folder, "export-pipeline", "request", name, "--format", formats, "--requested-by", "pat")
    contents = (json.loads(path.read_text()) for path in (folder / "store").rglob("*.manifest.json"))
    return {one["format"] if one["dataset"] == "staff" else "pack": one for one in contents}


def test_columns_that_show_personal_cells_are_personal(manifests: dict[str, Any], tmp_path: Path) -> None:
    flat = ["Email", "Contact", "Card", "Shout", "Bonus", "Team"]
    assert manifests["csv"]["personal"] == {"rows": flat}
    assert manifests["pdf"]["personal"] == {"Staff": flat}  # the headings of its groups too
    assert manifests["zip"]["personal"]["staff.csv: rows"] == flat
    sums = {name: total["value"] for name, total in manifests["csv"]["totals"].items()}
    assert sums == {
        "id": "1",
        "salary": "7654321.00",
        "twice": "15308642.00",
        "bonus": "4711.12",
        "days": "220",
    }
    # Who asks for a bundle reads what they may read of its members.
    assert manifests["pack"]["totals"]["staff.csv: salary"]["value"] == "7654321.00"

    # Every viewer of Dagster sees all that its database holds.
    databases = (tmp_path / "own" / ".dagster_home").rglob("*.db*")
    content = b"".join(path.read_bytes() for path in databases)
    assert [one for one in SECRETS if one.encode() in content] == []
    assert b"salary agrees with the source" in content
    assert b"days adds up to 220 in the file and to 220 in the source" in content
