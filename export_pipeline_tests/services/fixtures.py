"""The servers as pytest fixtures: started once a session, when a test first asks."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from export_pipeline_tests.services.postgres import PostgresServer, postgres_server, system_binaries
from export_pipeline_tests.services.s3 import S3Server, s3_server


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of its own for one test."""

    server: S3Server
    name: str

    @property
    def url(self) -> str:
        """As in EXPORT_STORE_URL, with a prefix so that nobody relies on a whole bucket."""
        return f"s3://{self.name}/team"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The SQLAlchemy URL of a fresh database, gone after the test."""
    with postgres.database() as url:
        yield url


@pytest.fixture(scope="session")
def system_postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL of the system's own version, which knows ICU's collations and XML."""
    with postgres_server(system_binaries()) as server:
        yield server


@pytest.fixture
def system_postgres_url(system_postgres: PostgresServer) -> Iterator[str]:
    """The SQLAlchemy URL of a fresh database of the system's PostgreSQL, gone after the test."""
    with system_postgres.database() as url:
        yield url


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A running S3 server."""
    with s3_server() as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> Bucket:
    """A fresh bucket; it goes with the server."""
    name = f"test-{secrets.token_hex(6)}"
    s3.client().create_bucket(Bucket=name)
    return Bucket(s3, name)
