"""Databases to be introspected, and what is said of them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from export_pipeline.datasets.table import TableModel
from export_pipeline.sources.introspection.introspect import introspect
from export_pipeline_tests.hostile import plain_driver

SHOP = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id), total NUMERIC(10,2),
    fee_cents INTEGER, paid BOOLEAN, status VARCHAR(12), note TEXT, api_key TEXT,
    created_at TIMESTAMP NOT NULL, deleted_at TIMESTAMP);
INSERT INTO customers VALUES (1, 'Ann', 'ann@example.org'), (2, 'Böb', NULL);
INSERT INTO orders VALUES
    (1, 1, '12.50', 100, true, 'new', '=1+1', 'k', '2026-01-01 10:00:00', NULL),
    (2, 2, '99999999.99', -5, false, NULL, '', NULL, '2026-01-02 10:00:00.5', NULL),
    (3, 2, NULL, NULL, NULL, NULL, NULL, NULL, '2026-01-03 00:00:00', '2026-02-01 00:00:00');
"""


def sqlite(folder: Path, script: str) -> str:
    """The URL of a SQLite database that a script made."""
    with closing(sqlite3.connect(folder / "app.db")) as connection:
        connection.executescript(script)
    return f"sqlite:///{folder}/app.db"


def execute(url: str, script: str) -> None:
    """Run a script in PostgreSQL."""
    with plain_driver.connect(url) as connection:
        connection.cursor().execute(script)
        connection.commit()


def attributes(url: str, table: str) -> dict[str, Any]:
    """The attributes in the YAML of a table, loaded as Dagster loads them."""
    declared: dict[str, Any] = yaml.safe_load(introspect(url, table).yaml)["attributes"]
    TableModel.model_validate(declared)
    return declared


def types(declared: dict[str, Any]) -> dict[str, str]:
    return {column.get("from", column["name"]): column["type"] for column in declared["columns"]}
