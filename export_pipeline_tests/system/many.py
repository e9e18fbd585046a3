"""Many requests at once: all end as they should, none twice, none with foreign rows."""

from __future__ import annotations

import json
import os
from collections import Counter
from itertools import islice

from export_pipeline.jobs import Ledger, Status
from export_pipeline_tests.system import asking, checks
from export_pipeline_tests.system.deployment import System

REQUESTS = int(os.environ.get("EXPORT_TEST_REQUESTS", "6"))
"""On PostgreSQL and S3; half as many on SQLite and a folder, but at most 30."""
_SECONDS_EACH = 8.0


def all_requests_end_rightly(system: System, count: int) -> None:
    """Ask for so many exports at once, wrong ones, canceled ones and the same ones among them."""
    canceled = system.insert(dataset="takeoff", format="pdf", scope=system.scopes["takeoff"][0], priority=-1)
    with Ledger(system.url) as ledger:
        ledger.canceled(canceled, "tester")
    expected: dict[str, str] = {canceled: "canceled"}
    addressed: dict[str, str] = {}
    bad = list(islice(asking.wrong(system), max(1, count // 6)))
    for request, code in bad:
        expected[system.insert(**request)] = code
    same = []
    for number, request in enumerate(islice(asking.right(system), count - len(bad) - 3)):
        to = [f"reader{number}@example.org"] if number % 3 == 0 else []
        id = system.insert(**request, recipients=json.dumps(to))
        expected[id] = "completed"
        addressed.update(dict.fromkeys(to, id))
        if number == 0:
            same = [id, *(system.insert(**request) for _ in range(2))]
            expected.update(dict.fromkeys(same, "completed"))
    system.wait(30 + _SECONDS_EACH * count)

    jobs = {job.id: job for job in system.jobs() if job.id in expected}
    assert {id: job.error_code or str(job.status) for id, job in jobs.items()} == expected
    assert all(job.attempt == 1 for job in jobs.values())
    looked = checks.files_are_right(system, jobs.values())
    assert looked >= min(2, count // 6)
    runs = checks.runs_of_attempts(system, jobs)
    assert set(runs.values()) == {1}
    checks.nothing_is_wrong(system)
    mails = checks.mails_of(system, jobs)
    assert mails == Counter(sent=len(addressed))
    assert set(addressed) <= {to for to, _ in system.mails}
    completed = sum(job.status is Status.COMPLETED for job in jobs.values())
    print(
        f"\n{checks.summary(jobs.values())}; {len(runs)} runs, {completed} completed, {looked} searched, {mails}"
    )
