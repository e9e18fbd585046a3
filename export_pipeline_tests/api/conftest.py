"""A service on a sample source, on each kind of ledger."""

import multiprocessing
from collections.abc import Iterator, Mapping
from multiprocessing import forkserver
from pathlib import Path

import pytest
import sqlalchemy as sa

from export_pipeline.api import service as service_module
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.loading import load_datasets
from export_pipeline.demo import bookkeeping
from export_pipeline.settings import Settings
from export_pipeline_tests.api.service import Running, serving
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.jobs.fixtures import (  # noqa: F401
    database,
    migrated_postgres_url,
    migrated_sqlite_file,
    postgres_database,
    sqlite_database,
    sqlite_jobs_url,
)


@pytest.fixture(scope="session")
def source_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SQLite file with the bookkeeping application's sample tables."""
    url = f"sqlite:///{tmp_path_factory.mktemp('source')}/app.db"
    engine = sa.create_engine(url)
    bookkeeping.fill(engine)
    engine.dispose()
    return url


@pytest.fixture(scope="session")
def accounts(source_url: str) -> list[str]:
    """The scopes of the dataset `records`."""
    engine = sa.create_engine(source_url)
    with engine.connect() as connection:
        ids = list(connection.scalars(sa.text("SELECT id FROM accounts ORDER BY id")))
    engine.dispose()
    return ids


@pytest.fixture(scope="session")
def declared() -> Mapping[str, Dataset]:
    return load_datasets()


@pytest.fixture
def settings(database: Database, source_url: str, tmp_path: Path) -> Settings:  # noqa: F811
    """The settings of a deployment with a folder as its store."""
    return Settings(source_url=source_url, jobs_url=database.url, store_url=str(tmp_path / "store"))


@pytest.fixture(scope="session")
def warm_workers() -> None:
    """Fork servers are forked from a process that has read the datasets, which takes longer than most exports."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["export_pipeline_tests.api.warm_workers"]
    )
    forkserver.ensure_running()


@pytest.fixture
def service(
    settings: Settings, declared: Mapping[str, Dataset], warm_workers: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Running]:
    """A running service."""
    monkeypatch.setattr(service_module, "load_datasets", lambda: declared)
    with serving(settings) as running:
        yield running


@pytest.fixture
def formula(source_url: str, accounts: list[str]) -> Iterator[None]:
    """One record of the first account has a name that looks like a formula."""
    engine = sa.create_engine(source_url)
    of_account = "WHERE id = (SELECT min(id) FROM bookkeeping_records WHERE account_id = :account)"
    with engine.begin() as connection:
        select = sa.text(f"SELECT id, item_name FROM bookkeeping_records {of_account}")
        id, name = connection.execute(select, {"account": accounts[0]}).one()
        update = sa.text("UPDATE bookkeeping_records SET item_name = :name WHERE id = :id")
        connection.execute(update, {"name": "=1+1", "id": id})
    yield
    with engine.begin() as connection:
        connection.execute(update, {"name": name, "id": id})
    engine.dispose()
