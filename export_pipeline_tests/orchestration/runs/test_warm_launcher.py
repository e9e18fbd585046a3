"""Runs begun from a warm process: they end right, and nothing that dies or changes makes one wrong, lost or double."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.storage.tags import GRPC_INFO_TAG

from export_pipeline.jobs import Ledger
from export_pipeline.orchestration.dagster_compat.launchers import CodeUnreachableError
from export_pipeline.orchestration.runs import run_lock, warm_launcher, warm_process, warm_server
from export_pipeline.orchestration.runs.reconciler import reconcile
from export_pipeline.orchestration.runs.warm_launcher import WarmRunLauncher
from export_pipeline.orchestration.runs.warm_process import WarmProcess, WarmProcessError, sources
from export_pipeline_tests.orchestration.runs.launching import (
    Launching,
    gone,
    launching,
    lease_is_taken,
    source_away,
    wait,
)
from export_pipeline_tests.orchestration.runs.leases import reconcile_after_silence
from export_pipeline_tests.paths import ROOT
from export_pipeline_tests.services.postgres import PostgresServer

_SECONDS = 240.0
_SUCCESS = dg.DagsterRunStatus.SUCCESS


@pytest.fixture(scope="module")
def system(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launching]:
    with postgres.database() as url, launching(tmp_path_factory.mktemp("warm"), url) as system:
        yield system


@pytest.fixture
def warm(system: Launching) -> WarmProcess:
    """The warm process of the system's launcher, ready."""
    return warmed(system)


@pytest.fixture
def away(system: Launching, postgres: PostgresServer) -> Iterator[None]:
    with source_away(postgres, system.url):
        yield


def warmed(system: Launching) -> WarmProcess:
    return system.launcher._ready()


def is_warm(run: dg.DagsterRun) -> bool:
    return GRPC_INFO_TAG not in run.tags


def sockets(pid: int) -> set[str]:
    """The sockets that a process has open."""
    opened = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return {name for name in opened if name.startswith("socket:")}


def times_begun(system: Launching, run_id: str) -> int:
    return sum("Started process for run" in message for message in system.messages(run_id))


@pytest.mark.slow
def test_runs_are_forked(system: Launching) -> None:
    system.launcher.dispose()
    runs = [system.launch() for _ in range(3)]  # the first one starts the warm process

    assert [system.ended(run) for run in runs] == [_SUCCESS] * 3, system.messages(runs[0])
    assert all(is_warm(system.run(run)) for run in runs)
    for run in runs:
        (captured,) = system.instance.get_records_for_run(
            run, of_type=dg.DagsterEventType.LOGS_CAPTURED
        ).records
        event = captured.event_log_entry.dagster_event
        assert event is not None
        key = [run, "compute_logs", str(event.logs_captured_data.file_key)]
        stderr = system.instance.compute_log_manager.get_log_data(key).stderr
        assert stderr
        assert b"STEP_SUCCESS" in stderr
        wait(lambda run=run: not system.lock(run).exists())  # type: ignore[misc]
    assert [system.files(run) for run in runs] == [1] * 3


@pytest.mark.slow
def test_a_warm_process_that_was_killed_is_started_again(system: Launching, warm: WarmProcess) -> None:
    os.kill(warm.pid, signal.SIGKILL)
    wait(lambda: gone(warm.pid))
    run = system.launch()
    assert system.ended(run) is _SUCCESS
    assert is_warm(system.run(run))
    assert warmed(system).pid != warm.pid


