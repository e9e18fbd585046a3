"""The claim of a ledger on a store: of several copies of a ledger, only one may remove files.

A copy, such as a restored backup that a staging system uses, has the same jobs and the same deployment id, so
it would remove the original's files. Therefore a file in the store names the database whose ledger may remove
files. The first purge writes it, and only `purge --take-store` changes it: a claim cannot lapse because a
write failed, and a copy cannot take it from the original.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import sqlalchemy as sa

from export_pipeline.jobs.errors import LedgerError
from export_pipeline.jobs.ledger import Ledger
from export_pipeline.jobs.purge import unpublish_own
from export_pipeline.jobs.queries import Reader
from export_pipeline.store.base import NotFoundError, StoreError
from export_pipeline.store.store import Store

_LARGEST = 1024
_logger = logging.getLogger(__name__)


class StoreClaimError(LedgerError):
    """Raised when the ledger of another database has claimed the store."""


class StoreClaim(Reader):
    """Checks and makes the claim of a ledger on a store."""

    def check(self, store: Store) -> None:
        """Raise unless this ledger may remove files. A store that no ledger has claimed yet is free.

        Raises:
            StoreClaimError: the ledger of another database has claimed the store.
            StoreError: the store cannot be read.
        """
        if self._owner(store) not in (None, self._database()):
            raise _refused(store)

    def claim(self, store: Store, *, take: bool = False) -> None:
        """Check the claim, and claim a store that is free.

        A failed write changes nothing: a full disk can be purged, and the next purge claims the store.

        Args:
            take: Claim the store for this ledger, whichever has it.

        Raises:
            StoreClaimError, StoreError: as for `check`.
        """
        owner, database = self._owner(store), self._database()
        if owner == database:
            return
        if owner is not None and not take:
            raise _refused(store)
        content = json.dumps({"database": database}).encode()
        try:
            store.delete(self._key())  # the other claim ends, even if there is no space for this one
            store.put_bytes(content, self._key(), media_type="application/json")
        except StoreError as error:
            _logger.warning("%s is not claimed yet, the next purge tries again: %s", store.url, error)

    def _key(self) -> str:
        return f"ledgers/{self.deployment()}.json"

    def _owner(self, store: Store) -> str | None:
        """Return the database that has claimed the store; None if none has, or the claim is damaged."""
        try:
            with store.open(self._key()) as file:
                return str(json.loads(file.read(_LARGEST))["database"])
        except (NotFoundError, ValueError, TypeError, KeyError):
            return None

    def _database(self) -> str:
        """Return what no copy of the database has, and what stays when its server or folder moves."""
        if self._engine.dialect.name == "sqlite":
            return f"sqlite/{Path(str(self._engine.url.database)).stat().st_ino}"
        with self._reading() as connection:
            *oids, may_read = connection.execute(_OIDS).one()
            cluster = connection.scalar(_CLUSTER) if may_read else None
        return "/".join(map(str, ("postgresql", cluster, *oids)))


def _refused(store: Store) -> StoreClaimError:
    return StoreClaimError(
        f"No file is removed from {store.url}: the ledger of another database works with that store, and "
        "this one is a copy of it, or was restored from a backup. A copy needs a store of its own "
        "(EXPORT_STORE_URL). If no other one is in use, run `export-pipeline purge --take-store`."
    )


# The table's own oid tells a copy in another schema, or one that was restored in place.
_OIDS = sa.text(
    "SELECT oid, CAST(CAST('export_deployment' AS regclass) AS oid), "
    "has_function_privilege(to_regprocedure('pg_control_system()'), 'EXECUTE') "
    "FROM pg_database WHERE datname = current_database()"
)
_CLUSTER = sa.text("SELECT system_identifier FROM pg_control_system()")


def delete_own(ledger: Ledger, store: Store, key: str) -> None:
    """Remove a job's file as `unpublish_own` does, if no other copy of the ledger has claimed the store.

    Raises:
        StoreClaimError: another copy has.
    """
    StoreClaim.sharing(ledger).check(store)
    unpublish_own(ledger, store, key)
