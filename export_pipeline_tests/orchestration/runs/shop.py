"""A shop whose accounts order exports of the same windows, and what the tests of shared reads ask of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from export_pipeline.components import loading
from export_pipeline.jobs import Ledger, Status
from export_pipeline.jobs.database import open_engine
from export_pipeline.orchestration import source_reads
from export_pipeline.schedules.cadence_requests import CadenceWindow, request_windows
from export_pipeline.schedules.due_requests import run_now
from export_pipeline.schedules.editing import create_schedule
from export_pipeline.sources.tables import read as table
from export_pipeline.sources.tables.multi_scope_read import read_rows_by_scope
from export_pipeline_tests.orchestration.deployment import Deployment
from export_pipeline_tests.orchestration.requesting import tick

SCOPES = ["a", "A", "b|c", "0", "none yet"]
ROWS = {"a": [1, 2], "A": [3], "b|c": [4, 5, 6], "0": [7]}
ALL_ROWS = {scope: ROWS.get(scope, []) for scope in SCOPES}
ORDERS = """
type: export_pipeline.components.TableExport
attributes:
  dataset: orders
  description: Orders.
  source: { table: orders, key: [id] }
  columns:
    - { name: id, type: integer }
    - { name: amount, type: "decimal(10,2)" }
  window: { column: made }
  start: "2026-01-01"
  cadences:
    daily: { cron: "15 2 * * *" }
  scope: { column: account, table: accounts, recipients: { table: contacts, scope: account, address: email } }
  formats: [csv, json]
"""


@pytest.fixture
def shop(deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A deployment with the dataset `orders` of several accounts."""
    from export_pipeline.definitions import defs

    for statement in (
        "CREATE TABLE accounts (id TEXT PRIMARY KEY, name TEXT)",
        "CREATE TABLE contacts (account TEXT, email TEXT)",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, account TEXT, amount NUMERIC, made TEXT)",
        *(f"INSERT INTO accounts VALUES ('{one}', 'Account')" for one in SCOPES),
        *(f"INSERT INTO contacts VALUES ('{one}', 'x{n}@example.org')" for n, one in enumerate(SCOPES)),
        *(
            f"INSERT INTO orders VALUES ({id}, '{scope}', {id}.5, '2026-02-02 0{id}:00:00')"
            for scope, ids in ROWS.items()
            for id in ids
        ),
    ):
        deployment.source.rows(statement.replace(":0", "\\:0"))
    folder = tmp_path / "defs"
    (folder / "orders").mkdir(parents=True)
    (folder / "orders" / "defs.yaml").write_text(ORDERS)
    monkeypatch.setattr(loading, "defs_folder", lambda: folder)
    return Deployment(deployment.source, deployment.folder, defs(), deployment.instance)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the functions that have read rows, in order."""
    made: list[str] = []

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: made.append(name) or function(*args)

    monkeypatch.setattr(source_reads, "read_rows_by_scope", noted("together", read_rows_by_scope))
    monkeypatch.setattr(table, "read", noted("alone", table.read))
    return made


def request_each(shop: Deployment, scopes: list[str] = SCOPES, **fields: Any) -> list[dg.RunRequest]:
    """Request a run of a schedule of each scope; return the runs to launch."""
    engine = open_engine(shop.source.url)
    known = {"dataset": "orders", "format": "csv", "cadence": "daily", "each_scope": True, **fields}
    schedule = create_schedule(engine, known, datetime(2026, 1, 1, tzinfo=UTC))
    recipients = {"orders": {scope: ["x@example.org"] for scope in scopes}}
    run_now(engine, schedule.id, datetime(2026, 2, 3, 5, tzinfo=UTC), recipients=recipients)
    engine.dispose()
    return tick(shop)


def request_day(shop: Deployment, formats: list[str], scopes: list[str] = SCOPES) -> list[dg.RunRequest]:
    """Request a window of a cadence for each scope; return the runs to launch."""
    engine = open_engine(shop.source.url)
    windows = [CadenceWindow("orders", "daily", "2026-02-02", scope) for scope in scopes]
    count = len(scopes) * len(formats)
    assert request_windows(engine, windows, formats, recipients=[], owners=[]) == count
    engine.dispose()
    return tick(shop)


def folders(shop: Deployment) -> list[Path]:
    """Return the folders of shared reads."""
    return [path.parent for path in shop.staging.glob("*/jobs-result")]


def rows_of(shop: Deployment, ledger: Ledger, format: str = "csv") -> dict[str | None, list[int]]:
    """Return the ids in the files of completed jobs by scope, as the files hold them."""
    return {
        job.scope: [
            int(line.split(",")[0]) for line in shop.read(str(job.file_key)).decode().split("\r\n")[1:-1]
        ]
        for job in ledger.find(status=[Status.COMPLETED], limit=100)
        if job.format == format
    }


def broken(*_: Any) -> Any:
    raise RuntimeError("broken")
