"""A ledger that was restored from a backup is told why it removes nothing."""

from __future__ import annotations

import sqlalchemy as sa

from export_pipeline.jobs import Ledger
from export_pipeline.jobs.tables import secrets
from export_pipeline_tests.commands import Command

_TOKENS = secrets.c.name.startswith("store ")


def test_purge_and_health_say_so(command: Command, ledger: Ledger) -> None:
    assert command("purge").code == 0
    with ledger.engine.begin() as connection:
        before = connection.execute(sa.select(secrets).where(_TOKENS)).mappings().one()
    for _ in range(3):
        assert command("purge").code == 0
    assert "store_of_a_copy" not in command("health", "--json").out
    with ledger.engine.begin() as connection:
        connection.execute(sa.update(secrets).where(_TOKENS).values(**before))
    for arguments in (["purge"], ["purge", "--dry-run"]):
        refused = command(*arguments)
        assert refused.code == 1
        assert "was restored from a backup" in refused.err
    assert "store_of_a_copy" in command("health", "--json").out
    assert command("purge", "--take-store").code == 0
    assert command("purge").code == 0
