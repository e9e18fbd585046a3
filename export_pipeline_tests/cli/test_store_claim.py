"""A ledger that was restored from a backup is told why it removes nothing."""

from __future__ import annotations

import json
from pathlib import Path

from export_pipeline.jobs import Ledger
from export_pipeline_tests.commands import Command


def test_purge_and_health_say_so(command: Command, ledger: Ledger, tmp_path: Path) -> None:
    assert command("purge").code == 0
    (claim,) = tmp_path.rglob("ledgers/*.json")
    own = claim.read_bytes()
    assert command("purge").code == 0
    assert "store_of_a_copy" not in command("health", "--json").out
    claim.write_text('{"database": "another one"}')
    refused = command("purge")
    assert refused.code == 1
    assert "was restored from a backup" in refused.err
    assert "store_of_a_copy" in command("health", "--json").out
    assert command("purge", "--take-store").code == 0
    assert claim.read_bytes() == own
    assert command("purge").code == 0


def test_a_dry_run_tells_what_would_happen_and_takes_nothing(
    command: Command, ledger: Ledger, tmp_path: Path
) -> None:
    assert command("purge", "--dry-run").code == 0
    assert not list(tmp_path.rglob("ledgers/*.json"))
    assert command("purge").code == 0
    (claim,) = tmp_path.rglob("ledgers/*.json")
    claim.write_text('{"database": "another one"}')
    refused = command("purge", "--dry-run", "--json")
    assert refused.code == 1
    assert "A purge would stop here." in refused.err
    assert "purge --take-store" in refused.err
    assert json.loads(refused.out)["dry_run"] is True
    taking = command("purge", "--dry-run", "--take-store")
    assert taking.code == 0
    assert "Would take" in taking.err
    assert claim.read_text() == '{"database": "another one"}'
