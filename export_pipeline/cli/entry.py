"""Entry point of the console script. Ctrl-C and SIGTERM end a command at any time, with one line."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_received: int = signal.SIGINT
_ENDING_SECONDS = 15


def main() -> None:
    """Run a command and exit: 0 success, 1 error or finding, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    try:
        from export_pipeline.cli.app import run  # takes a second
        from export_pipeline.store.file_modes import keep_files_private

        keep_files_private()
        code = run(sys.argv[1:] or ["--help"])
    except KeyboardInterrupt:
        print("Error: Interrupted.", file=sys.stderr)
        code = interrupted_code()
    if code > 128:
        # Exit at once: another signal meanwhile would print a traceback. And after a KeyboardInterrupt in
        # code from `exec`, which dataclasses use, Python exits with a code of its own.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def interrupted_code() -> int:
    """Return the exit code that shells expect of a command that a signal ended."""
    return 128 + _received


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Defer Ctrl-C and SIGTERM until the block has ended."""
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
    """Run a program until it ends or a signal arrives. Output of its processes during shutdown is hidden.

    It runs in its own session, so that Ctrl-C does not reach its processes: each would print a traceback.
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
    """Handle SIGTERM like Ctrl-C, which makes Dagster and database drivers end their work."""
    global _received
    _received = number
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # Ctrl-C is ignored, as in a shell's background job
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)
