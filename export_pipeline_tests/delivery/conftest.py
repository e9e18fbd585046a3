from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.delivery.webhooks.endpoints import Webhook, create_webhook
from export_pipeline.jobs.database import open_engine
from export_pipeline.store import Store, open_store
from export_pipeline_tests.delivery import webhook_calls
from export_pipeline_tests.delivery.exports import Exports, settings_of
from export_pipeline_tests.delivery.mail_server import MailServer, mail_server
from export_pipeline_tests.delivery.webhook_receiver import Receiver, webhook_receiver
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.jobs.fixtures import (  # noqa: F401
    database,
    engine,
    ledger,
    migrated_postgres_url,
    migrated_sqlite_file,
    postgres_database,
    sqlite_database,
    sqlite_jobs_url,
)


@pytest.fixture
def server() -> Iterator[MailServer]:
    """A mail server that takes everything."""
    with mail_server() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A folder."""
    return open_store(str(tmp_path / "exports"))


@pytest.fixture
def exports(database: Database, store: Store, server: MailServer) -> Iterator[Exports]:  # noqa: F811
    """Jobs that have ended, on each kind of database, with their mails to `server`."""
    opened: sa.Engine = open_engine(database.url)
    with closing(Exports(opened, database, store, settings_of(server.url))) as exports:
        yield exports


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr("export_pipeline.delivery.webhooks.endpoints.checked_addresses", lambda *_: None)
    with webhook_receiver() as receiver:
        yield receiver


@pytest.fixture
def make(engine: sa.Engine, receiver: Receiver) -> Any:  # noqa: F811
    def make(**asked: Any) -> tuple[Webhook, str]:
        return create_webhook(engine, webhook_calls.settings_of(), receiver.url, **asked)

    return make
