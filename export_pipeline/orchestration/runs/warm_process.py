"""The launcher's end of the warm server: starts it, asks it for runs, and knows when it is out of date."""

from __future__ import annotations

import json
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
"""A process that loads uses half a second of a processor in this time, however many others want it."""
_LOAD_SECONDS = 600.0
_ANSWER_SECONDS = 10.0
_PACKAGE = Path(export_pipeline.__file__).parent

Sources = frozenset[tuple[str, int, int]]
"""Name, time of the last change in ns, and size of each file that the definitions depend on."""


class WarmProcessError(Exception):
    """The process has not answered as it should. It has been ended."""


class WarmProcess:
    """A warm server, and the files as they were before it began to read them. For one thread at a time."""

    def __init__(self) -> None:
        self.sources = sources()
        self._socket, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", warm_server.__name__]
            self._process: subprocess.Popen[bytes] = subprocess.Popen(command, stdin=theirs.fileno())
        self._lines = self._socket.makefile("rw", encoding="utf-8")
        self._ready = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def lives(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Wait until it has loaded everything, as long as it makes progress.

        Raises:
            WarmProcessError: it could not, or made no progress for a minute, or needed more than ten.
        """
        if not self._ready:
            self._socket.settimeout(_SILENT_SECONDS)
            until = time.monotonic() + _LOAD_SECONDS
            while (said := self._read()) == "loading":
                if time.monotonic() > until:
                    raise self._ended(f"it has not loaded in {_LOAD_SECONDS:.0f} s")
            if said != "ready":
                raise self._ended(said)
            self._socket.settimeout(_ANSWER_SECONDS)
            self._ready = True

    def run(self, lock: Path, arguments: str) -> int:
        """Begin a run; gives the id of its process.

        Args:
            lock: Held by the run's process for as long as it lives.
            arguments: What `dagster api execute_run` takes.

        Raises:
            WarmProcessError: no answer, or a refusal. If nobody holds the lock now, the run has not begun and
                will not begin.
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
        """End it; the runs that it began go on."""
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
        return WarmProcessError(f"The process that keeps runs warm is of no use: {reason}")


def sources() -> Sources:
    """Return the files of this package, of the datasets, and the `.env` file as they are now."""
    found = {_state(Path(".env").absolute())}
    own = own_project()
    for root in (_PACKAGE, own / "defs") if own else (_PACKAGE,):
        for folder, folders, files in os.walk(root):
            folders[:] = [name for name in folders if name != "__pycache__"]
            found.update(_state(Path(folder, name)) for name in files)
    return frozenset(found)


def _state(file: Path) -> tuple[str, int, int]:
    try:
        state = file.stat()
    except FileNotFoundError:
        return str(file), 0, -1
    return str(file), state.st_mtime_ns, state.st_size
