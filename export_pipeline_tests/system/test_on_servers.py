"""The whole deployment on PostgreSQL and S3: many requests at once, and death of any of its processes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from export_pipeline_tests.system.deployment import CODE_SERVER, System, running_system
from export_pipeline_tests.system.kills import KILLS, Killer
from export_pipeline_tests.system.many import REQUESTS, all_requests_end_rightly

LAUNCHERS = int(os.environ.get("EXPORT_TEST_LAUNCHERS", "1"))
"""Deployments on the one ledger."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("system"), servers=True, launchers=LAUNCHERS) as running:
        yield running


@pytest.mark.timeout(300 + 10 * REQUESTS)
def test_all_requests_end_rightly(system: System) -> None:
    all_requests_end_rightly(system, REQUESTS)


@pytest.mark.slow
@pytest.mark.timeout(300 + 100 * KILLS)
def test_nothing_is_lost_when_processes_are_killed(system: System) -> None:
    """Every part is killed while it works; afterwards everything is as if nothing had been."""
    killer = Killer(system)
    faults = {name: killer.restart(service) for name, service in system.services.items()} | {
        "run worker": killer.end(system.workers),
        "warm process": killer.end(system.warm),
        "code server": killer.end(lambda: system.processes.find(*CODE_SERVER)),
        "stopped worker": killer.stop(system.workers),
        "stopped daemon": killer.stop(lambda: [system.services["daemon"].pid]),
    }
    killer.kill(faults, 2 * KILLS + 1, single="run worker")
    killer.check(all_completed=False)
