"""Celery workers on three machines: whatever dies, each request is completed by another one, soon and once.

`EXPORT_TEST_REQUESTS=500 EXPORT_TEST_KILLS=40 pytest -s export_pipeline_tests/system/test_on_machines.py -k killed`
prints the table of docs/many-machines.md.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence

import dagster as dg
import pytest

from export_pipeline.jobs import Job, Ledger, Status
from export_pipeline.orchestration.runs.reconciler import runs_by_tag
from export_pipeline_tests.system import checks
from export_pipeline_tests.system.deployment import CODE_SERVER
from export_pipeline_tests.system.kills import KILLS, RECOVERY_SECONDS, Killer
from export_pipeline_tests.system.machines import Machines, running_machines
from export_pipeline_tests.system.many import REQUESTS

pytestmark = pytest.mark.slow

_SECONDS = 120.0


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with running_machines(tmp_path_factory.mktemp("machines")) as running:
        yield running


def insert(machines: Machines, count: int) -> list[str]:
    """Insert requests, no two the same."""
    scope = machines.system.scopes["records"][0]
    return [
        machines.system.insert(dataset="records", format=format, scope=scope)
        for format in ["csv", "jsonl", "parquet"][:count]
    ]


def wait(done: Callable[[], bool], seconds: float = _SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def jobs(machines: Machines, ids: list[str]) -> list[Job]:
    known = {job.id: job for job in machines.system.jobs()}
    return [known[id] for id in ids]


def working(machines: Machines) -> list[str]:
    """Hosts of the workers that have begun a request."""
    rows = machines.system.run(
        "SELECT l.host FROM export_leases l JOIN export_jobs j ON j.run_id = l.run_id"
        " WHERE j.status = 'processing' AND l.worker_id IS NOT NULL"
    )
    return [str(host) for (host,) in rows]


def test_each_request_is_completed_elsewhere(machines: Machines) -> None:
    with machines.system.held():
        ids = insert(machines, 3)
        wait(lambda: len(working(machines)) == 3)
        assert sorted(working(machines)) == sorted(machine.host for machine in machines.machines.values())
        (child,) = machines.machines["m0"].children()
        os.kill(child, signal.SIGKILL)
        machines.machines["m1"].worker.kill()
        machines.broker.kill()
        begun = time.monotonic()
        time.sleep(1)
        machines.broker.start()
    machines.system.wait(RECOVERY_SECONDS)
    print(f"\nrecovered in {time.monotonic() - begun:.0f} s")
    ended = jobs(machines, ids)
    assert [job.status for job in ended] == [Status.COMPLETED] * 3
    assert sorted(job.attempt for job in ended) == [1, 2, 2]
    checks.files_are_right(machines.system, ended)
    checks.nothing_is_wrong(machines.system)


def test_terminate_cancel_and_retry_work_across_machines(machines: Machines) -> None:
    """Two machines are left, so the third run waits in the broker's queue."""
    system = machines.system
    with dg.DagsterInstance.get() as webserver, Ledger(system.url) as ledger:
        with system.held():
            ids = insert(machines, 3)
            wait(lambda: len(working(machines)) == 2)
            begun = [id for id in ids if ledger.get(id).status is Status.PROCESSING]
            (waiting,) = set(ids) - set(begun)
            wait(lambda: [run.status for run in _runs(webserver, ledger, waiting)] == [_STARTING])
            runs = {id: _runs(webserver, ledger, id)[0].run_id for id in ids}
            for id in (begun[0], waiting):
                assert webserver.run_coordinator.cancel_run(runs[id])
            ledger.canceled(begun[1], "tester")
            ended = [dg.DagsterRunStatus.CANCELED] * 3
            wait(lambda: [_status(webserver, run_id) for run_id in runs.values()] == ended, 30)
            wait(lambda: [ledger.get(id).status for id in ids] == [Status.CANCELED] * 3, 30)
        for id in ids:
            ledger.retry(id, "tester")
    system.wait(_SECONDS)
    assert [(job.status, job.attempt) for job in jobs(machines, ids)] == [(Status.COMPLETED, 2)] * 3
    checks.files_are_right(system, jobs(machines, ids))
    checks.nothing_is_wrong(system)


@pytest.mark.timeout(300 + 10 * REQUESTS + 60 * KILLS)
def test_nothing_is_lost_when_machines_are_killed(machines: Machines) -> None:
    killer, system, own = Killer(machines.system), machines.system, machines.machines.values()
    for machine in own:  # another test may have killed it
        machine.start()

    def children() -> list[int]:
        return [child for machine in own for child in machine.children()]

    faults = {name: killer.restart(service) for name, service in system.services.items()} | {
        "broker": killer.restart(machines.broker),
        "worker's child": killer.end(children),
        "worker's child, stopped": killer.stop(children),
        "worker": killer.restart(*(machine.worker for machine in own)),
        "machine": killer.restart(*own),
        "code server": killer.end(lambda: system.processes.find(*CODE_SERVER)),
    }
    killer.kill(faults, REQUESTS, single="worker's child")
    killer.check(all_completed=True)


_STARTING = dg.DagsterRunStatus.STARTING


def _runs(instance: dg.DagsterInstance, ledger: Ledger, id: str) -> Sequence[dg.DagsterRun]:
    return runs_by_tag(instance, ledger.get(id))


def _status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus | None:
    run = instance.get_run_by_id(run_id)
    return run and run.status
