"""The console's entry point: Ctrl-C and SIGTERM end a command at any moment, with one line."""

from __future__ import annotations

import os
import sys

from export_pipeline.cli.interrupts import handle_termination, interrupted_code


def main() -> None:
    """Run a command and exit: 0 done, 1 something is not right, 2 a wrong call, 130 Ctrl-C, 143 SIGTERM."""
    handle_termination()
    try:
        from export_pipeline.store.file_modes import keep_files_private

        keep_files_private()
        command, *arguments = sys.argv[1:] or ["--help"]
        if command == "serve" and not {"-h", "--help"}.intersection(arguments):
            from export_pipeline.cli.serve import run_alone

            code = run_alone(arguments)
        else:
            from export_pipeline.cli.app import run  # which takes a second

            code = run([command, *arguments])
    except KeyboardInterrupt:
        print("Error: Interrupted.", file=sys.stderr)
        code = interrupted_code()
    if code > 128:
        # At once: another signal meanwhile would print a traceback, and Python, where it has seen a
        # KeyboardInterrupt in text that it executes, as dataclasses have it do, ends with a code of its own.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
