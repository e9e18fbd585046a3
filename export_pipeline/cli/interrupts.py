"""Ctrl-C and SIGTERM: exit codes, and blocks that finish before a command ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_arrivals, _arrived = os.pipe()
"""Python writes the number of each signal here, whoever handles it: Dagster replaces our handlers."""
os.set_blocking(_arrivals, False)
os.set_blocking(_arrived, False)
_ENDING_SECONDS = 15


def handle_termination() -> None:
    """Treat SIGTERM and SIGHUP as Ctrl-C."""
    signal.set_wakeup_fd(_arrived, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)


def interrupted_code() -> int:
    """Return the exit code of a command that a signal ended, as shells expect it; the first one counts."""
    with suppress(BlockingIOError):
        for number in os.read(_arrivals, 1 << 16):
            if number in _SIGNALS:
                return 128 + number
    return 128 + signal.SIGINT


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until the block has ended."""
    came: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def run_quietly_ended(command: list[str]) -> None:
    """Run a program until it ends or a signal comes; its output while it ends is not shown.

    It runs in a session of its own, where Ctrl-C reaches none of its processes: each would print a traceback.
    """
    import subprocess
    import threading

    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        assert process.stdout is not None
        ending = threading.Event()

        def relay(output: int = process.stdout.fileno()) -> None:
            while text := os.read(output, 1 << 16):
                if not ending.is_set():
                    os.write(sys.stdout.fileno(), text)

        thread = threading.Thread(target=relay, name="relay", daemon=True)
        thread.start()
        try:
            code = process.wait()
            thread.join(1)
        except KeyboardInterrupt:
            ending.set()
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                process.wait(_ENDING_SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if code:
        raise SystemExit(code)


def _terminate(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does: Dagster and databases end what they do then."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # Ctrl-C is ignored, as in the background of a shell
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)
