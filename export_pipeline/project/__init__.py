"""The folder of a deployment: the samples in this package, or a project that `init` has written."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_FILES = Path(__file__).parent
_REPOSITORY = _PACKAGE.parent
PROJECT_FILES = {
    "README.md": "README.md",
    "dg.toml": "dg.toml",
    "env.example": ".env.example",
    "gitignore": ".gitignore",
    "defs/example/defs.yaml.example": "defs/example/defs.yaml.example",
}
"""Files that are copied from this folder into a new project, and their paths there."""


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


class ProjectError(Exception):
    """Raised when a project cannot be written. The message is one line."""


def write_project(folder: Path) -> list[Path]:
    """Write a new project, and return its files.

    Raises:
        ProjectError: the folder is not empty or cannot be written.
    """
    try:
        if folder.exists() and any(folder.iterdir()):
            raise ProjectError(f"{folder} is not empty; name a new or an empty folder.")
        written = []
        for source, target in PROJECT_FILES.items():
            written.append(_copy(_FILES / source, folder / target))
        for name in ("dagster.yaml", "dagster-postgres.yaml", "workspace.yaml"):
            written.append(_copy(shared_file(name), folder / name))
    except OSError as error:
        raise ProjectError(f"{folder}: {error.strerror}; name a folder that you may write.") from error
    return written


def _copy(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())
    return target
