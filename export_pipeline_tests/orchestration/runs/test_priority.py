"""Runs of many rows let those of few rows go first."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from export_pipeline.orchestration.runs.priority import LARGE_ROWS, yield_to_small_runs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="priority belongs to a thread only on Linux")


def _niceness_after(rows: int) -> tuple[int, int]:
    """Return the niceness of a thread that yields, and that of a thread which it starts afterwards."""
    levels: list[int] = []

    def note() -> None:
        levels.append(os.getpriority(os.PRIO_PROCESS, 0))

    def work() -> None:
        yield_to_small_runs(rows)
        note()
        started = threading.Thread(target=note)
        started.start()
        started.join()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return levels[0], levels[1]


def test_a_large_run_lowers_its_thread_and_those_it_starts_but_no_other() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert _niceness_after(LARGE_ROWS) == (max(before, 10), max(before, 10))
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_a_small_run_keeps_its_priority() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert _niceness_after(LARGE_ROWS - 1) == (before, before)
