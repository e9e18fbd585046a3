"""The claim of a ledger on a store: only the ledger that owns it removes files, not its copies.

A copy, such as a restored backup that a staging system uses, has the same jobs and the same deployment id, so
it would remove the original's files. Therefore a file in the store names the database whose ledger may remove
files. The first purge writes it, and only `purge --take-store` changes it: a claim cannot lapse because a
write failed, and a copy cannot take it from the original.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import random
import struct
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from export_pipeline.jobs.errors import LedgerError
from export_pipeline.jobs.ledger import Ledger
from export_pipeline.jobs.purge import unpublish_own
from export_pipeline.jobs.queries import Reader
from export_pipeline.jobs.tables import secrets
from export_pipeline.store.base import NotFoundError, StoreError, StoreUnavailableError
from export_pipeline.store.store import Store

_LARGEST = 1024
_AT_FDCWD, _STATX_BTIME = -100, 0x800  # linux/fcntl.h, linux/stat.h
_ATTEMPTS = 10
_logger = logging.getLogger(__name__)


class StoreClaimError(LedgerError):
    """Raised when the ledger of another database has claimed the store, or its claim cannot be read."""


class StoreClaim(Reader):
    """Checks and makes the claim of a ledger on a store."""

    def check(self, store: Store) -> None:
        """Raise unless this ledger may remove files. A store that no ledger has claimed yet is free.

        Raises:
            StoreClaimError: the ledger of another database has claimed the store, or the claim is damaged.
            StoreError: the store cannot be read.
        """
        self._ensure_free(store, self._read(store))

    def claim(self, store: Store, *, take: bool = False) -> None:
        """Check the claim, and claim a store that is free.

        If the claim of a free store cannot be written, the store stays free: a full disk can be purged, and
        the next purge claims the store.

        Args:
            take: Claim the store for this ledger, whichever has it.

        Raises:
            StoreClaimError: as for `check`.
            StoreError: the store cannot be read, or cannot be taken.
        """
        own = {"database": self._database()}
        content = json.dumps(own).encode()
        failure = StoreUnavailableError("another claim was always first.")
        for attempt in range(_ATTEMPTS):
            claim = self._read(store)
            if claim == own or (claim is not None and not take and self._has_database(claim)):
                return
            if not take:
                self._ensure_free(store, claim)
            try:
                # Staging ends every other upload of the key: of two claims at once only one is published.
                with store.stage_bytes(content, self._key(), media_type="application/json") as staged:
                    if self._read(store) == claim:
                        staged.publish()
                        take = False  # whoever takes the store after this moment has it
            except StoreUnavailableError as error:  # such as a claim at the same time that has ended this one
                failure = error
                time.sleep(random.uniform(0, 0.1 * attempt))
            except StoreError as error:
                if take:
                    raise StoreError(f"{store.url} is not taken, and no file is removed: {error}") from error
                _logger.warning("%s is not claimed yet, the next purge tries again: %s", store.url, error)
                return
        raise StoreUnavailableError(f"{store.url} cannot be claimed now: {failure}") from failure

    def _key(self) -> str:
        return f"ledgers/{self.deployment()}.json"

    def _ensure_free(self, store: Store, claim: dict[str, Any] | None) -> None:
        if claim is not None and not self._has_database(claim) and not self._has_token(claim):
            raise self._refused(store, claim)

    def _read(self, store: Store) -> dict[str, Any] | None:
        """Return the content of the claim; None if there is none, {} if it is damaged."""
        try:
            with store.open(self._key()) as file:
                content = json.loads(file.read(_LARGEST))
        except NotFoundError:
            return None
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    def _has_database(self, claim: dict[str, Any]) -> bool:
        own, other = self._database(), claim.get("database")
        return (
            isinstance(other, list)
            and len(other) == len(own)
            and all(one == part or None in (one, part) for one, part in zip(own, other, strict=True))
        )

    def _has_token(self, claim: dict[str, Any]) -> bool:
        """Return whether a claim of the older form has a token that this ledger has written."""
        if "token" not in claim:
            return False
        with self._reading() as connection:
            known = connection.scalars(_TOKENS).all()
        return claim["token"] in [token for tokens in known for token in tokens.split()]

    def _database(self) -> list[str | int | None]:
        """Return what a copy of the database lacks, and what stays when its server or folder moves.

        A part that this role or system cannot read is None. Copies of a whole disk or server are the same.
        """
        if self._engine.dialect.name == "sqlite":
            path = Path(str(self._engine.url.database))
            return ["sqlite", path.stat().st_ino, _birth_time(path)]
        with self._reading() as connection:
            *oids, may_read = connection.execute(_OIDS).one()
            cluster = connection.scalar(_CLUSTER) if may_read else None
        return ["postgresql", cluster, *oids]

    def _refused(self, store: Store, claim: dict[str, Any]) -> StoreClaimError:
        if "database" in claim or "token" in claim:
            why = (
                "the ledger of another database works with that store, and this one is a copy of it, or was "
                "restored from a backup"
            )
        else:
            why = f"the claim {self._key()} is damaged, so nobody knows which ledger works with that store"
        return StoreClaimError(
            f"No file is removed from {store.url}: {why}. A copy needs a store of its own "
            "(EXPORT_STORE_URL). If no other one is in use, run `export-pipeline purge --take-store`."
        )


# The table's own oid tells a copy in another schema, or one that was restored in place.
_OIDS = sa.text(
    "SELECT oid, CAST(CAST('export_deployment' AS regclass) AS oid), "
    "has_function_privilege(to_regprocedure('pg_control_system()'), 'EXECUTE') "
    "FROM pg_database WHERE datname = current_database()"
)
_CLUSTER = sa.text("SELECT system_identifier FROM pg_control_system()")
_TOKENS = sa.select(secrets.c.secret).where(secrets.c.name.startswith("store "))


def _birth_time(path: Path) -> int | None:
    """Return when a file was created, in nanoseconds since 1970; None if the file system does not tell.

    The inode alone is not enough: the first file of each new file system has the same one.
    """
    if (seconds := getattr(path.stat(), "st_birthtime", None)) is not None:  # not on Linux
        return int(seconds * 10**9)
    try:
        statx = ctypes.CDLL(None).statx
    except AttributeError:
        return None
    answer = ctypes.create_string_buffer(256)  # struct statx, which Python 3.11 does not offer
    if statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, answer):
        return None
    (mask,) = struct.unpack_from("I", answer)
    seconds, nanoseconds = struct.unpack_from("qI", answer, 80)
    return int(seconds * 10**9 + nanoseconds) if mask & _STATX_BTIME else None


def delete_own(ledger: Ledger, store: Store, key: str) -> None:
    """Remove a job's file as `unpublish_own` does, if no other copy of the ledger has claimed the store.

    Raises:
        StoreClaimError: another copy has.
    """
    StoreClaim.sharing(ledger).check(store)
    unpublish_own(ledger, store, key)
