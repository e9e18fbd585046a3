from collections.abc import Iterator
from pathlib import Path

import pytest

from export_pipeline_tests.services.postgres import PostgresServer
from export_pipeline_tests.takeoff_data import Application


@pytest.fixture
def sqlite_application(tmp_path: Path) -> Iterator[Application]:
    """An empty takeoff application on SQLite."""
    made = Application(f"sqlite:///{tmp_path}/app.db")
    yield made
    made.close()


@pytest.fixture
def postgres_application(postgres_url: str) -> Iterator[Application]:
    """An empty takeoff application on PostgreSQL."""
    made = Application(postgres_url)
    yield made
    made.close()


@pytest.fixture(params=["sqlite_application", "postgres_application"])
def application(request: pytest.FixtureRequest) -> Application:
    """An empty takeoff application, on each database that is promised."""
    made: Application = request.getfixturevalue(request.param)
    return made


@pytest.fixture(scope="session")
def postgres_session_url(postgres: PostgresServer) -> Iterator[str]:
    """One database for tests that only select constants."""
    with postgres.database() as url:
        yield url
