"""Kills of any part of a deployment while requests come; afterwards everything is as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

from export_pipeline.jobs import Status
from export_pipeline.jobs.leases import LAST_CALL, LEASE
from export_pipeline_tests.system import asking, checks
from export_pipeline_tests.system.deployment import System

KILLS = int(os.environ.get("EXPORT_TEST_KILLS", "1"))
RECOVERY_SECONDS = 120.0
"""The longest that a job may take after the end of the last fault that it has met."""
_STOPPED_SECONDS = (LEASE + LAST_CALL).total_seconds() + 15
_LONGEST_PUT_SECONDS = 25.0
_MAX_QUEUED = 6
_END_SECONDS = 200.0
_UNENDED = "SELECT 1 FROM export_jobs WHERE status IN ('pending', 'processing')"
_WAIT_SECONDS = 300.0
"""The daemon looks for a code server that was killed only once a minute."""


class _Restartable(Protocol):
    def kill(self) -> None: ...
    def start(self) -> None: ...


class Killer:
    """Kills parts of a deployment, and asks for exports meanwhile.

    Attributes:
        asked: Ids of the requests.
    """

    def __init__(self, system: System) -> None:
        seed = int(os.environ.get("EXPORT_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
        print(f"\nEXPORT_TEST_SEED={seed}")
        self.asked: list[str] = []
        self._system, self._chance = system, random.Random(seed)
        self._requests = asking.right(system, self._chance.randrange(18))
        self._faults: list[tuple[datetime, str]] = []
        if system.proxy is not None and KILLS > 1:
            system.proxy.longest = _LONGEST_PUT_SECONDS

    def kill(self, faults: Mapping[str, Callable[[str], None]], requests: int, *, single: str) -> None:
        """Ask for exports, and let as many faults happen meanwhile as `KILLS` says.

        Args:
            faults: By name, each is called with its name. All happen once before one happens again.
            requests: How many exports, as many before each fault.
            single: The only fault, if there is one only: what dies most often, and is over soonest.
        """
        names: list[str] = []
        for number in range(KILLS):
            self._ask(requests * (number + 1) // KILLS - len(self.asked))
            if not names:
                names = self._chance.sample(sorted(faults), len(faults)) if KILLS > 1 else [single]
                names.sort(key=lambda name: "stopped" in name)  # the last one goes first
            name = names.pop()
            self._wait_for_few(max(_MAX_QUEUED, requests // KILLS))
            self._wait_for_a_moment()
            faults[name](name)
            self._faults.append((datetime.now(UTC), name))
        self._system.wait(_END_SECONDS + 10 * len(self.asked), pressed=True)

    def restart(self, *services: _Restartable) -> Callable[[str], None]:
        """A fault: kill one of the services. It comes back after a while, as a service manager would see to it."""

        def fault(name: str) -> None:
            service = self._chance.choice(services)
            self._tell(name)
            service.kill()
            time.sleep(self._chance.uniform(0, 3))
            service.start()

        return fault

    def end(self, find: Callable[[], list[int]]) -> Callable[[str], None]:
        """A fault: kill a process, which nobody starts again. Waits until there is one."""
        return self._hit(find, lambda pid: os.kill(pid, signal.SIGKILL))

    def stop(self, find: Callable[[], list[int]]) -> Callable[[str], None]:
        """A fault: stop a process for longer than its lease, then let it go on."""

        def stop(pid: int) -> None:
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(_STOPPED_SECONDS)
            finally:
                os.kill(pid, signal.SIGCONT)

        return self._hit(find, stop)

    def check(self, *, all_completed: bool) -> None:
        """Check all requests, and print what happened.

        Args:
            all_completed: False to let a request fail that was lost three times, or whose server was away for
                longer than its retries, if it says so.
        """
        system = self._system
        jobs = {job.id: job for job in system.jobs() if job.id in set(self.asked)}
        ends = Counter(f"{job.status} {job.error_code or ''}, attempt {job.attempt}" for job in jobs.values())
        late = checks.seconds_after_faults(jobs.values(), self._faults)
        print(f"{checks.summary(jobs.values())}; {dict(ends)}")
        for name, count in sorted(Counter(name for _, name in self._faults).items()):
            seconds = [seconds for seconds, fault in late if fault == name]
            print(f"| {name} | {count} | {len(seconds)} | {max(seconds, default=0):.0f} |")
        for job in jobs.values():
            failed = job.status is Status.FAILED and job.error_message and not all_completed
            assert job.status is Status.COMPLETED or failed, job
        assert len(jobs) == len(self.asked)
        looked = checks.files_are_right(system, jobs.values())
        checks.nothing_is_wrong(system)
        mails = checks.mails_of(system, jobs)
        runs = sorted(checks.runs_of_attempts(system, jobs).values())
        print(
            f"{looked} files searched for foreign rows; mails {dict(mails)}; runs of attempts {Counter(runs)}"
        )
        assert sum(mails.values()) >= sum(job.status is Status.COMPLETED for job in jobs.values())
        assert [(seconds, name) for seconds, name in late if seconds > RECOVERY_SECONDS] == []

    def _ask(self, count: int) -> None:
        for _ in range(count):
            to = json.dumps([f"survivor{len(self.asked)}@example.org"])
            self.asked.append(self._system.insert(**next(self._requests), recipients=to))

    def _wait_for_few(self, most: int) -> None:
        """Wait while many requests are queued, as their wait would be measured as that for a recovery."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while len(self._system.run(_UNENDED)) > most and time.monotonic() < deadline:
            time.sleep(0.5)

    def _wait_for_a_moment(self) -> None:
        """Any moment, or one at which there is work to be lost."""
        if self._chance.random() < 0.4:
            time.sleep(self._chance.uniform(0, 8))
            return
        deadline = time.monotonic() + _WAIT_SECONDS
        while not self._system.run("SELECT 1 FROM export_jobs WHERE status = 'processing'"):
            if time.monotonic() > deadline:
                return
            time.sleep(0.1)
        time.sleep(self._chance.uniform(0, 1))

    def _hit(self, find: Callable[[], list[int]], hit: Callable[[int], None]) -> Callable[[str], None]:
        def fault(name: str) -> None:
            pid = self._victim(name, find)
            with suppress(ProcessLookupError):  # it has just ended by itself
                hit(pid)

        return fault

    def _victim(self, name: str, find: Callable[[], list[int]]) -> int:
        """Return the id of one of the processes, once there is one, and say that it is the next victim."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while not (pids := find()):
            assert time.monotonic() < deadline, f"there is no {name} to kill\n{self._system.logs()}"
            if not self._system.run(_UNENDED):  # all has been done already
                self._ask(1)
            time.sleep(0.2)
        self._tell(name)
        return self._chance.choice(pids)

    def _tell(self, name: str) -> None:
        """Print the state of all jobs at a fault, so that a report shows what was hit."""
        doing = self._system.run(
            "SELECT coalesce(progress_step, status), count(*) FROM export_jobs"
            " WHERE status IN ('pending', 'processing') GROUP BY 1"
        )
        print(f"{time.strftime('%X')} kill {name} during {dict(doing)}", flush=True)
