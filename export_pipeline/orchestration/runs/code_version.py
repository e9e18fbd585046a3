"""The version of the code: a hash by which a run finds a worker that has the same code and datasets."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import export_pipeline
from export_pipeline.orchestration.runs.warm_process import Sources, sources
from export_pipeline.project import own_project

_PACKAGE = Path(export_pipeline.__file__).parent
_SUFFIXES = (".py", ".yaml", ".sql")


def code_version() -> str:
    """Return a hash of this package's code and of the datasets. It is the same on every machine."""
    return _hash(sources())


@functools.cache
def loaded_version() -> str:
    """Return the version of the code that this process has loaded, whatever has changed on disk since.

    A process must call this when it loads its code.
    """
    return code_version()


@functools.lru_cache(maxsize=1)
def _hash(state: Sources) -> str:
    """Return the hash of the files. It is computed again when their state has changed."""
    own = own_project()
    hashed = hashlib.sha256()
    for root in (_PACKAGE, own / "defs") if own else (_PACKAGE,):
        for file in sorted(path for path in root.rglob("*") if path.suffix in _SUFFIXES and path.is_file()):
            content = file.read_bytes()
            hashed.update(f"{file.relative_to(root)} {len(content)}\n".encode())
            hashed.update(content)
    return hashed.hexdigest()[:12]
