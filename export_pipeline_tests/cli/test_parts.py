"""Exports in parts, from the command line to the files that programs read."""

from __future__ import annotations

import csv
import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import openpyxl
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from export_pipeline.datasets import parts
from export_pipeline.demo import bookkeeping
from export_pipeline.store import (
    Store,
    StoredFile,
    StoreUnavailableError,
    Upload,
    manifest_key,
    open_store,
)
from export_pipeline.store.base import StagedFile
from export_pipeline.store.keys import MANIFEST_SUFFIX, whole_key
from export_pipeline.store.manifest import read_manifest
from export_pipeline.store.publish import is_whole, unpublish, verify_file
from export_pipeline_tests.commands import Command
from export_pipeline_tests.services.fixtures import Bucket


@pytest.fixture
def scope(tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """An account of the sample bookkeeping, and 1,000 records of it."""
    url = f"sqlite:///{tmp_path}/app.db"
    engine = sa.create_engine(url)
    bookkeeping.fill(engine)
    with engine.begin() as connection:
        scope, count = connection.execute(
            sa.text(
                "SELECT account_id, count(*) FROM bookkeeping_records WHERE deleted_at IS NULL GROUP BY 1 ORDER BY 2 DESC LIMIT 1"
            )
        ).one()
        columns = [row[1] for row in connection.exec_driver_sql("PRAGMA table_info(bookkeeping_records)")]
        copied = ", ".join("lower(hex(randomblob(16)))" if name == "id" else name for name in columns)
        numbers = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
        connection.exec_driver_sql(
            f"{numbers} INSERT INTO bookkeeping_records ({', '.join(columns)}) SELECT {copied} FROM n JOIN bookkeeping_records r "
            f"ON r.id = (SELECT min(id) FROM bookkeeping_records WHERE deleted_at IS NULL AND account_id = '{scope}') LIMIT {1000 - count}"
        )
    engine.dispose()
    monkeypatch.setenv("EXPORT_SOURCE_URL", url)
    return str(scope)


def export(command: Command, scope: str, format: str, *more: str) -> dict[str, Any]:
    ended = command("request", "records", "--scope", scope, "--format", format, *more, "--json")
    assert ended.code == 0, ended.err or ended.out
    (made,) = ended.json["exports"]
    return dict(made)


def rows_of(files: list[Path]) -> list[list[str]]:
    """The records of CSV files, each with the same header, one after the other."""
    rows: list[list[str]] = []
    for file in files:
        with file.open(newline="", encoding="utf-8") as text:
            header, *records = csv.reader(text)
        assert not rows or header == rows[0]
        rows += records if rows else [header, *records]
    return rows


def sheet_rows(path: Path) -> list[tuple[Any, ...]]:
    """The rows of a workbook's only sheet."""
    workbook = openpyxl.load_workbook(path)
    (sheet,) = workbook.worksheets
    assert not sheet._charts
    return list(sheet.iter_rows(values_only=True))


def test_parts_hold_each_row_once_and_in_order(command: Command, scope: str, tmp_path: Path) -> None:
    whole = export(command, scope, "csv")
    made = export(command, scope, "csv", "-o", "parts.max_rows=300")
    store = tmp_path / "store"
    manifest = json.loads((store / f"{made['file_key']}.manifest.json").read_text())
    folder = (store / made["file_key"]).parent
    parts = [folder / part["path"] for part in manifest["parts"]]
    assert rows_of(parts) == rows_of([store / whole["file_key"]])
    assert [part["rows"] for part in manifest["parts"]] == [300, 300, 300, 100]
    for path, part in zip(parts, manifest["parts"], strict=True):
        content = path.read_bytes()
        assert (len(content), f"sha256:{hashlib.sha256(content).hexdigest()}") == (
            part["bytes"],
            part["hash"],
        )
    assert (manifest["rows"], manifest["total_rows"]) == (1000, 1000)
    assert manifest["bytes"] == made["file_size"] == sum(part["bytes"] for part in manifest["parts"])
    usual = json.loads((store / f"{whole['file_key']}.manifest.json").read_text())
    assert manifest["totals"] == usual["totals"]
    assert not (store / made["file_key"]).exists()
    verified = command("verify", made["file_key"], "--json")
    assert (verified.code, verified.json["rows"]) == (0, 1000), verified.out
    parts[2].write_bytes(parts[2].read_bytes()[:-20])
    damaged = command("verify", made["file_key"], "--json")
    assert damaged.code == 1
    assert any("its manifest says" in problem for problem in damaged.json["problems"])


@pytest.mark.parametrize("format", ["csv", "jsonl", "excel", "parquet"])
def test_no_part_is_larger_than_asked(command: Command, scope: str, tmp_path: Path, format: str) -> None:
    made = export(command, scope, format, "-o", f"parts.max_bytes={64 << 10}")
    downloaded = command("download", made["file_key"], "--to", str(tmp_path / "out"), "--json")
    paths = [Path(path) for path in downloaded.json["files"]]
    assert all(path.stat().st_size <= 64 << 10 for path in paths)
    counts = {
        "csv": lambda path: len(rows_of([path])) - 1,
        "jsonl": lambda path: len(path.read_text().splitlines()),
        "excel": lambda path: len(sheet_rows(path)) - 1,
        "parquet": lambda path: pq.read_metadata(path).num_rows,
    }
    assert sum(map(counts[format], paths)) == 1000
    assert len(paths) > 1 or format == "parquet"


def test_workbooks_in_parts_are_plain_and_hold_each_row_once(
    command: Command, scope: str, tmp_path: Path
) -> None:
    """The dataset's charts and totals would be those of all rows, so no part has them."""
    whole = export(command, scope, "excel", "-o", "excel_layout=plain")
    made = export(command, scope, "excel", "-o", "parts.max_rows=300")
    store = tmp_path / "store"
    manifest = json.loads((store / f"{made['file_key']}.manifest.json").read_text())
    parts = [sheet_rows((store / made["file_key"]).parent / part["path"]) for part in manifest["parts"]]
    rows = sheet_rows(store / whole["file_key"])
    assert [len(part) for part in parts] == [301, 301, 301, 101]
    assert all(part[0] == rows[0] for part in parts)
    assert [row for part in parts for row in part[1:]] == rows[1:]
    usual = json.loads((store / f"{whole['file_key']}.manifest.json").read_text())
    assert (manifest["rows"], manifest["totals"]) == (1000, usual["totals"])
    assert manifest["options"]["excel_layout"] == "plain"
    assert command("verify", made["file_key"]).code == 0


def test_rows_that_grow_are_cut_again(command: Command, scope: str, tmp_path: Path) -> None:
    """Samples are of the first, middle and last rows: those between may be much longer."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/app.db")
    with engine.begin() as connection:
        order = "SELECT id FROM bookkeeping_records WHERE account_id = ? AND deleted_at IS NULL ORDER BY id LIMIT 40 OFFSET 300"
        connection.exec_driver_sql(
            f"UPDATE bookkeeping_records SET item_name = ? WHERE id IN ({order})", ("x" * 9000, scope)
        )
    engine.dispose()
    made = export(command, scope, "csv", "-o", f"parts.max_bytes={64 << 10}")
    manifest = json.loads((tmp_path / "store" / f"{made['file_key']}.manifest.json").read_text())
    assert max(part["bytes"] for part in manifest["parts"]) <= 64 << 10
    assert sum(part["rows"] for part in manifest["parts"]) == manifest["rows"] == 1000


@pytest.mark.parametrize("format", ["csv", "jsonl", "excel", "parquet"])
@pytest.mark.parametrize("limit", ["max_rows=10", f"max_bytes={64 << 10}"])
def test_an_export_without_rows_has_one_part(command: Command, scope: str, format: str, limit: str) -> None:
    made = export(command, scope, format, "-o", f"parts.{limit}", "--filter", "sale_date:from=2999-01-01")
    assert (made["row_count"], command("verify", made["file_key"]).code) == (0, 0)


def test_parts_of_a_format_that_is_one_file_are_refused(command: Command, scope: str) -> None:
    ended = command("request", "records", "--scope", scope, "--format", "pdf", "-o", "parts.max_rows=10")
    assert ended.code == 2
    assert "pdf is always one file; parts are for csv, jsonl, excel, parquet" in ended.err


def test_parts_lie_in_s3_and_go_with_their_manifest(
    command: Command, scope: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in bucket.server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EXPORT_STORE_URL", bucket.url)
    monkeypatch.setenv("EXPORT_S3_ENDPOINT_URL", bucket.server.endpoint_url)
    made = export(command, scope, "csv", "-o", "parts.max_rows=400")
    store = open_store(bucket.url, endpoint_url=bucket.server.endpoint_url)
    assert len(list(store.list())) == 4  # three parts and the manifest
    assert is_whole(store, made["file_key"])
    links = command("link", made["file_key"], "--json").json
    assert len(links["parts"]) == 3
    downloaded = command("download", made["file_key"], "--to", str(tmp_path / "out"), "--json").json
    rows = rows_of([Path(path) for path in downloaded["files"]])
    assert len(rows) == 1001
    assert sum(Decimal(row[rows[0].index("sale_price_cents")] or 0) for row in rows[1:]) > 0
    unpublish(store, made["file_key"])
    assert list(store.list()) == []


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["at a part", "at the manifest"])
@pytest.mark.parametrize("place", ["folder", "s3"])
def test_a_run_that_is_retried_between_its_parts_leaves_one_export(
    command: Command, scope: str, tmp_path: Path, request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch, place: str, ends: str,
) -> None:  # fmt: skip
    store = open_store(str(tmp_path / "store"))
    if place == "s3":
        bucket: Bucket = request.getfixturevalue("bucket")
        for name, value in bucket.server.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("EXPORT_STORE_URL", bucket.url)
        monkeypatch.setenv("EXPORT_S3_ENDPOINT_URL", bucket.server.endpoint_url)
        store = open_store(bucket.url, endpoint_url=bucket.server.endpoint_url)
    publish, stage_bytes = Upload.publish, type(store).stage_bytes
    published: list[str] = []

    def publish_once(upload: Upload, **options: Any) -> StoredFile:
        if whole_key(upload.key) != upload.key:
            published.append(upload.key)
        if ends == "at a part" and len(published) == 2:
            raise StoreUnavailableError("It is away.")
        return publish(upload, **options)

    def stage_once(store: Store, data: bytes, key: str, *, media_type: str) -> StagedFile:
        staged = stage_bytes(store, data, key, media_type=media_type)
        if ends == "at the manifest" and key.endswith(MANIFEST_SUFFIX) and not published:
            fail = Mock(side_effect=StoreUnavailableError("It is away."))
            monkeypatch.setattr(staged, "publish", fail)
        return staged

    monkeypatch.setattr(Upload, "publish", publish_once)
    monkeypatch.setattr(type(store), "stage_bytes", stage_once)
    made = export(command, scope, "csv", "-o", "parts.max_rows=400")
    assert len(published) == {"at a part": 2 + 3, "at the manifest": 3 + 3}[ends]
    manifest = read_manifest(store, made["file_key"])
    listed = {manifest_key(made["file_key"]), *manifest.part_keys(made["file_key"])}
    assert {file.key for file in store.list()} == listed
    assert verify_file(store, made["file_key"]) == []
    assert manifest.rows == 1000


def test_a_long_title_loses_no_rows(command: Command, scope: str, tmp_path: Path) -> None:
    title = "Quarterly report of all records " * 6
    made = export(command, scope, "csv", "-o", "parts.max_rows=300", "-o", f"title={title}")
    downloaded = command("download", made["file_key"], "--to", str(tmp_path / "out"), "--json").json
    assert len(rows_of([Path(path) for path in downloaded["files"]])) == 1001
    assert [path[-9:] for path in downloaded["files"]] == [f"-000{number}.csv" for number in range(1, 5)]


def test_parts_that_were_cut_again_count_too(
    command: Command, scope: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The samples let expect one part."""
    monkeypatch.setattr(parts, "MAX_PARTS", 1)
    monkeypatch.setattr(parts, "_rows_within", lambda *_: 1000)
    ended = command(
        "request", "records", "--scope", scope, "--format", "csv", "-o", f"parts.max_bytes={64 << 10}"
    )
    assert ended.code == 1
    assert "1,000 rows make more than 1 parts" in ended.out + ended.err
    assert list((tmp_path / "store").rglob("*.csv")) == []
