"""Processes that a test starts, kills and starts again; none of them outlives the tests, however they end."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from export_pipeline_tests.services.process import StartError

_MARK = "EXPORT_TEST_PROCESSES"
_START_SECONDS = 240.0

# Its input closes when the tests close it or when their process dies, even by SIGKILL.
_GUARD = """
import sys
from export_pipeline_tests.system.processes import end_marked
sys.stdin.read()
end_marked(sys.argv[1])
"""


class Processes:
    """Everything that carries this object's mark in its environment, children and orphans too."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.mark = secrets.token_hex(8)
        self.environment = os.environ | environment | {_MARK: self.mark}

    def find(self, *words: str) -> list[int]:
        """Ids of living processes whose command line holds all the words."""
        return [pid for pid, line in _marked(self.mark) if all(word in line for word in words)]


class Service:
    """A server that can be killed and started again, as a service manager would.

    Args:
        ready: Asked until it says True; may raise OSError while the server is not there.
        environment: What it has beside what all processes have.
    """

    def __init__(
        self,
        processes: Processes,
        command: Sequence[str],
        folder: Path,
        log: Path,
        ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._environment = environment or {}
        self._processes, self._command, self._folder = processes, list(command), folder
        self._ready, self.log = ready, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and again if it ends at once: what the killed one left may be in its way for a moment.

        Raises:
            StartError: it was not ready in a minute.
        """
        deadline = time.monotonic() + _START_SECONDS
        while True:
            if self._process is None or self._process.poll() is not None:
                with self.log.open("ab") as output:
                    self._process = self._open(output)
            with suppress(OSError):
                if self._ready():
                    return
            if time.monotonic() > deadline:
                log = self.log.read_text(errors="replace")[-3000:]
                raise StartError(f"{self._command[0]} was not ready in {_START_SECONDS:.0f} s:\n{log}")
            time.sleep(0.1)

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it without a warning."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def _open(self, output: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            cwd=self._folder,
            env={**self._processes.environment, **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@contextmanager
def processes(environment: Mapping[str, str]) -> Iterator[Processes]:
    """Processes that end with the block or with this process; skips where there is no /proc to find them."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("processes that lost their parent are found through /proc")
    started = Processes(environment)
    guard = subprocess.Popen(
        [sys.executable, "-c", _GUARD, started.mark], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield started
    finally:
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait()


def end_marked(mark: str) -> None:
    """Kill what carries the mark until nothing does."""
    while pids := _marked(mark):
        for pid, _ in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _marked(mark: str) -> list[tuple[int, str]]:
    variable = f"{_MARK}={mark}".encode()
    pids = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it has ended, or is somebody else's
                if variable in (folder / "environ").read_bytes().split(b"\0"):
                    line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    pids.append((int(folder.name), line))
    return pids
