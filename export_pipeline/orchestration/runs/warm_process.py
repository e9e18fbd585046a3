"""Client of the warm server: starts it, requests runs, and detects that it is out of date."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import export_pipeline
from export_pipeline.orchestration.runs import warm_server
from export_pipeline.project import own_project

_SILENT_SECONDS = 60.0
"""Silence after which loading has failed. Even on a busy machine, a loading process uses 0.5 s of CPU time in
less."""
_LOAD_SECONDS = 600.0
_ANSWER_SECONDS = 10.0
_PACKAGE = Path(export_pipeline.__file__).parent

Sources = frozenset[tuple[str, int, int]]
"""Name, modification time in ns, and size of each file that the definitions depend on."""


class WarmProcessError(Exception):
    """Raised when the process does not answer as expected. The process has been ended."""


class StillLoadingError(Exception):
    """Raised when the process loads for longer than the caller can wait. It goes on."""


class WarmProcess:
    """A warm server, and the state of the files before it read them. Not thread-safe."""

    def __init__(self) -> None:
        self.sources = sources()
        self._socket, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", warm_server.__name__]
            self._process: subprocess.Popen[bytes] = subprocess.Popen(command, stdin=theirs.fileno())
        self._lines = self._socket.makefile("rw", encoding="utf-8")
        self._ready = False
        self._begun = time.monotonic()

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    def lives(self) -> bool:
        """Return whether the process is alive."""
        return self._process.poll() is None

    def wait_until_ready(self, until: float = math.inf) -> None:
        """Wait until the process has loaded everything, as long as it makes progress.

        Args:
            until: The time of `time.monotonic` after which not to wait. Call again to wait longer.

        Raises:
            StillLoadingError: it still loads at that time.
            WarmProcessError: it failed, made no progress for a minute, or took more than ten minutes.
        """
        if not self._ready:
            self._socket.settimeout(_SILENT_SECONDS)
            while (answer := self._read()) == "loading":
                if time.monotonic() > self._begun + _LOAD_SECONDS:
                    raise self._ended(f"it has not loaded in {_LOAD_SECONDS:.0f} s")
                if time.monotonic() > until:
                    raise StillLoadingError
            if answer != "ready":
                raise self._ended(answer)
            self._socket.settimeout(_ANSWER_SECONDS)
            self._ready = True

    def run(self, lock: Path, arguments: str) -> int:
        """Begin a run, and return the id of its process.

        Args:
            lock: Lock that the run's process holds while it lives.
            arguments: Arguments of `dagster api execute_run`.

        Raises:
            WarmProcessError: there was no answer, or an error. If no process holds the lock now, the run has
                not begun and will not begin.
        """
        try:
            self._lines.write(json.dumps({"lock": str(lock), "arguments": arguments}) + "\n")
            self._lines.flush()
        except OSError as error:
            raise self._ended(str(error)) from error
        answer = self._read()
        if not answer.isdigit():
            raise self._ended(answer)
        return int(answer)

    def end(self) -> None:
        """End the process. The runs that it has forked continue."""
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def _read(self) -> str:
        try:
            line = self._lines.readline()
        except OSError as error:
            raise self._ended(f"no answer in {self._socket.gettimeout():.0f} s") from error
        if not line:
            raise self._ended("it has ended")
        return line.rstrip("\n")

    def _ended(self, reason: str) -> WarmProcessError:
        self.end()
        return WarmProcessError(f"The warm process cannot be used: {reason}")


def sources() -> Sources:
    """Return the current state of this package's files, the datasets' files and the `.env` file."""
    states = {_state(Path(".env").absolute())}
    own = own_project()
    for root in (_PACKAGE, own / "defs") if own else (_PACKAGE,):
        for folder, folders, files in os.walk(root):
            folders[:] = [name for name in folders if name != "__pycache__"]
            states.update(_state(Path(folder, name)) for name in files)
    return frozenset(states)


def _state(file: Path) -> tuple[str, int, int]:
    try:
        state = file.stat()
    except FileNotFoundError:
        return str(file), 0, -1
    return str(file), state.st_mtime_ns, state.st_size
