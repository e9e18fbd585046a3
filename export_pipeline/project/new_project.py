"""Write the folder of a new project, as `export-pipeline init` does."""

from __future__ import annotations

from pathlib import Path

from export_pipeline.project import shared_file

_FILES = Path(__file__).parent
PROJECT_FILES = {
    "README.md": "README.md",
    "dg.toml": "dg.toml",
    "env.example": ".env.example",
    "gitignore": ".gitignore",
    "defs/example/defs.yaml.example": "defs/example/defs.yaml.example",
}
"""Files that are copied from this folder into a new project, and their paths there."""


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
