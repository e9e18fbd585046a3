"""Contracts with Dagster about storages."""

from types import SimpleNamespace

import dagster as dg
import pytest

from export_pipeline.orchestration.dagster_compat.storage import (
    has_shared_connections,
    share_connections,
    sql_storage,
)
from export_pipeline.orchestration.pooled_storage import PooledPostgresStorage


def test_else_each_query_would_open_a_connection(postgres_url: str) -> None:
    """runs/test_retention.py counts the connections."""
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
