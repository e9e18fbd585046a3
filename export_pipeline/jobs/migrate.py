"""Makes the ledger's tables, or brings them up to date."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from export_pipeline.jobs.database import open_engine, transaction
from export_pipeline.jobs.errors import LedgerError

VERSION_TABLE = "export_pipeline_version"
"""Not Alembic's usual name, as the application's own migrations may live in the same database."""

_LOCK = 0x6578_706F_7274  # any number that nobody else locks


def migrate(url: str) -> None:
    """Bring the ledger at a SQLAlchemy URL up to date, in one transaction. Nothing happens if it is.

    Processes that do so at once wait for each other.

    Raises:
        LedgerError: the URL is not PostgreSQL's or SQLite's, or the database refuses.
        LedgerUnavailableError: the database cannot be reached.
    """
    engine = open_engine(url)
    try:
        with transaction(engine, write=True) as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            upgrade(connection)
    finally:
        engine.dispose()


def upgrade(connection: sa.Connection) -> None:
    """Run what is missing within the connection's transaction."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise LedgerError(
            f"The tables of export jobs are not of this version, but perhaps of a newer one: {error}"
        ) from error
