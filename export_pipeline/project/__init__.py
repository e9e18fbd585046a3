"""The folder of a deployment: the samples in this package, or a project that `init` has written."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_FILES = Path(__file__).parent
_REPOSITORY = _PACKAGE.parent

SAMPLES = frozenset(
    ("archive", "client_sow", "enrollments", "ledger", "occurrences", "proofs", "properties", "records",
     "rfp", "sellers", "sow_library", "takeoff")
)  # fmt: skip
"""Names of the sample datasets, which read the demo's tables."""


def own_project() -> Path | None:
    """Return the working folder if it is a project, with `dg.toml` beside `defs/`; else None."""
    here = Path.cwd()
    return here if (here / "dg.toml").is_file() and (here / "defs").is_dir() else None


def defs_folder() -> Path:
    """Return the folder of the datasets: that of the project, else the samples."""
    return (own_project() or _PACKAGE) / "defs"


def shared_file(name: str) -> Path:
    """Return a Dagster configuration file: the project's own, else the file in this package.

    Args:
        name: dagster.yaml, dagster-postgres.yaml or workspace.yaml.
    """
    own = own_project()
    if own and (own / name).is_file():
        return own / name
    installed = _FILES / name
    if installed.is_file():
        return installed
    return _REPOSITORY / ("deploy" if name == "dagster-postgres.yaml" else "") / name
