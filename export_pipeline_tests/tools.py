"""Outside tools that tests need: found, or the test is skipped, or (in CI) failed."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skip the running test because `what` is not here; fail it where CI=true says it must be."""
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(f"{what}; in CI every tool must be installed", pytrace=False)
    pytest.skip(what)


def require_tool(name: str) -> Path:
    """The path of a program, from the interpreter's own scripts folder or PATH.

    Args:
        name: The program's name, e.g. "qpdf", "soffice", "pdftotext".
    """
    path = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if path is None:
        missing(f"{name} is not installed")
    return Path(path)
