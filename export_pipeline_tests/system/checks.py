"""Checks of a deployment after all its requests have ended."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import statistics
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import dagster as dg
import pyarrow.parquet as pq
import pytest

from export_pipeline.jobs import Job, Status
from export_pipeline.orchestration.runs.attempts import attempts_of
from export_pipeline.store import manifest_key
from export_pipeline.verify import verify
from export_pipeline_tests.system.deployment import System, seconds_from_created

# Column of the file, and the ids of a scope in the application's own tables.
IDS = {
    "records": ("id", "SELECT id FROM bookkeeping_records WHERE account_id = :scope"),
    "enrollments": ("id", "SELECT id FROM archive_enrollments WHERE organisation_id = :scope"),
    "ledger": ("sequence", "SELECT sequence FROM archive_ledger_entries WHERE organisation_id = :scope"),
    "occurrences": ("id", "SELECT id FROM main_occurrence WHERE CAST(project_id AS text) = :scope"),
}


def files_are_right(system: System, jobs: Iterable[Job]) -> int:
    """Each completed job has a file that holds; gives how many were looked at for foreign rows."""
    store = system.store()
    looked = 0
    for job in jobs:
        if job.status is not Status.COMPLETED:
            continue
        key = str(job.file_key)
        assert key.startswith(f"exports/{quote(job.scope, safe='') if job.scope else 'all'}/"), key
        report = verify(store, key)
        assert (report.problems, report.rows) == ([], job.row_count), (job, report)
        with store.open(key) as file:
            content = file.read()
        assert len(content) == job.file_size
        assert hashlib.sha256(content).hexdigest() == job.sha256
        if job.format in _READERS and job.dataset in IDS:
            column, sql = IDS[job.dataset]
            own = {str(id) for (id,) in system.run(sql, scope=job.scope)}
            values = {str(row[column]) for row in _READERS[job.format](content)}
            assert values <= own, f"{key} holds rows of another scope"
            looked += 1
    return looked


_READERS: Mapping[str, Callable[[bytes], Iterable[Mapping[str, Any]]]] = {
    "csv": lambda content: csv.DictReader(io.StringIO(content.decode("utf-8-sig"))),
    "jsonl": lambda content: map(json.loads, content.splitlines()),
    "parquet": lambda content: pq.read_table(io.BytesIO(content)).to_pylist(),
}


def runs_of_attempts(system: System, jobs: Container[str]) -> Counter[tuple[str, int]]:
    """Return the number of runs of each attempt of these jobs."""
    runs: list[dg.DagsterRun] = []
    for environment in system.launchers:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            with dg.DagsterInstance.get() as instance:
                runs += instance.get_runs()
    attempts = [attempt for run in runs for attempt in attempts_of(run.tags, None)]
    return Counter((attempt.job_id, attempt.number) for attempt in attempts if attempt.job_id in jobs)


def mails_of(system: System, jobs: Container[str]) -> Counter[str]:
    """Return the number of mails of these jobs by state."""
    rows = system.run("SELECT job_id, status FROM export_deliveries")
    return Counter(str(status) for id, status in rows if str(id) in jobs)


def nothing_is_wrong(system: System) -> None:
    """Check all jobs that there ever were: nothing is left over, nothing was done twice, nobody was mailed twice."""
    _nothing_is_left_over(system)
    _each_attempt_began_once(system)
    _each_job_was_completed_once(system)
    _nobody_got_two(system)


def _nothing_is_left_over(system: System) -> None:
    """The store holds the files of completed jobs and their manifests, and nothing else."""
    keys = {str(job.file_key) for job in system.jobs() if job.status is Status.COMPLETED}
    stored = {file.key for file in system.store().list("exports/")}
    expected = keys | {manifest_key(key) for key in keys}
    assert stored == expected, f"left over {stored - expected}, missing {expected - stored}"


def _each_attempt_began_once(system: System) -> None:
    """However many runs were started for an attempt, one only worked on it."""
    rows = system.run("SELECT job_id, details FROM export_events WHERE kind = 'started'")
    events = [(str(id), json.loads(event) if isinstance(event, str) else event) for id, event in rows]
    began = Counter((id, event["attempt"]) for id, event in events)
    assert [attempt for attempt, count in began.items() if count > 1] == []


def _each_job_was_completed_once(system: System) -> None:
    rows = system.run("SELECT job_id, count(*) FROM export_events WHERE kind = 'completed' GROUP BY job_id")
    completed = {job.id for job in system.jobs() if job.status is Status.COMPLETED}
    assert {str(id): count for id, count in rows} == dict.fromkeys(completed, 1)


def _nobody_got_two(system: System) -> None:
    """No mail came twice, and what is written down as sent has come."""
    mails = system.mails
    assert [mail for mail, count in mails.items() if count > 1] == []
    rows = system.run("SELECT recipient, message_id, status FROM export_deliveries")
    known = {(str(to), str(id)): str(status) for to, id, status in rows}
    assert set(mails) <= set(known)
    for mail, status in known.items():
        assert status in ("sent", "unknown"), (mail, status)
        assert status == "unknown" or mails[mail] == 1


def seconds_after_faults(
    jobs: Iterable[Job], faults: Sequence[tuple[datetime, str]]
) -> list[tuple[float, str]]:
    """Return how long jobs took after the end of the last fault that they met, and its name; longest first."""
    seconds = []
    for job in jobs:
        assert job.completed_at is not None
        met = [(end, name) for end, name in faults if job.created_at < end < job.completed_at]
        if met:
            end, name = max(met)
            seconds.append(((job.completed_at - end).total_seconds(), name))
    return sorted(seconds, reverse=True)


def summary(jobs: Iterable[Job]) -> str:
    """Return a line about the times that completed jobs took, from their creation."""
    done = [job for job in jobs if job.status is Status.COMPLETED]
    seconds = sorted(seconds_from_created(job) for job in done)
    ended = [job.completed_at for job in done if job.completed_at]
    whole = (max(ended) - min(job.created_at for job in done)).total_seconds()
    p95 = seconds[min(len(seconds) - 1, int(len(seconds) * 0.95))]
    rate = 60 * len(seconds) / whole
    return (
        f"{len(seconds)} files: p50 {statistics.median(seconds):.1f} s, p95 {p95:.1f} s, {rate:.0f} a minute"
    )
