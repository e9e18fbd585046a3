"""Load the datasets that the `defs/` folder of this project declares, without Dagster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from export_pipeline.core.messages import describe_error
from export_pipeline.datasets.bundle import BundleModel, bundle_dataset
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.shaped import ShapedModel, shaped_dataset
from export_pipeline.datasets.table import TableModel, table_dataset
from export_pipeline.datasets.yaml_limits import YamlLimitError, check_size
from export_pipeline.project import defs_folder


class DefsError(Exception):
    """Raised when a defs.yaml is invalid. The message has a line per error, with file and field."""


def load_datasets() -> dict[str, Dataset]:
    """Return the datasets by name, in alphabetical order. Components of other packages are left out.

    Raises:
        DefsError: a defs.yaml is invalid, two datasets have the same name, or there is none.
    """
    folder = defs_folder()
    loaded: dict[str, Dataset] = {}
    for file in sorted(folder.rglob("defs.yaml")):
        for dataset in _load_file(file):
            if dataset.dataset in loaded:
                raise DefsError(f"{file}: two datasets are called {dataset.dataset!r}; rename one.")
            loaded[dataset.dataset] = dataset
    if not loaded:
        raise DefsError(
            f"There is no dataset in {folder}; write one with `export-pipeline introspect TABLE --write`."
        )
    return dict(sorted(loaded.items()))


def _load_file(file: Path) -> Iterator[Dataset]:
    try:
        check_size(file)
        documents = list(yaml.load_all(file.read_text(encoding="utf-8"), Loader=_Loader))
    except (OSError, UnicodeDecodeError, YamlLimitError, yaml.YAMLError) as error:
        raise DefsError(f"{file}: {' '.join(str(error).split())}") from error
    for document in documents:
        kind = document.get("type") if isinstance(document, Mapping) else None
        package, _, name = str(kind).rpartition(".")
        if package.partition(".")[0] == "export_pipeline" and name in _TYPES:
            try:
                yield _TYPES[name](document.get("attributes") or {}, file.parent)
            except ValidationError as error:
                lines = [
                    f"{file}, {'.'.join(map(str, one['loc']))}: {describe_error(one)}"
                    for one in error.errors(include_url=False)
                ]
                raise DefsError("\n".join(lines)) from error


def _bundle(attributes: Mapping[str, Any], folder: Path) -> Dataset:
    def load(name: str) -> Dataset | None:
        return next(_load_file(folder.parent / name / "defs.yaml"), None)

    return bundle_dataset(BundleModel.model_validate(attributes), load)


_TYPES: dict[str, Callable[[Mapping[str, Any], Path], Dataset]] = {
    "TableExport": lambda given, folder: table_dataset(TableModel.model_validate(given), folder),
    "ShapedExport": lambda given, _: shaped_dataset(ShapedModel.model_validate(given)),
    "BundleExport": _bundle,
}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads days as strings, as Dagster does."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
