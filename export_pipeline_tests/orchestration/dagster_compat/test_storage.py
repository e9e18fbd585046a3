"""Contracts with Dagster about storages."""

from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
import sqlalchemy as sa

from export_pipeline.orchestration.dagster_compat.storage import (
    has_shared_connections,
    overwriting,
    share_connections,
    sql_storage,
)
from export_pipeline.orchestration.pooled_storage import PooledPostgresStorage


def test_else_each_query_would_open_a_connection(postgres_url: str) -> None:
    """sensors/test_run_retention.py counts the connections."""
    url = postgres_url
    assert not has_shared_connections(url)
    storages = [PooledPostgresStorage.from_config_value(None, {"postgres_url": url}) for _ in range(2)]
    assert has_shared_connections(url)
    share_connections(storages[1], url)
    engines = {
        id(vars(part)["_engine"])
        for storage in storages
        for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage)
    }
    assert len(engines) == 1


def test_else_nothing_could_be_removed_from_the_event_log(instance: dg.DagsterInstance) -> None:
    assert sql_storage(instance) is instance.event_log_storage
    with pytest.raises(TypeError, match="Dagster's events lie in NoneType, which is no SQL database"):
        sql_storage(SimpleNamespace(event_log_storage=None))  # type: ignore[arg-type]


def test_else_what_was_removed_could_be_read_in_sqlites_files(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/dagster.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        connection.exec_driver_sql("CREATE TABLE runs (body text)")
        connection.exec_driver_sql("INSERT INTO runs VALUES ('a secret filter')")
    with overwriting(engine.begin()) as connection:
        connection.exec_driver_sql("UPDATE runs SET body = 'none'")
    assert not any(b"a secret filter" in file.read_bytes() for file in tmp_path.iterdir())
