"""Dagster's storage on PostgreSQL, over connections that a process keeps.

Dagster's own opens a connection for each query, as each tick of each sensor makes an instance anew: an idle
deployment opened 20 a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from export_pipeline.database_url import dagster_url
from export_pipeline.orchestration.dagster_compat import has_shared_connections, share_connections


class PooledPostgresStorage(DagsterPostgresStorage):
    """Keep runs, events and schedules in PostgreSQL, as `storage: postgres` of dagster.yaml does.

    All instances of a process share one pool. It looks whether a connection lives before it hands it out, so
    a process outlives a restart of the database.
    """

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        url = dagster_url(postgres_url)
        # Once a process is enough to look for the tables.
        super().__init__(url, not has_shared_connections(url), inst_data)
        share_connections(self, url)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return what dagster.yaml may say of it."""
        return {"postgres_url": dg.StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> PooledPostgresStorage:
        """Make it of what dagster.yaml says."""
        return cls(config_value["postgres_url"], inst_data)
