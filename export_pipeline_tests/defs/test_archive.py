"""Enrollments, proofs and ledger against an oracle in plain Python over the very rows of the tables."""

import json
import sqlite3
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pyarrow.parquet as pq
import pytest

from export_pipeline.core.windows import Window
from export_pipeline.demo import archive as app
from export_pipeline.sources.snapshot import SourceError
from export_pipeline_tests.defs.exporting import Sample, differences, plain

BERLIN = ZoneInfo("Europe/Berlin")
ORGANISATIONS = [app.MUSEUM, app.ODD, app.JOINED]
ENROLLMENTS = [
    "id", "title", "creator", "enrolled_by", "media_type", "byte_size", "content_sha256", "status", "created_on",
    "enrolled_at", "revoked_at", "source_url", "details", "proof_algorithms",
]  # fmt: skip
PROOFS = [
    "id", "enrollment_id", "work", "algorithm", "hash", "merkle_root", "log_name", "log_index", "status",
    "requested_at", "anchored_at", "verified_at", "seconds_to_anchor",
]  # fmt: skip
LEDGER = [
    "sequence", "transaction_id", "value_date", "posted_at", "account_code", "account_name", "description", "currency",
    "debit", "credit", "amount", "reverses", "entry_hash",
]  # fmt: skip


def enrollments(sample: Sample, organisation: str) -> list[dict[str, Any]]:
    members, proofs = sample.by_id(app.MEMBERS), sample.rows(app.PROOFS)
    proofs.sort(key=lambda p: (p["requested_at"], p["id"]))
    rows = [
        r for r in sample.rows(app.ENROLLMENTS) if r["organisation_id"] == organisation and r["deleted_at"] is None
    ]  # fmt: skip
    for r in rows:
        own = [p for p in proofs if p["enrollment_id"] == r["id"]]
        r["enrolled_by"] = r["member_id"] and members[r["member_id"]]["display_name"]
        r["proof_algorithms"] = ", ".join(p["algorithm"] for p in own) or None
        r["proofs"] = [
            {n: p[n] for n in ("algorithm", "hash", "status", "log_index", "anchored_at")} for p in own
        ]
    return sorted(rows, key=lambda r: (r["enrolled_at"], r["id"]))


def proofs(sample: Sample, organisation: str) -> list[dict[str, Any]]:
    works = sample.by_id(app.ENROLLMENTS)
    rows = [
        p for p in sample.rows(app.PROOFS) if works[p["enrollment_id"]]["organisation_id"] == organisation
    ]
    for p in rows:
        p["work"] = works[p["enrollment_id"]]["title"]
        anchored = p["anchored_at"]
        p["seconds_to_anchor"] = anchored and int((anchored - p["requested_at"]).total_seconds())
    return sorted(rows, key=lambda p: (p["requested_at"], p["id"]))


def ledger(sample: Sample, organisation: str) -> list[dict[str, Any]]:
    accounts = sample.by_id(app.LEDGER_ACCOUNTS)
    rows = [e for e in sample.rows(app.LEDGER) if e["organisation_id"] == organisation]
    for e in rows:
        e["account_code"], e["account_name"] = (accounts[e["account_id"]][n] for n in ("code", "name"))
        e["amount"] = (e["debit"] or 0) - (e["credit"] or 0)
        e["posted_at"] = e["posted_at"].astimezone(BERLIN)
    return sorted(rows, key=lambda e: e["sequence"])


def cells(rows: list[dict[str, Any]], names: list[str]) -> list[list[Any]]:
    """The values that CSV shows in another form: labels, and JSON as text."""
    words = []
    for row in rows:
        worded = {n: row[n] for n in names}
        if row.get("status"):
            worded["status"] = row["status"].capitalize()
        if row.get("details") is not None:
            worded["details"] = json.dumps(row["details"])
        words.append([worded[n] for n in names])
    return words


@pytest.mark.slow
@pytest.mark.parametrize("organisation", ORGANISATIONS)
@pytest.mark.parametrize(("dataset", "oracle", "names", "only_json"), [
    ("enrollments", enrollments, ENROLLMENTS, ["proofs"]), ("proofs", proofs, PROOFS, []), ("ledger", ledger, LEDGER, []),
])  # fmt: skip
def test_rows_of_an_organisation_are_those_of_the_oracle(
    sample: Sample, dataset: str, oracle: Any, names: list[str], only_json: list[str], organisation: str
) -> None:
    expected = oracle(sample, organisation)
    export = sample.export(dataset, organisation)
    assert export.csv[0] == names
    assert differences(export.csv[1:], cells(expected, names)) == []
    assert plain(export.json) == plain([{n: row[n] for n in names + only_json} for row in expected])
    for format in ("jsonl", "excel", "pdf", "parquet"):
        export.file(format)
    assert bool(expected) == (organisation != app.JOINED)


def test_the_ledger_is_balanced_to_the_last_decimal(sample: Sample) -> None:
    export = sample.export("ledger", app.MUSEUM)
    table = pq.read_table(export.file("parquet"))
    debit, credit, amount = (
        sum(v for v in table[n].to_pylist() if v is not None) for n in ("debit", "credit", "amount")
    )
    assert debit == credit != 0
    assert amount == 0
    assert debit == sum(e["debit"] or 0 for e in ledger(sample, app.MUSEUM))
    sheet = openpyxl.load_workbook(export.file("excel"), data_only=True).active
    assert sheet is not None
    names = {
        cell.value: cell.column
        for row in sheet.iter_rows()
        for cell in row
        if cell.value in ("Debit", "Amount")
    }
    total = {name: sheet.cell(sheet.max_row, column).value for name, column in names.items()}
    assert (Decimal(str(total["Debit"])), total["Amount"]) == (debit, 0)  # as text where no double holds it


