"""The `.env` file and the names of settings: what python-dotenv and pydantic pass over is refused here."""

from __future__ import annotations

import os
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path

from dotenv.parser import parse_stream

_TESTS = "TEST_"  # the tests' own variables, which are no settings
_NEAR = 0.8  # SOURC_URL is near SOURCE_URL, DATABASE_URL near to nothing


def names_in(file: Path) -> tuple[str, ...]:
    """The names of variables that a `.env` file sets, in its order; none where there is no such file.

    Raises:
        ValueError: one line that names the file and its first line that cannot be read.
    """
    if not file.is_file():
        return ()
    with file.open(encoding="utf-8") as stream:
        bindings = list(parse_stream(stream))
    for binding in bindings:
        if binding.error:
            raise ValueError(
                f"{file.absolute()}, line {binding.original.line}: cannot be read; write NAME=value, "
                "with quotes around a value that holds spaces, and # before a remark"
            )
    return tuple(binding.key for binding in bindings if binding.key is not None)


def check_names(prefix: str, settings: Collection[str], file: Path) -> None:
    """Refuse a variable, of the environment or the file, whose name is nearly that of a setting.

    A name that is near to none may be another program's.

    Args:
        prefix: Of the settings' names, in capitals.
        settings: Their names without it, in capitals.

    Raises:
        ValueError: one line that names the variable and the setting.
    """
    for origin, names in ("", tuple(os.environ)), (" (from .env)", names_in(file)):
        for name in names:
            rest = name.upper().removeprefix(prefix)
            if not name.upper().startswith(prefix) or rest.startswith(_TESTS) or rest in settings:
                continue
            if near := get_close_matches(rest, settings, 1, _NEAR):
                raise ValueError(f"{name}{origin}: there is no such setting; it is called {prefix}{near[0]}")