@pytest.mark.slow
def test_the_default_launcher_replaces_a_warm_process_that_cannot_start(
    system: Launching, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.launcher.dispose()
    monkeypatch.setattr(warm_server, "__name__", "export_pipeline.not_there")
    run = system.launch()
    assert system.ended(run) is _SUCCESS
    assert not is_warm(system.run(run))
    assert times_begun(system, run) == 1


@pytest.mark.slow
def test_runs_outlive_the_warm_process_and_the_launcher(system: Launching, warm: WarmProcess) -> None:
    with system.held():
        run = system.launch()
        system.wait(run, dg.DagsterRunStatus.STARTED)
        os.kill(warm.pid, signal.SIGKILL)
        system.launcher.dispose()

        with Ledger(system.url) as ledger:
            wait(lambda: lease_is_taken(ledger, run))
            reconcile(ledger, system.instance)
        assert system.run(run).status is dg.DagsterRunStatus.STARTED
    assert system.ended(run) is _SUCCESS


@pytest.mark.slow
def test_a_run_that_was_killed_before_it_took_its_lease_is_found(
    system: Launching, warm: WarmProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher has written that one must come."""
    run_fork = WarmProcess.run

    def kill(self: WarmProcess, lock: Path, arguments: str) -> int:
        pid = run_fork(self, lock, arguments)
        os.kill(pid, signal.SIGKILL)
        wait(lambda: gone(pid))
        return pid

    monkeypatch.setattr(WarmProcess, "run", kill)
    run = system.launch()
    with Ledger(system.url) as ledger:
        reconcile_after_silence(ledger, system.instance, system.url)
    assert system.run(run).status is dg.DagsterRunStatus.FAILURE


@pytest.mark.slow
def test_no_run_is_forked_without_a_ledger(
    system: Launching, warm: WarmProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would notice its death; Dagster looks after what its own launcher starts."""
    monkeypatch.setenv("EXPORT_JOBS_URL", f"sqlite:///{system.folder}/none.db")
    run = system.launch()
    assert system.ended(run) is _SUCCESS
    assert not is_warm(system.run(run))
    assert not (system.folder / "none.db").exists()


def test_a_process_of_another_machine_is_not_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where two share a folder: a process of the same id may be anybody's."""
    with run_lock.take_lock(tmp_path / "run.lock") as held:
        run_lock.sign_lock(held)
        assert run_lock.lock_holder(tmp_path / "run.lock") == os.getpid()
        monkeypatch.setattr(run_lock, "_machine", lambda: "another")
        assert run_lock.lock_holder(tmp_path / "run.lock") is None


@pytest.mark.slow
def test_runs_of_the_default_launcher_are_terminated_by_it(
    system: Launching, away: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> WarmProcess:
        raise WarmProcessError("there is none")

    system.launcher.dispose()
    monkeypatch.setattr(warm_launcher, "WarmProcess", fail)
    run = system.launch()
    wait(lambda: any("Waiting for it" in message for message in system.messages(run)))
    assert not is_warm(system.run(run))
    assert system.launcher.terminate(run)
    assert system.ended(run) is dg.DagsterRunStatus.CANCELED


@pytest.mark.slow
def test_changed_code_is_loaded_anew(system: Launching, warm: WarmProcess) -> None:
    (system.folder / "code" / "defs.yaml").write_text("changed: true\n")
    run = system.launch()
    assert gone(warm.pid)
    assert system.ended(run) is _SUCCESS
    assert is_warm(system.run(run))


@pytest.mark.slow
def test_a_warm_process_that_hangs_is_replaced_and_the_run_begun_once(
    system: Launching, warm: WarmProcess
) -> None:
    warm._socket.settimeout(0.5)
    os.kill(warm.pid, signal.SIGSTOP)
    run = system.launch()
    assert system.ended(run) is _SUCCESS
    assert gone(warm.pid)
    assert times_begun(system, run) == 1
    assert any("Dagster's own launcher starts this run" in message for message in system.messages(run))


@pytest.mark.slow
def test_a_run_that_was_forked_before_the_answer_was_lost_is_begun_once(
    system: Launching, warm: WarmProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = WarmProcess.run

    def lose(self: WarmProcess, lock: Path, arguments: str) -> int:
        ask(self, lock, arguments)
        self.end()
        raise WarmProcessError("the answer was lost")

    monkeypatch.setattr(WarmProcess, "run", lose)
    run = system.launch()
    assert system.ended(run) is _SUCCESS
    assert is_warm(system.run(run))
    assert times_begun(system, run) == 1


@pytest.mark.slow
def test_runs_inherit_no_connection(system: Launching, warm: WarmProcess) -> None:
    with system.held():
        run = system.launch()
        system.wait(run, dg.DagsterRunStatus.STARTED)
        (launchers,) = sockets(warm.pid)
        assert launchers not in sockets(system.worker(run))
    assert system.ended(run) is _SUCCESS


@pytest.mark.slow
def test_a_run_that_has_a_process_gets_no_second_one(
    system: Launching, warm: WarmProcess, tmp_path: Path
) -> None:
    lock = tmp_path / "staging" / "run.lock"
    with run_lock.take_lock(lock), pytest.raises(WarmProcessError, match="error"):
        warm.run(lock, "")


@pytest.mark.slow
def test_a_process_that_cannot_load_the_definitions_is_reported(
    system: Launching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPORT_RETENTION_DAYS", "none")
    process = WarmProcess()
    with pytest.raises(WarmProcessError, match="it has ended"):
        process.wait_until_ready()
    assert gone(process.pid)


@pytest.mark.slow
def test_a_process_that_loads_slowly_is_waited_for_as_long_as_it_gets_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """However busy the machine is: what it has used of a processor counts, not what a clock shows."""
    server = tmp_path / "slow_server.py"
    server.write_text(_SLOW_SERVER)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setattr(warm_process, "_SILENT_SECONDS", 8.0)
    monkeypatch.setattr(warm_server, "__name__", "slow_server")
    monkeypatch.setenv("WORKS", "12")
    process = WarmProcess()
    begun = time.monotonic()
    process.wait_until_ready()
    assert time.monotonic() - begun > 10
    process.end()
    monkeypatch.setenv("WORKS", "0")  # it only sleeps
    process = WarmProcess()
    with pytest.raises(WarmProcessError, match="no answer in 8 s"):
        process.wait_until_ready()
    assert gone(process.pid)
    monkeypatch.setenv("WORKS", "100")
    monkeypatch.setattr(warm_process, "_LOAD_SECONDS", 3.0)
    process = WarmProcess()
    with pytest.raises(WarmProcessError, match="it has not loaded in 3 s"):
        process.wait_until_ready()


@pytest.mark.slow
def test_a_run_goes_back_to_the_queue_before_its_start_times_out(
    system: Launching, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The process goes on loading, so the run is begun when it is launched again."""
    run = system.run(system.launch())
    system.ended(run.run_id)
    system.launcher.dispose()
    (tmp_path / "slow_server.py").write_text(_SLOW_SERVER)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setenv("WORKS", "8")
    monkeypatch.setattr(warm_server, "__name__", "slow_server")
    monkeypatch.setattr(warm_launcher, "queue_takes_runs_back", lambda _: True)
    monkeypatch.setattr(warm_launcher, "start_timeout_seconds", lambda _: 1.0)
    begun = time.monotonic()
    with pytest.raises(CodeUnreachableError, match="still loading"):
        system.launcher._begun(run)
    assert time.monotonic() - begun < 6
    loading = system.launcher._warm
    assert loading is not None
    assert loading.lives()
    assert warmed(system) is loading
    system.launcher.dispose()


_SLOW_SERVER = """
import os, time
from export_pipeline.orchestration.runs import warm_server

def load():
    works = float(os.environ["WORKS"])
    until = time.monotonic() + (works or 60)
    while time.monotonic() < until:
        sum(range(100_000 if works else 0))
        time.sleep(0.02 if works else 1)

warm_server._TELL_SECONDS = 0.05
warm_server.load = load
warm_server.main()
"""


@pytest.mark.slow
def test_no_more_processes_import_at_once_than_there_are_cores(
    system: Launching, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that cannot be forked import everything themselves."""
    importing: list[int] = []
    most: list[int] = []
    started = DefaultRunLauncher.launch_run

    def launch_run(self: Any, context: Any) -> None:
        importing.append(1)
        most.append(len(importing))
        started(self, context)

    waited = WarmRunLauncher._wait_until_started

    def wait_until_started(self: WarmRunLauncher, run_id: str) -> None:
        waited(self, run_id)
        assert system.run(run_id).status is not dg.DagsterRunStatus.STARTING
        importing.pop()

    def fail() -> WarmProcess:
        raise WarmProcessError("there is none")

    system.launcher.dispose()
    monkeypatch.setattr(warm_launcher, "WarmProcess", fail)
    monkeypatch.setattr(system.launcher, "_imports", threading.BoundedSemaphore(1))
    monkeypatch.setattr(DefaultRunLauncher, "launch_run", launch_run)
    monkeypatch.setattr(WarmRunLauncher, "_wait_until_started", wait_until_started)
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: system.launch(), range(2)))
    assert [system.ended(run) for run in runs] == [_SUCCESS] * 2
    assert max(most) == 1


@pytest.mark.slow
def test_the_warm_process_ends_when_its_launcher_is_killed(system: Launching) -> None:
    program = (
        "import time; from export_pipeline.orchestration.runs.warm_process import WarmProcess\n"
        "process = WarmProcess()\n"
        "process.wait_until_ready()\n"
        "print(process.pid, flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment
    ) as launcher:
        assert launcher.stdout is not None
        pid = int(launcher.stdout.readline())
        launcher.kill()
    wait(lambda: gone(pid))


def test_every_change_of_a_file_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "package" / "defs"
    folder.mkdir(parents=True)
    monkeypatch.setattr(warm_process, "_PACKAGE", tmp_path / "package")
    monkeypatch.chdir(tmp_path)
    file, cache = folder / "defs.yaml", folder / "__pycache__"
    cache.mkdir()
    seen = [sources()]
    for change in (
        lambda: file.write_text("a: 1\n"),
        lambda: file.write_text("a: 10\n"),
        lambda: os.utime(file, ns=(1, 1)),
        lambda: file.rename(folder / "other.yaml"),
        lambda: (folder / "other.yaml").unlink(),
        lambda: (tmp_path / ".env").write_text("A=1\n"),
    ):
        change()
        seen.append(sources())
    assert all(before != after for before, after in itertools.pairwise(seen))
    (cache / "defs.pyc").write_text("")
    assert sources() == seen[-1]
