"""Dagster's storage on PostgreSQL with a connection pool per process.

Each tick of each sensor makes a new instance, and Dagster's own storage opens a connection for each query.
So an idle deployment opened 20 connections a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster_postgres import DagsterPostgresStorage

from export_pipeline.database_url import dagster_url
from export_pipeline.orchestration.dagster_compat.instance import ConfigurableClassData
from export_pipeline.orchestration.dagster_compat.storage import has_shared_connections, share_connections


class PooledPostgresStorage(DagsterPostgresStorage):
    """Keeps runs, events and schedules in PostgreSQL, as `storage: postgres` of dagster.yaml does.

    All instances of a process share one pool. The pool tests a connection before it hands it out, so a
    process survives a restart of the database.
    """

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        url = dagster_url(postgres_url)
        # One check for the tables per process is enough.
        super().__init__(url, not has_shared_connections(url), inst_data)
        share_connections(self, url)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return the schema of its config in dagster.yaml."""
        return {"postgres_url": dg.StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> PooledPostgresStorage:
        """Build the storage from its config in dagster.yaml."""
        return cls(config_value["postgres_url"], inst_data)
