"""The registry of stores, a table of the ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from export_pipeline.jobs.database import insert_new, open_engine, transaction
from export_pipeline.jobs.errors import LedgerError, LedgerUnavailableError
from export_pipeline.jobs.tables import stores
from export_pipeline.store.base import StoreUnavailableError


class LedgerStores:
    """A `StoreRegistry` in the ledger. It stores nothing if the ledger's tables are missing.

    Args:
        url: SQLAlchemy URL of the ledger.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def find(self, url: str) -> str | None:
        """See `StoreRegistry.find`."""
        return self._ask(lambda connection: _find(connection, url), write=False)

    def record(self, url: str, store_id: str, prepare: Callable[[], None]) -> str | None:
        """See `StoreRegistry.record`."""

        def insert(connection: sa.Connection) -> str | None:
            connection.execute(insert_new(connection, stores, "url").values(url=url, id=store_id))
            if (known := _find(connection, url)) == store_id:
                prepare()
            return known

        return self._ask(insert, write=True)

    def _ask(self, call: Callable[[sa.Connection], str | None], *, write: bool) -> str | None:
        try:
            engine = open_engine(self._url)
        except LedgerError:
            return None
        if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).exists():
            return None  # connecting would create the file
        try:
            with transaction(engine, write=write) as connection:
                return call(connection)
        except LedgerUnavailableError as error:
            raise StoreUnavailableError(
                f"It is unknown whether the store was used before: {error}"
            ) from error
        except LedgerError:  # the tables are missing, or this role may not use them
            return None
        finally:
            engine.dispose()


def _find(connection: sa.Connection, url: str) -> str | None:
    return connection.scalar(sa.select(stores.c.id).where(stores.c.url == url))
