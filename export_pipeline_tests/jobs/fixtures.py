import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from export_pipeline.jobs import Ledger, migrate
from export_pipeline.jobs.database import open_engine
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.services.postgres import PostgresServer

_TABLES = (
    "export_webhook_deliveries", "export_deliveries", "export_links", "export_events", "export_jobs", "scheduled_exports",
    "export_leases", "export_commands", "export_keys", "export_secrets", "export_webhooks",
    "export_materializations", "export_unsubscribes",
)  # fmt: skip
# TRUNCATE makes new files for all tables and indexes: for a few rows that is ten times the work of DELETE.
_EMPTY = f"""DO $$ BEGIN
UPDATE export_jobs SET legal_hold = false WHERE legal_hold;
IF pg_relation_size('export_jobs') + pg_relation_size('export_events') > 1000000
THEN TRUNCATE {", ".join(_TABLES)}; ELSE {" ".join(f"DELETE FROM {table};" for table in _TABLES)} END IF; END $$"""


@pytest.fixture
def sqlite_jobs_url(tmp_path: Path) -> str:
    """A SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture(params=["sqlite_jobs_url", pytest.param("postgres_url", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database, of each kind that is promised."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture(scope="session")
def migrated_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the ledger's tables, for tests that copy it."""
    path = tmp_path_factory.mktemp("ledger") / "jobs.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_database(migrated_sqlite_file: Path, tmp_path: Path, sqlite_jobs_url: str) -> Iterator[Database]:
    """A SQLite file with the ledger's tables, empty."""
    shutil.copy(migrated_sqlite_file, tmp_path / "jobs.db")
    with closing(Database(sqlite_jobs_url)) as database:
        yield database


@pytest.fixture(scope="session")
def migrated_postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """One PostgreSQL database with the ledger's tables, for tests that empty them."""
    with postgres.database() as url:
        migrate(url)
        yield url


@pytest.fixture
def postgres_database(migrated_postgres_url: str) -> Iterator[Database]:
    """A PostgreSQL database with the ledger's tables, empty."""
    with closing(Database(migrated_postgres_url)) as database:
        database.run(_EMPTY)
        yield database


@pytest.fixture(params=["sqlite_database", pytest.param("postgres_database", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest) -> Database:
    """The ledger's empty tables as an application sees them: plain SQL; on each kind of database."""
    database: Database = request.getfixturevalue(request.param)
    return database


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    """The ledger of `database`."""
    with Ledger(database.url) as ledger:
        yield ledger


@pytest.fixture
def engine(database: Database) -> Iterator[sa.Engine]:
    """An engine of `database`, opened as the ledger opens it."""
    engine = open_engine(database.url)
    yield engine
    engine.dispose()
