"""Commands that applications give by SQL: rows of `export_commands`.

A command and its answer are one transaction, so a process that dies repeats no command. The job's state and
the command's scope decide as they do for every other caller.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import sqlalchemy as sa

from export_pipeline.jobs.errors import LedgerError, LedgerUnavailableError, RefusedError, UnknownJobError
from export_pipeline.jobs.ledger import Ledger, Remove
from export_pipeline.jobs.records import Viewer
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.storable_text import storable
from export_pipeline.jobs.tables import commands
from export_pipeline.store.base import StoreError


class Commands(Ledger):
    """A ledger whose calls join the transaction of the current command. For one thread."""

    _joined: tuple[sa.Connection, datetime] | None = None

    def run_pending(self, remove: Remove, limit: int = 100, until: float = math.inf) -> int:
        """Run pending commands in order, write their answers, and return their number.

        A command whose file cannot be removed stays pending, with the reason as its answer; the next call
        tries it again.

        Args:
            remove: See `Ledger.delete`.
            limit: Maximum number of commands.
            until: Time of `time.monotonic` after which no further command is run.

        Raises:
            LedgerUnavailableError: the ledger's database cannot be reached.
        """
        select = sa.select(commands.c.id).where(commands.c.status == "pending").order_by(commands.c.id)
        with self._reading() as connection:
            waiting = connection.scalars(select.limit(limit)).all()
        answered = 0
        for command_id in waiting:
            if time.monotonic() > until:
                break
            try:
                answered += self._run(command_id, remove)
            except LedgerUnavailableError:
                raise
            except (StoreError, LedgerError, ValueError) as error:  # the last: the row holds an invalid key
                with self._writing() as (connection, _):
                    _answer(connection, command_id, "pending", f"Not done yet: {error}")
        return answered

    def forget(self, older_than: timedelta) -> int:
        """Delete old answered commands, and return their number."""
        with self._writing() as (connection, now):
            old = sa.delete(commands).where(commands.c.ended_at < now - older_than)
            return connection.execute(old).rowcount

    def _run(self, command_id: int, remove: Remove) -> bool:
        """Run a command. Return False if another process runs it, or has run it."""
        with self._writing() as (connection, now):
            select = sa.select(commands).where(commands.c.id == command_id, commands.c.status == "pending")
            select = select.with_only_columns(
                *(commands.c[name] for name in ("job_id", "command", "scope", "requested_by", "commanded_by"))
            )
            row = connection.execute(select.with_for_update(skip_locked=True)).one_or_none()
            if row is None:
                return False
            who, viewer = row.commanded_by or row.requested_by, Viewer([row.scope], row.requested_by)
            self._joined = (connection, now)
            try:
                if row.command == "cancel":
                    self.canceled(row.job_id, who, viewer)
                    answer = "Canceled."
                elif row.command == "retry":
                    answer = f"Attempt {self.retry(row.job_id, who, viewer).attempt} waits for its turn."
                else:
                    self.delete(row.job_id, remove, who, viewer)
                    answer = "Deleted."
                _answer(connection, command_id, "done", answer)
            except (RefusedError, UnknownJobError) as error:
                _answer(connection, command_id, "refused", str(error))
            finally:
                self._joined = None
        return True

    @contextmanager
    def _writing(self) -> Iterator[tuple[sa.Connection, datetime]]:
        if self._joined is not None:
            yield self._joined
            return
        with super()._writing() as begun:
            yield begun


def _answer(connection: sa.Connection, command_id: int, status: str, answer: str) -> None:
    values = {"status": status, "answer": storable(answer)}
    ended = {} if status == "pending" else {"ended_at": utc_now()}
    connection.execute(sa.update(commands).where(commands.c.id == command_id).values(**values, **ended))
