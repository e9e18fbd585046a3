"""Starting a server so that it surely ends: with the test session, however that ends."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

START_SECONDS = 240.0
STOP_SECONDS = 60.0
_ROOM_BYTES = 4 * 2**30

# The shell holds the read end of a pipe whose write end only the test process has. The pipe closes
# when the tests close it or when their process dies, even by SIGKILL: then the server is stopped and
# its folder removed. If the server ends by itself the shell ends too, so that its death is noticed.
_GUARD = """
exec 3<&0
signal=$1; folder=$2; shift 2
"$@" 3<&- </dev/null & server=$!
{ read -r _; kill -s "$signal" $server; sleep 10; kill -s KILL $server; } <&3 3<&- 2>/dev/null & guard=$!
wait $server; code=$?
pkill -P $guard 2>/dev/null; kill $guard 2>/dev/null
{ [ $code -eq 0 ] || [ $code -ge 128 ]; } && rm -rf "$folder"
exit $code
"""


class StartError(Exception):
    """The server did not come up. The message holds the end of its log."""


@contextlib.contextmanager
def server_folder(name: str) -> Iterator[Path]:
    """A short path of our own (socket paths may have 107 bytes) that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=_in_memory()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _in_memory() -> str | None:
    """Return the folder of files in memory if it has room: databases are made and dropped there with less work."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage("/dev/shm").free > _ROOM_BYTES and os.access("/dev/shm", os.W_OK):
            return "/dev/shm"
    return None


@contextlib.contextmanager
def running(
    command: Sequence[str], folder: Path, *, ready: Callable[[], bool], stop_signal: str = "TERM"
) -> Iterator[None]:
    """Run a server until the block ends.

    Args:
        command: Its argument vector.
        folder: Its data; `log` in it takes its output.
        ready: Asked until it says True; may raise OSError while the server is not there.
        stop_signal: The signal, without SIG, that ends the server in good order.

    Raises:
        StartError: It ended at once or was not ready in a minute.
    """
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["sh", "-c", _GUARD, "guard", stop_signal, str(folder), *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    assert process.stdin is not None
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(ready):
            if process.poll() is not None:
                raise StartError(f"{command[0]} ended with code {process.returncode}:\n{_end(log)}")
            if time.monotonic() > deadline:
                raise StartError(f"{command[0]} was not ready in {START_SECONDS:.0f} s:\n{_end(log)}")
            time.sleep(0.02)
        yield
    finally:
        process.stdin.close()
        process.wait(STOP_SECONDS)


def _is_ready(ready: Callable[[], bool]) -> bool:
    try:
        return ready()
    except OSError:
        return False


def _end(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:] if log.exists() else "(no log)"


def free_ports(count: int, also: int = 0) -> list[int]:
    """Ports of 127.0.0.1 on which nothing listens now.

    Args:
        count: How many.
        also: If not 0, port + `also` is free too.
    """
    ports: list[int] = []
    # Below the range from which the kernel gives out ports by itself (32768 and up on Linux).
    for port in random.SystemRandom().sample(range(15_000, 22_000), 500):
        if _is_free(port) and (not also or _is_free(port + also)):
            ports.append(port)
        if len(ports) == count:
            return ports
    raise StartError(f"no {count} free ports between 15000 and 22000")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
