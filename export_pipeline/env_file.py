"""Checks of the `.env` file and of setting names, for errors that python-dotenv and pydantic ignore."""

from __future__ import annotations

import os
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path

from dotenv.parser import parse_stream

_TESTS = "TEST_"  # variables of the tests, not settings
_NEAR = 0.8  # matches SOURC_URL with SOURCE_URL, but DATABASE_URL with no setting


def names_in(file: Path) -> tuple[str, ...]:
    """Return the names of the variables that a `.env` file sets, in order; empty if there is no such file.

    Raises:
        ValueError: a line cannot be read; the message, one line, names the file and the first such line.
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
    """Check that no variable of the environment or the file has a misspelt setting name.

    Names that resemble no setting are allowed, as they may belong to another program.

    Args:
        prefix: Prefix of the setting names, in capitals.
        settings: Names of the settings without the prefix, in capitals.

    Raises:
        ValueError: a name is misspelt; the message, one line, names the variable and the setting.
    """
    for origin, names in ("", tuple(os.environ)), (" (from .env)", names_in(file)):
        for name in names:
            rest = name.upper().removeprefix(prefix)
            if not name.upper().startswith(prefix) or rest.startswith(_TESTS) or rest in settings:
                continue
            if near := get_close_matches(rest, settings, 1, _NEAR):
                raise ValueError(f"{name}{origin}: there is no such setting; it is called {prefix}{near[0]}")
