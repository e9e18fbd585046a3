"""The whole deployment on PostgreSQL and S3: many requests at once, and death of any of its processes."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from export_pipeline.jobs import Status
from export_pipeline.jobs.leases import LAST_CALL, LEASE
from export_pipeline_tests.system import asking, checks
from export_pipeline_tests.system.deployment import CODE_SERVER, System, running_system
from export_pipeline_tests.system.many import REQUESTS, all_requests_end_rightly

KILLS = int(os.environ.get("EXPORT_TEST_KILLS", "1"))
LAUNCHERS = int(os.environ.get("EXPORT_TEST_LAUNCHERS", "1"))
"""Deployments on the one ledger."""
VICTIMS = (
    "run worker",
    "warm process",
    "postgres",
    "s3",
    "mail",
    "code server",
    "stopped worker",  # for longer than its lease; then it goes on
    "stopped daemon",
    *("daemon" if number == 1 else f"daemon {number}" for number in range(1, LAUNCHERS + 1)),
)
"""Each is killed once before one is killed again."""
_STOPPED_SECONDS = (LEASE + LAST_CALL).total_seconds() + 15
_RECOVERY_SECONDS = 120.0
"""The longest that a job may take after the end of the last fault that it has met."""
_LONGEST_PUT_SECONDS = 25.0
_MAX_QUEUED = 6
_END_SECONDS = 200.0
_UNENDED = "SELECT 1 FROM export_jobs WHERE status IN ('pending', 'processing')"
_WAIT_SECONDS = 300.0
"""The daemon looks for a code server that was killed only once a minute."""


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
    seed = int(os.environ.get("EXPORT_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    chance = random.Random(seed)
    print(f"\nEXPORT_TEST_SEED={seed}")
    requests = asking.right(system, chance.randrange(18))
    asked: list[str] = []
    victims: list[str] = []
    faults_ended: list[datetime] = []
    if system.proxy is not None and KILLS > 1:
        system.proxy.longest = _LONGEST_PUT_SECONDS

    def ask(count: int) -> None:
        for _ in range(count):
            to = json.dumps([f"survivor{len(asked)}@example.org"])
            asked.append(system.insert(**next(requests), recipients=to))

    for _ in range(KILLS):
        ask(2)
        if not victims:
            # A single kill is of what dies most often, and is over soonest.
            victims = chance.sample(VICTIMS, len(VICTIMS)) if KILLS > 1 else ["run worker"]
            victims.sort(key=lambda victim: victim == "stopped worker")  # the last one goes first
        victim = victims.pop()
        _wait_for_few(system)
        _wait_for_a_moment(system, chance)
        _kill(system, victim, chance, lambda: ask(1))
        faults_ended.append(datetime.now(UTC))
    ask(1)
    system.wait(_END_SECONDS + 10 * len(asked), pressed=True)

    jobs = {job.id: job for job in system.jobs() if job.id in set(asked)}
    ends = Counter(f"{job.status} {job.error_code or ''}, attempt {job.attempt}" for job in jobs.values())
    late = checks.seconds_after_faults(jobs.values(), faults_ended)
    recovery = (
        f"{[round(seconds) for seconds in late[:5]]} s after a fault"
        if late
        else "all done before the faults' ends"
    )
    print(f"{checks.summary(jobs.values())}; {dict(ends)}; kills {KILLS}; {recovery}")
    for job in jobs.values():
        # Three times lost, or a server that was away for longer than its retries: said so, and in good order.
        assert job.status is Status.COMPLETED or (job.status is Status.FAILED and job.error_message), job
    assert len(jobs) == len(asked)
    checks.files_are_right(system, jobs.values())
    checks.nothing_is_wrong(system)
    mails = checks.mails_of(system, jobs)
    print(f"mails {dict(mails)}; runs of attempts {sorted(checks.runs_of_attempts(system, jobs).values())}")
    completed = sum(job.status is Status.COMPLETED for job in jobs.values())
    assert sum(mails.values()) >= completed
    assert [seconds for seconds in late if seconds > _RECOVERY_SECONDS] == []


def _wait_for_few(system: System) -> None:
    """Wait while many requests are queued, as their wait would be measured as that for a recovery."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while len(system.run(_UNENDED)) > _MAX_QUEUED and time.monotonic() < deadline:
        time.sleep(0.5)


def _wait_for_a_moment(system: System, chance: random.Random) -> None:
    """Any moment, or one at which there is work to be lost."""
    if chance.random() < 0.4:
        time.sleep(chance.uniform(0, 8))
        return
    deadline = time.monotonic() + _WAIT_SECONDS
    while not system.run("SELECT 1 FROM export_jobs WHERE status = 'processing'"):
        if time.monotonic() > deadline:
            return
        time.sleep(0.1)
    time.sleep(chance.uniform(0, 1))


def _kill(system: System, victim: str, chance: random.Random, ask: Callable[[], None]) -> None:
    """Kill it; servers come back after a while, as a service manager would see to it."""
    if victim in system.services:
        service = system.services[victim]
        _tell(system, victim)
        service.kill()
        time.sleep(chance.uniform(0, 3))
        service.start()
        return
    if victim == "stopped daemon":
        _tell(system, victim)
        _stop(system.services["daemon"].pid)
        return
    find = {
        "run worker": system.workers,
        "stopped worker": system.workers,
        "warm process": system.warm,
        "code server": lambda: system.processes.find(*CODE_SERVER),
    }[victim]
    deadline = time.monotonic() + _WAIT_SECONDS
    while not (pids := find()):
        assert time.monotonic() < deadline, f"there is no {victim} to kill\n{system.logs()}"
        if victim.endswith("worker") and not system.run(_UNENDED):  # all has been done already
            ask()
        time.sleep(0.2)
    _tell(system, victim)
    pid = chance.choice(pids)
    with suppress(ProcessLookupError):  # it has just ended by itself
        if victim == "stopped worker":
            _stop(pid)
        else:
            os.kill(pid, signal.SIGKILL)


def _stop(pid: int) -> None:
    """Stop a process for longer than its lease, then let it go on."""
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(_STOPPED_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)


def _tell(system: System, victim: str) -> None:
    """Print the state of all jobs at a kill, so that a report shows what was hit."""
    doing = system.run(
        "SELECT coalesce(progress_step, status), count(*) FROM export_jobs"
        " WHERE status IN ('pending', 'processing') GROUP BY 1"
    )
    print(f"{time.strftime('%X')} kill {victim} during {dict(doing)}")