@pytest.mark.parametrize(("first", "last"), [
    (datetime(2026, 3, 29), datetime(2026, 3, 29)), (datetime(2026, 10, 25), datetime(2026, 10, 25)),
    (datetime(2027, 1, 1), datetime(2027, 1, 1)),
])  # fmt: skip
def test_days_of_the_ledger_are_those_of_its_zone(sample: Sample, first: datetime, last: datetime) -> None:
    days = {"from": first.date(), "to": last.date()}
    export = sample.export("ledger", app.MUSEUM, columns=["sequence"], filters={"posted_at": {"range": days}})
    expected = [e["sequence"] for e in ledger(sample, app.MUSEUM) if e["posted_at"].date() == first.date()]
    assert [int(row[0]) for row in export.csv[1:]] == expected != []


@pytest.mark.slow
def test_months_of_the_ledger_do_not_overlap(sample: Sample) -> None:
    sequences: list[int] = []
    for month in range(1, 13):
        start = datetime(2026, month, 1, tzinfo=BERLIN)
        end = datetime(2026 + month // 12, month % 12 + 1, 1, tzinfo=BERLIN)
        window = Window(f"2026-{month:02d}", start, end)
        sequences += [
            int(r[0]) for r in sample.export("ledger", app.ODD, window, columns=["sequence"]).csv[1:]
        ]
    expected = [e["sequence"] for e in ledger(sample, app.ODD) if e["posted_at"].year == 2026]
    assert sorted(sequences) == expected


@pytest.mark.parametrize(("filters", "keep"), [
    ({"debit": {"range": {"from": "99.99", "to": "1234.5678"}}}, lambda e: e["debit"] and 99 < e["debit"] <= Decimal("1234.5678")),
    ({"debit": {"is_null": True}, "account_code": {"in": ["4100", "4000"]}}, lambda e: e["debit"] is None and e["account_code"] > "2"),
    ({"reverses": {"is_null": False}}, lambda e: e["reverses"] is not None),
    ({"description": {"contains": "% _SURE_ \\"}}, lambda e: "% _sure_ \\" in (e["description"] or "")),
    ({"value_date": {"range": {"from": "2026-06-01"}}}, lambda e: e["value_date"] >= date(2026, 6, 1)),
])  # fmt: skip
def test_filters_of_the_ledger_find_the_rows_of_the_oracle(
    sample: Sample, filters: dict[str, Any], keep: Any
) -> None:
    export = sample.export("ledger", app.ODD, columns=["sequence"], filters=filters)
    expected = [e["sequence"] for e in ledger(sample, app.ODD) if keep(e)]
    assert [int(row[0]) for row in export.csv[1:]] == expected != []


@pytest.mark.parametrize(("filters", "keep"), [
    ({"title": {"contains": "hArBoUr"}}, lambda r: "harbour" in r["title"].lower()),
    ({"status": {"in": ["REVOKED", "PENDING"]}}, lambda r: r["status"] != "ENROLLED"),
    ({"byte_size": {"range": {"from": 2**63 - 1}}}, lambda r: r["byte_size"] == 2**63 - 1),
    ({"created_on": {"is_null": True}}, lambda r: r["created_on"] is None),
    ({"media_type": {"equals": "audio/flac"}}, lambda r: r["media_type"] == "audio/flac"),
])  # fmt: skip
def test_filters_of_enrollments_find_the_rows_of_the_oracle(
    sample: Sample, filters: dict[str, Any], keep: Any
) -> None:
    organisation = app.ODD if "byte_size" in filters else app.MUSEUM
    export = sample.export("enrollments", organisation, columns=["id"], filters=filters)
    expected = [r["id"] for r in enrollments(sample, organisation) if keep(r)]
    assert [row[0] for row in export.csv[1:]] == expected != []


def test_proofs_that_were_anchored_in_a_window(sample: Sample) -> None:
    window = Window("2026-03", datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
    export = sample.export("proofs", app.MUSEUM, window, columns=["id"])
    rows = proofs(sample, app.MUSEUM)
    expected = [p["id"] for p in rows if p["anchored_at"] and window.start <= p["anchored_at"] < window.end]
    assert [row[0] for row in export.csv[1:]] == expected != []


def test_an_unknown_organisation_is_refused(sample: Sample) -> None:
    for dataset in ("enrollments", "proofs", "ledger"):
        assert set(sample.scopes(dataset)) == set(ORGANISATIONS)
        with pytest.raises(SourceError):
            sample.export(dataset, "' OR 1=1 --")


def test_the_sample_is_the_same_each_time(tmp_path: Any) -> None:
    import sqlalchemy as sa

    dumps = []
    for name in ("a", "b"):
        engine = sa.create_engine(f"sqlite:///{tmp_path}/{name}.db")
        app.fill(engine)
        engine.dispose()
        with sqlite3.connect(tmp_path / f"{name}.db") as connection:
            dumps.append("\n".join(connection.iterdump()))
    assert dumps[0] == dumps[1]
