"""The datasets of this project, as its `defs/` folder declares them."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import dagster as dg
from pydantic import ValidationError

from export_pipeline.components.dataset import Dataset


class DefsError(Exception):
    """A defs.yaml cannot be used. The message is one line that names the field."""


_PROJECT = Path(__file__).parents[1]


def component_tree() -> dg.ComponentTree:
    """The components of `defs/`, not built yet."""
    return dg.ComponentTree.for_project(_PROJECT)


def definitions_of(tree: dg.ComponentTree) -> dg.Definitions:
    """What the components of `defs/` become, and nothing else.

    `dg.load_from_defs_folder` would also import every installed package that offers components, only to
    describe them in the UI: seconds in each process that runs an export.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.Definitions.merge(
            tree.build_defs(tree.defs_module_path), dg.Definitions(component_tree=tree)
        )


def datasets() -> dict[str, Dataset]:
    """The datasets by name, in alphabetical order.

    Raises:
        DefsError: a defs.yaml is wrong.
    """
    try:
        return datasets_of(component_tree())
    except Exception as error:  # whatever comes up while reading them, they are what is wrong
        raise DefsError(f"A defs.yaml is wrong: {_one_line(error)}") from error


def datasets_of(tree: dg.ComponentTree) -> dict[str, Dataset]:
    """The datasets of a tree by name, in alphabetical order."""
    found = tree.get_all_components(of_type=Dataset)
    return {component.dataset: component for component in sorted(found, key=lambda one: one.dataset)}


def _one_line(error: BaseException) -> str:
    """The file, the line, the field and what is wrong there; of several problems the first."""
    causes = [error]
    while deeper := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(deeper)
    # Dagster makes pydantic's error anew with the place in the file, so that is not the deepest one.
    wrong = next((cause for cause in causes if isinstance(cause, ValidationError)), None)
    if wrong is None:
        return " ".join(str(causes[-1]).split())
    first, *others = wrong.errors(include_url=False)
    where = ".".join(str(part) for part in first["loc"])
    if found := _PLACE.fullmatch(where):
        where = f"{found['file']}, {found['field']}"
    more = f" (and {len(others)} more)" if others else ""
    return f"{where}: {first['msg'].removeprefix('Value error, ')}{more}"


_PLACE = re.compile(r"attributes\.(?P<field>.*) at (?P<file>.*:\d+)")
