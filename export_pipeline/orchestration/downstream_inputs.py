"""Inputs of downstream assets: an export, loaded as the type of the function's annotation."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import dagster as dg

from export_pipeline.store import NotFoundError, Store
from export_pipeline.store.manifest import ManifestError, read_manifest
from export_pipeline.store.parts import name_part

_TABLES = ("pyarrow.lib.Table", "pandas.DataFrame", "pandas.core.frame.DataFrame")


def load_export(
    open_store: Callable[[], Store], key: str, annotation: Any, folder: Callable[[], Path]
) -> Any:
    """Return an export's file as a `pyarrow.Table`, a `pandas.DataFrame`, a `Path`, or, by default, its key.

    The Path of an export in parts is a folder with its parts. Tables come from Parquet, so decimals, zones
    and missing integers keep their types; a DataFrame has Arrow's types.

    Args:
        open_store: Opens the store that has the file.
        key: Key of the file.
        annotation: The annotated type of the input.
        folder: Returns a folder for a file that outlives this call; it is removed after the run.

    Raises:
        dg.Failure: A table is asked for, but the format is not parquet.
    """
    name = f"{getattr(annotation, '__module__', '')}.{getattr(annotation, '__qualname__', '')}"
    if annotation is Path:
        path = folder() / PurePosixPath(key)  # whole: keys of several inputs may end alike
        return _download(open_store(), key, path)
    if name not in _TABLES:
        return key
    if not key.endswith(".parquet"):
        raise dg.Failure(
            f"Only parquet keeps the types of a table, and {key} is another format: depend on the dataset's "
            "parquet, or annotate the input as a Path."
        )
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory() as temporary:
        table = pq.read_table(_download(open_store(), key, Path(temporary) / "export.parquet"))
    if name == "pyarrow.lib.Table":
        return table
    import pandas as pd

    return table.to_pandas(types_mapper=pd.ArrowDtype)


def _download(store: Store, key: str, path: Path) -> Path:
    """Copy an export to a path: a file, or a folder with its parts."""
    with suppress(NotFoundError, ManifestError):
        manifest = read_manifest(store, key)
        if manifest.parts:
            path.mkdir(parents=True, exist_ok=True)
            for number, part in enumerate(manifest.part_keys(key), start=1):
                store.download(part, path / name_part(path.name, number))
            return path
    path.parent.mkdir(parents=True, exist_ok=True)
    store.download(key, path)
    return path
