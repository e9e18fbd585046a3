"""Leases of runs: who lives is decided by the database's clock alone, and never against a living process."""

from __future__ import annotations

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from export_pipeline.jobs import LeaseLostError, Ledger
from export_pipeline.jobs.leases import LAST_CALL, LEASE, START_TIMEOUT
from export_pipeline_tests.jobs.database import Database

_PAST_LEASE = int(LEASE.total_seconds()) + 1
_PAST_CALL = int(LAST_CALL.total_seconds()) + 1


def pass_time(database: Database, seconds: int) -> None:
    """Let all leases grow older."""
    for column in ("started_at", "renewed_at", "expires_at", "called_at", "lost_at"):
        database.age(column, seconds, table="export_leases")


def test_a_lease_that_is_renewed_lives_and_one_that_is_not_is_lost(
    ledger: Ledger, database: Database
) -> None:
    ledger.hold_lease("silent", "a", "host")
    ledger.hold_lease("lives", "b", "host")
    assert {lease.is_alive for lease in ledger.check_leases(["silent", "lives"]).values()} == {True}
    pass_time(database, _PAST_LEASE)
    ledger.hold_lease("lives", "b", "host")
    verdicts = ledger.check_leases(["silent", "lives"])
    assert (verdicts["silent"].is_alive, verdicts["silent"].is_lost) == (False, False)  # it has a last call
    pass_time(database, _PAST_CALL)
    ledger.hold_lease("lives", "b", "host")
    verdicts = ledger.check_leases(["silent", "lives"])
    assert (verdicts["silent"].is_lost, verdicts["lives"].is_alive) == (True, True)
    assert verdicts["silent"].silent >= LEASE + LAST_CALL
    assert verdicts["silent"].host == "host"
    with pytest.raises(LeaseLostError, match="Run silent missed its heartbeats"):
        ledger.hold_lease("silent", "a")
    with pytest.raises(LeaseLostError):
        ledger.hold_lease("silent", "somebody else")


def test_an_outage_of_the_database_costs_nobody_their_work(ledger: Ledger, database: Database) -> None:
    """All leases have expired, and who looks is back first."""
    ledger.hold_lease("run", "a")
    ledger.check_leases(["run"])
    pass_time(database, 3600)
    assert not ledger.check_leases(["run"])["run"].is_lost
    ledger.hold_lease("run", "a")
    pass_time(database, _PAST_CALL)
    assert ledger.check_leases(["run"])["run"].is_alive


def test_a_second_process_of_a_run_does_not_get_its_lease(ledger: Ledger, database: Database) -> None:
    ledger.hold_lease("run", "a")
    with pytest.raises(LeaseLostError):
        ledger.hold_lease("run", "b")
    pass_time(database, _PAST_LEASE)
    ledger.hold_lease("run", "b")  # as one that resumes it after the first one's death
    with pytest.raises(LeaseLostError):
        ledger.hold_lease("run", "a")


def test_a_run_that_never_takes_its_lease_is_lost(ledger: Ledger, database: Database) -> None:
    ledger.expect_lease("launched")
    assert ledger.check_leases(["launched", "seen"]).keys() == {"launched", "seen"}
    assert ledger.check_leases([], others=["unknown"]) == {}
    pass_time(database, int(START_TIMEOUT.total_seconds()) + 1)
    ledger.hold_lease("seen", "a")
    ledger.check_leases(["launched", "seen"])
    pass_time(database, _PAST_CALL)
    verdicts = ledger.check_leases(["launched", "seen"])
    assert (verdicts["launched"].is_lost, verdicts["seen"].is_alive) == (True, True)
    ledger.expect_lease("launched")
    assert ledger.leases(["launched"])["launched"].is_lost


def test_a_run_that_is_doubted_must_answer_at_once(ledger: Ledger, database: Database) -> None:
    """As when Dagster says that it has crashed; a process that lives goes on."""
    for run_id in ("dead", "lives"):
        ledger.hold_lease(run_id, "a")
        assert ledger.check_leases([run_id], doubted=[run_id])[run_id].is_alive
    ledger.hold_lease("lives", "a")
    pass_time(database, _PAST_CALL)
    verdicts = ledger.check_leases(["dead", "lives"], doubted=["dead", "lives"])
    assert (verdicts["dead"].is_lost, verdicts["lives"].is_alive) == (True, True)


@pytest.mark.parametrize("hours", [2, -2])
def test_the_databases_clock_may_be_set(ledger: Ledger, database: Database, hours: int) -> None:
    """Back or forward: the dead are found in their usual time, and the living keep their lease."""
    for run_id in ("dead", "lives"):
        ledger.hold_lease(run_id, run_id)
    if hours > 0:
        ledger.check_leases(["dead"], doubted=["dead"])  # this call was written by the old clock
    pass_time(database, hours * 3600)
    ledger.check_leases(["dead", "lives"])
    ledger.hold_lease("lives", "lives")
    pass_time(database, _PAST_CALL)
    ledger.check_leases(["dead", "lives"])
    ledger.hold_lease("lives", "lives")
    pass_time(database, _PAST_CALL)
    verdicts = ledger.check_leases(["dead", "lives"])
    assert (verdicts["dead"].is_lost, verdicts["lives"].is_alive) == (True, True)


def test_clocks_of_machines_decide_nothing(
    ledger: Ledger, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(dt.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            raise AssertionError("the clock of this machine was read")

    monkeypatch.setattr(dt, "datetime", Wrong)
    for module in ("leases", "run_reports", "reuse", "transitions", "queries", "claims"):
        name = f"export_pipeline.jobs.{module}.datetime"
        monkeypatch.setattr(name, Wrong, raising=True)
    ledger.hold_lease("run", "a")
    ledger.expect_lease("other")
    assert ledger.check_leases(["run", "other"], doubted=["run"])["run"].is_alive


@pytest.mark.parametrize("begin", ["expect_lease", "check_leases"])
def test_old_leases_are_removed_when_a_run_begins(ledger: Ledger, database: Database, begin: str) -> None:
    """Each run leaves a lease, even if no run is ever lost."""
    ledger.expect_lease("old")
    ledger.hold_lease("old", "a")
    pass_time(database, 2 * 24 * 3600)
    if begin == "expect_lease":
        ledger.expect_lease("new")
    else:
        ledger.check_leases(["new"])
    assert ledger.leases(["old", "new"]).keys() == {"new"}


@pytest.mark.slow
def test_a_renewal_and_a_verdict_at_the_same_moment_agree(ledger: Ledger, database: Database) -> None:
    """Whichever comes first: a process that could renew its lease is not taken for dead by that look."""
    for number in range(20):
        run_id = f"run{number}"
        ledger.hold_lease(run_id, "a")
        pass_time(database, _PAST_LEASE)
        ledger.check_leases([run_id])
        pass_time(database, _PAST_CALL)
        together = threading.Barrier(2)

        def renew(run_id: str = run_id, together: threading.Barrier = together) -> bool:
            together.wait()
            try:
                ledger.hold_lease(run_id, "a")
            except LeaseLostError:
                return False
            return True

        def judge(run_id: str = run_id, together: threading.Barrier = together) -> bool:
            together.wait()
            return ledger.check_leases([run_id])[run_id].is_lost

        with ThreadPoolExecutor(2) as pool:
            renewed, lost = pool.submit(renew), pool.submit(judge)
        assert renewed.result() != lost.result()
