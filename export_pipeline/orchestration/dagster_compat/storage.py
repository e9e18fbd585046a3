"""Dagster's storages and their connections."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log import SqlEventLogStorage

if TYPE_CHECKING:
    from dagster_postgres import DagsterPostgresStorage


_engines: dict[tuple[int, str], sa.Engine] = {}


def has_shared_connections(url: str) -> bool:
    """Return whether this process already has an instance on a database."""
    return (os.getpid(), url) in _engines


def share_connections(storage: DagsterPostgresStorage, url: str) -> None:
    """Make a storage use this process's connection pool for its database.

    Args:
        url: SQLAlchemy URL of PostgreSQL.
    """
    key = (os.getpid(), url)  # a forked process must not use its parent's connections
    if key not in _engines:
        _engines[key] = sa.create_engine(
            url,
            isolation_level="AUTOCOMMIT",
            pool_size=3,
            max_overflow=20,
            pool_recycle=1800,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={"application_name": "dagster"},
        )
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        vars(part)["_engine"] = _engines[key]


@contextmanager
def overwriting(opened: AbstractContextManager[sa.Connection]) -> Iterator[sa.Connection]:
    """Open a connection whose old values are gone from a SQLite file after an update."""
    with opened as connection:
        is_sqlite = connection.dialect.name == "sqlite"
        if is_sqlite:  # otherwise freed pages still contain the text
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
        yield connection
        engine = connection.engine
    if is_sqlite:  # the write-ahead log contains it too
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        engine.dispose()


def sql_storage(instance: dg.DagsterInstance) -> SqlEventLogStorage:
    """Return the event log of an instance, which must be in a SQL database.

    Raises:
        TypeError: it is not.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise TypeError(f"Dagster's events lie in {type(storage).__name__}, which is no SQL database.")
    return storage
