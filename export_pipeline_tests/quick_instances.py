"""Dagster's instances, without what it makes anew for each of their connections and runs.

For every event in a file it makes an engine, which compiles its statements again, and for every database it reads its
migrations again. Both are the same each time. For every run of some assets it describes the job of all assets too,
which nobody reads. That is most of what it costs to record a small run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage


@pytest.fixture(scope="session", autouse=True)
def quick_instances() -> Iterator[None]:
    """All instances of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
            patch.setattr(module, "create_engine", _made_once(module.create_engine))
        patch.setattr(dg.JobDefinition, "get_parent_job_snapshot", lambda _: None)
        patch.setattr(
            dg.JobDefinition, "get_job_snapshot_id", _described(dg.JobDefinition.get_job_snapshot_id)
        )
        patch.setattr(ScriptDirectory, "from_config", _read_once(ScriptDirectory.from_config))
        yield


def _made_once(create_engine: Callable[..., sa.Engine]) -> Callable[..., sa.Engine]:
    """One engine for each database, with a connection that stays open as long as the database is in use."""

    @functools.lru_cache(50)
    def kept(url: str, timeout: float) -> sa.Engine:
        engine = create_engine(url, pool_size=1, connect_args={"timeout": timeout})
        engine.dispose = lambda *_: None  # type: ignore[method-assign]
        return engine

    def engine(
        url: str, *, poolclass: type[sa.Pool], connect_args: Mapping[str, Any] | None = None
    ) -> sa.Engine:
        assert poolclass is sa.NullPool
        return kept(url, (connect_args or {}).get("timeout", 5.0))

    return engine


def _described(get_job_snapshot_id: Callable[[dg.JobDefinition], str]) -> Callable[[dg.JobDefinition], str]:
    """Describe all jobs but that of all assets, of which runs have a selection."""

    def snapshot_id(job: dg.JobDefinition) -> str:
        all_assets = job.name == IMPLICIT_ASSET_JOB_NAME and not job.asset_selection_data
        return "of all assets" if all_assets else get_job_snapshot_id(job)

    return snapshot_id


def _read_once(from_config: Callable[[Config], ScriptDirectory]) -> Callable[[Config], ScriptDirectory]:
    """The migrations that belong to each alembic.ini."""
    read: dict[str, ScriptDirectory] = {}

    def scripts(config: Config) -> ScriptDirectory:
        file = config.config_file_name
        if file is None:
            return from_config(config)
        if file not in read:
            read[file] = from_config(config)
        return read[file]

    return scripts
