"""The claim of a ledger on a store: of several copies of a ledger, only one may remove files.

A copy, such as a restored backup that a staging system uses, has the same jobs and the same deployment id, so
it would remove the original's files. Therefore each purge writes a new token into the store and into the
ledger. A copy has only tokens from before it was made: its claim ends with the original's next purges.
"""

from __future__ import annotations

import json
import secrets as random
from collections.abc import Iterable
from contextlib import suppress

import sqlalchemy as sa

from export_pipeline.jobs.database import insert_new, transaction
from export_pipeline.jobs.errors import LedgerError
from export_pipeline.jobs.ledger import Ledger
from export_pipeline.jobs.purge import unpublish_own
from export_pipeline.jobs.queries import Reader
from export_pipeline.jobs.tables import secrets
from export_pipeline.store.base import NotFoundError, StoreUnavailableError
from export_pipeline.store.store import Store

_TOKENS = 3
"""Tokens that stay valid, so that purges at the same time do not end the claim of their own ledger."""
_NAME = "store "
_LARGEST = 1024


class StoreClaimError(LedgerError):
    """Raised when a store was claimed by another copy of the ledger, or by a later state of it."""


class StoreClaim(Reader):
    """Checks and renews the claim of a ledger on a store."""

    def check(self, store: Store) -> None:
        """Raise unless this ledger may remove files. A store that no ledger has claimed yet is free.

        Raises:
            StoreClaimError: another copy of the ledger has claimed the store.
            StoreError: the store cannot be read.
        """
        with self._reading() as connection:
            known = connection.scalars(_KNOWN).all()
        _ensure_known(self._read(store), known, store)

    def renew(self, store: Store, *, take: bool = False) -> None:
        """Check the claim and write a new token, so that older copies of the ledger lose theirs.

        Args:
            take: Claim the store for this ledger, whichever has it.

        Raises:
            StoreClaimError, StoreError: as for `check`.
        """
        name, token = f"{_NAME}{store.url}", random.token_hex(16)
        with transaction(self._engine, write=True) as connection:
            connection.execute(insert_new(connection, secrets, "name").values(name=name, secret=""))
            mine = secrets.c.name == name
            known = connection.scalars(sa.select(secrets.c.secret).where(mine).with_for_update()).one()
            if not take:
                _ensure_known(self._read(store), connection.scalars(_KNOWN).all(), store)
            kept = " ".join([token, *known.split()][:_TOKENS])
            connection.execute(sa.update(secrets).where(mine).values(secret=kept))
        # The ledger knows the token before the store has it, so no crash in between ends the claim.
        content = json.dumps({"token": token}).encode()
        with suppress(StoreUnavailableError):  # another purge has ended this upload by its own
            store.put_bytes(content, self._key(), media_type="application/json")

    def _key(self) -> str:
        return f"ledgers/{self.deployment()}.json"

    def _read(self, store: Store) -> str | None:
        try:
            with store.open(self._key()) as file:
                return str(json.loads(file.read(_LARGEST))["token"])
        except NotFoundError:
            return None
        except (ValueError, TypeError, KeyError):
            return ""


def delete_own(ledger: Ledger, store: Store, key: str) -> None:
    """Remove a job's file as `unpublish_own` does, if no other copy of the ledger has claimed the store.

    Raises:
        StoreClaimError: another copy has.
    """
    StoreClaim.sharing(ledger).check(store)
    unpublish_own(ledger, store, key)


_KNOWN = sa.select(secrets.c.secret).where(secrets.c.name.startswith(_NAME))


def _ensure_known(token: str | None, known: Iterable[str], store: Store) -> None:
    if token is not None and token not in {one for tokens in known for one in tokens.split()}:
        raise StoreClaimError(
            f"No file is removed from {store.url}: another copy of this ledger works with that store, or "
            "this ledger or the store was restored from a backup. A copy needs a store of its own "
            "(EXPORT_STORE_URL). If no other one is in use, run `export-pipeline purge --take-store`."
        )
