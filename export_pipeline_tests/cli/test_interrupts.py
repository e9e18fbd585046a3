"""Ctrl-C and SIGTERM end a command at any moment: one line, the shell's exit code, nothing left to be made later.

That of `dev` is in system/test_dev.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.cli import interrupts, request
from export_pipeline.formats.csv import write as csv
from export_pipeline.jobs import Ledger, Status
from export_pipeline.orchestration.runs import submit
from export_pipeline_tests.commands import Command
from export_pipeline_tests.orchestration.deployment import Source


@pytest.mark.parametrize("moment", ["asking", "waiting", "loading", "rendering"])
def test_an_interrupt_cancels_the_requests_made_so_far(
    command: Command, source: Source, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    real = submit.submit_request

    def ask(*given: Any, **asked: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)  # between two rows, so to say
        return real(*given, **asked)

    place, name, with_what = {
        "asking": (submit, "submit_request", ask),
        "waiting": (submit, "wait_for_jobs", interrupt),
        "loading": (request, "load_definitions", interrupt),
        "rendering": (csv, "render", interrupt),
    }[moment]
    monkeypatch.setattr(place, name, with_what)
    ended = command("request", "takeoff", "--scope", source.scopes[0], "--format", "csv,json")
    message = "Error: Interrupted; 2 requests are canceled."
    assert (ended.code, ended.err.strip(), ended.out) == (130, message, "")
    assert {job.status for job in ledger.find()} == {Status.CANCELED}


@pytest.mark.slow
def test_a_job_canceled_elsewhere_is_no_interruption(
    command: Command, source: Source, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def canceled(*_: Any) -> Any:
        for job in ledger.find():
            ledger.canceled(job.id)
        raise KeyboardInterrupt  # as the watcher of the ledger does

    monkeypatch.setattr(csv, "render", canceled)
    ended = command("request", "takeoff", "--scope", source.scopes[0])
    assert ended.code == 1
    assert ended.out.startswith("csv     canceled")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "after"),
    [
        (signal.SIGINT, 0.15),
        (signal.SIGTERM, 0.5),
        (signal.SIGINT, 1.2),
        (signal.SIGTERM, 2.0),
        (signal.SIGINT, 3.0),
    ],
)
def test_signals_leave_no_traceback_whenever_they_come(
    environment: dict[str, str], source: Source, ledger: Ledger, tmp_path: Path, number: int, after: float
) -> None:
    command = ["request", "takeoff", "--scope", source.scopes[0], "--format", "csv,excel,pdf,json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "export_pipeline.cli", *command],
        env={**os.environ, **environment}, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    time.sleep(after)
    process.send_signal(number)
    _, errors = process.communicate(timeout=240)
    if process.returncode == 0:  # it was faster
        return
    if process.returncode == -number:  # Python itself was still starting
        return
    assert process.returncode == 128 + number, errors
    assert "Traceback" not in errors
    assert errors.strip().splitlines()[-1].startswith("Error: Interrupted")
    assert {job.status for job in ledger.find()} <= {Status.CANCELED, Status.COMPLETED}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_exit_code_names_the_signal_whoever_handles_it(number: int) -> None:
    """Dagster sets handlers of its own, which make a KeyboardInterrupt of SIGTERM too."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {one: signal.getsignal(one) for one in signals}
    fd = signal.set_wakeup_fd(-1)
    try:
        interrupts.handle_termination()
        for one in signals:
            signal.signal(one, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert interrupts.interrupted_code() == 128 + number
    finally:
        signal.set_wakeup_fd(fd)
        for one, handler in before.items():
            signal.signal(one, handler)


def _interrupt(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(30)
    raise AssertionError("the signal did not come")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "module", "name"),
    [
        (("demo",), "export_pipeline.demo.takeoff", "fill"),
        (("demo",), "export_pipeline.formats.csv.write", "render"),
        (("introspect", "projects"), "export_pipeline.sources.introspection.introspect", "introspect"),
        (("introspect", "projects"), "export_pipeline.datasets.table", "check_yaml"),
        (("purge",), "export_pipeline.jobs.purge", "purge"),
        (("purge",), "export_pipeline.orchestration.sensors.erasure", "erase_removed_files"),
        (("purge",), "export_pipeline.orchestration.runs.staging_cleanup", "clean_staging"),
        (("verify", "app.db"), "export_pipeline.verify", "verify"),
    ],
)
def test_every_long_command_ends_with_one_line(
    command: Command,
    environment: dict[str, str],
    source: Source,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    line: tuple[str, ...],
    module: str,
    name: str,
) -> None:
    monkeypatch.chdir(source.path.parent)
    if line == ("demo",):  # it writes only its own sample database
        monkeypatch.delenv("EXPORT_SOURCE_URL")
    monkeypatch.setattr(import_module(module), name, _interrupt)
    ended = command(*line)
    assert (ended.code, ended.err.strip()) == (130, "Error: Interrupted.")
    assert "Traceback" not in ended.out
    assert os.environ["DAGSTER_HOME"] == environment["DAGSTER_HOME"]
